"""Keys that change as a sequence grows: every token as stock computes it on the whole sequence."""

import numpy as np
import pytest
import torch
import transformers as tf

from analysis.interventions import (
    NOTHING,
    Condition,
    Head,
    Intervention,
    Method,
    Pooling,
    Source,
    StandIns,
    taps,
)
from analysis.models.load import hidden_states, load_model, unembed
from analysis.studies.retrieval.answering import conversation, decoding, outcomes
from analysis.studies.retrieval.answering.conversation import Conversation
from analysis.studies.retrieval.answering.decoding import Applied, Limit, Scope, decode
from analysis.studies.retrieval.answering.growing import keys_stay
from analysis.studies.retrieval.answering.trials import Group, Trial
from analysis.text.tokens import Vocabulary
from tests.models.architectures import GQA, SUPPORTED, VOCAB, build

SWITCH, N_NEW, BEGIN = 20, 6, 9
ROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [4.0, 8.0, 12.0, 16.0],
    "rope_theta": 10000.0,
    "factor": 3.2,
    "partial_rotary_factor": 1.0,
    "original_max_position_embeddings": SWITCH,
}
SIZES = {**GQA, "pad_token_id": 0, "original_max_position_embeddings": SWITCH}
LENGTHS = (12, 17, 20, 24)
"""Of prompts: their answers end before the switch, cross it, begin at it, or it lies in them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("longrope") / "longrope"
    build(tf.Phi3Config(**SIZES, rope_parameters=ROPE)).save_pretrained(folder)
    return folder


@pytest.fixture
def model(folder):
    return load_model(str(folder))


@pytest.fixture(scope="module")
def stock(folder):
    """Stock on one whole sequence: the last logits, and where every head looks from there."""
    net = tf.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()

    def last(row: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            found = net(torch.tensor([row]), use_cache=False, output_attentions=True)
        return found.logits[0, -1], torch.stack([a[0, :, -1] for a in found.attentions])

    return last


def drawn(n_pos: int) -> torch.Tensor:
    return torch.randint(2, VOCAB, (2, n_pos), generator=torch.Generator().manual_seed(n_pos))


def greedy(stock, row: list[int]) -> tuple[int, ...]:
    whole = list(row)
    for _ in range(N_NEW):
        whole.append(int(stock(whole)[0].argmax()))
    return tuple(whole[len(row) :])


def kept_anyway(monkeypatch, module) -> None:
    monkeypatch.setattr(module, "keys_stay", lambda *_: True)


@pytest.mark.parametrize("name", SUPPORTED)
def test_keys_of_ordinary_architectures_stay(name, saved):
    model = load_model(str(saved(name)))
    assert keys_stay(model, drawn(7)[0], 30)
    assert keys_stay(model, drawn(9)[0], 28)


def test_keys_change_across_the_switch_only(model):
    spans = ((5, SWITCH), (SWITCH + 1, 40), (SWITCH, SWITCH + 1), (5, 40), (SWITCH, SWITCH))
    stay = [keys_stay(model, drawn(start)[0], end) for start, end in spans]
    assert stay == [True, True, False, False, True]


@pytest.mark.parametrize("n_pos", LENGTHS)
def test_answers_are_those_of_stock_on_the_whole_sequence(n_pos, model, stock, monkeypatch):
    ids = drawn(n_pos)
    expected = [greedy(stock, row) for row in ids.tolist()]
    said = Conversation(model, ids[:, :BEGIN]).answers(ids[:, BEGIN:], N_NEW, [], lambda *_: None)
    assert said == expected
    limit = Limit(N_NEW, frozenset())
    assert decode(model, ids, Applied((), NOTHING), limit) == expected
    if n_pos == 17:
        kept_anyway(monkeypatch, decoding)
        assert decode(model, ids, Applied((), NOTHING), limit) != expected


@pytest.mark.parametrize("n_pos", LENGTHS)
def test_every_token_of_an_answer_is_predicted_as_by_stock(n_pos, model, stock, monkeypatch):
    """Though answers differ in length, and the longer one alone crosses the switch."""
    ids, answers = drawn(n_pos).tolist(), ([7, 8, 9, 10], [11, 12])
    tails = [row[BEGIN:] + answer for row, answer in zip(ids, answers, strict=True)]

    def logits() -> tuple[list[torch.Tensor], torch.Tensor]:
        patterns: list[list[torch.Tensor]] = [[], []]
        talk = Conversation(model, torch.tensor(ids)[:, :BEGIN])
        asked = n_pos - BEGIN
        hidden = talk.follow(tails, lambda at, p: patterns[at.layer].append(p), asked)
        looked = torch.stack([torch.cat(layer)[:, :, asked - 1] for layer in patterns], dim=1)
        with torch.inference_mode():
            rows = [unembed(model, row[asked - 1 :]) for row in hidden]
        return rows, looked

    def worst(found: list[torch.Tensor]) -> float:
        return max(
            (found[row][step] - stock(ids[row] + answers[row][:step])[0]).abs().max().item()
            for row in range(2)
            for step in range(len(answers[row]))
        )

    found, looked = logits()
    assert worst(found) < 1e-4
    for row in range(2):
        torch.testing.assert_close(looked[row, ..., :n_pos], stock(ids[row])[1], atol=1e-5, rtol=0)
    if n_pos in {17, 20}:
        kept_anyway(monkeypatch, conversation)
        assert worst(logits()[0]) > 1e-2


def test_tails_of_other_lengths_are_seen_alone(model, stock):
    ids = drawn(24).tolist()
    tails = [ids[0][BEGIN:], ids[1][BEGIN:15]]
    patterns: list[list[torch.Tensor]] = [[], []]
    talk = Conversation(model, torch.tensor(ids)[:, :BEGIN])
    hidden = talk.follow(tails, lambda at, p: patterns[at.layer].append(p))
    looked = torch.stack([torch.cat(layer) for layer in patterns], dim=1)
    for row, n_pos in enumerate((24, 15)):
        logits, attention = stock(ids[row][:n_pos])
        last = n_pos - BEGIN - 1
        with torch.inference_mode():
            found = unembed(model, hidden[row, last])
        torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(looked[row, :, :, last, :n_pos], attention, atol=1e-5, rtol=0)


class Drawn(Group):
    """A group of rows that were drawn instead of prompts."""

    @property
    def tokens(self) -> torch.Tensor:
        return drawn(self.n_prompt + 3)

    def acting(self, condition: Condition) -> Condition:
        return condition

    def donors(self, rows: slice) -> StandIns:
        return NOTHING


def drawn_group(model, n_prompt: int) -> Drawn:
    trial = Trial(
        prompts=(),
        vocabulary=Vocabulary(model.card.folder, VOCAB),
        scope=Scope.BOTH,
        reference=(),
        pooling=Pooling.PER_POSITION,
        seed=0,
        max_rows=8,
        edits_of=None,
    )
    nobody = np.empty((0, 0), dtype=np.int64)
    source = Source(means=None, donor_of=None)
    sizes = {"places": [0, 1], "n_prompt": n_prompt, "followed": nobody}
    return Drawn(model=model, trial=trial, source=source, **sizes)


@pytest.mark.parametrize("n_pos", LENGTHS)
def test_conditions_are_plain_passes_that_end_at_each_token(n_pos, model, monkeypatch):
    tokens, conditions = drawn(n_pos + 3), [Condition(name="base", family="b", interventions=())]
    for heads in ((Head(0, 1),), (Head(1, 2), Head(0, 3))):
        one = Intervention(method=Method.ZERO, heads=heads, positions=None)
        conditions.append(Condition(name=str(heads), family="t", interventions=(one,)))
    asked = drawn_group(model, n_pos)

    def worst() -> float:
        far = []
        with torch.inference_mode():
            for part, logits in outcomes._passes(asked, slice(0, 2), conditions):
                for at, i in enumerate(part):
                    for step in range(4):
                        edits = taps(conditions[i].interventions, NOTHING, 2)
                        whole = hidden_states(model, tokens[:, : n_pos + step], edits)[:, -1]
                        gap = logits[at, :, step] - unembed(model, whole)
                        far.append(gap.abs().max().item())
        assert len(far) == 3 * 4
        return max(far)

    assert worst() < 1e-4
    if n_pos == SWITCH:
        kept_anyway(monkeypatch, outcomes)
        assert worst() > 1e-2
    assert np.isfinite(worst())
