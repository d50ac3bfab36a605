"""What is answered under conditions: the same from one pass as from decoding everything."""

from functools import cache

import numpy as np
import pytest
import torch

from analysis.attention import Taps
from analysis.errors import UserError
from analysis.interventions import (
    NOTHING,
    Condition,
    Head,
    Intervention,
    Method,
    Pooling,
    StandIns,
    derangement,
    means,
    read_z,
    taps,
)
from analysis.interventions.passes.layers import layer_calls
from analysis.interventions.passes.staircase import Staircase, joining_order, trace
from analysis.interventions.passes.tails import tails
from analysis.models.files.card import read_card
from analysis.models.load import Model, hidden_states, load_model
from analysis.studies.retrieval.answering import outcomes as module
from analysis.studies.retrieval.answering.answers import correct, settled, spoken
from analysis.studies.retrieval.answering.decoding import Applied, Scope, decode, scoped
from analysis.studies.retrieval.answering.items import MAX_NEW, record_items
from analysis.studies.retrieval.answering.outcomes import outcomes
from analysis.studies.retrieval.answering.prompts import Prompt, prompt
from analysis.studies.retrieval.answering.trials import Trial
from analysis.text.english import Split
from analysis.text.tokens import Vocabulary
from tests.models.architectures import SUPPORTED, VOCAB
from tests.questions.test_experiments import silent

N_TOKENS, N_RECORDS = 96, 2
SETS = (((1, 3),), ((2, 0), (2, 5)), ((1, 0), (1, 1), (2, 2), (2, 3), (3, 3), (3, 5)), ((3, 1),))


@cache
def vocabulary() -> Vocabulary:
    card = read_card("reference")
    return Vocabulary(card.folder, card.vocab)


@cache
def prompts(split: Split, n_items: int = 3) -> tuple[Prompt, ...]:
    """A few questions on two facts: answers of one token and of several."""
    found: list[Prompt] = []
    for fact in ("employees", "headquarters"):
        items = record_items(
            vocabulary(),
            split=split,
            fact=fact,
            n_tokens=N_TOKENS,
            n_records=N_RECORDS,
            n_items=n_items,
            seed=0,
            bos=True,
        )
        found += [prompt(item, vocabulary(), bos=True) for item in items]
    return tuple(found)


def trial(scope: Scope = Scope.BOTH, edits_of=None, max_rows: int = 4) -> Trial:
    return Trial(
        prompts=prompts(Split.TEST),
        vocabulary=vocabulary(),
        scope=scope,
        reference=prompts(Split.TRAIN),
        pooling=Pooling.PER_POSITION,
        seed=0,
        max_rows=max_rows,
        edits_of=edits_of,
    )


def conditions(method: Method, sets=SETS) -> list[Condition]:
    base = Condition(name="base", family="base", interventions=())
    return [base] + [
        Condition(
            name=str(heads),
            family="test",
            interventions=(
                Intervention(method=method, heads=tuple(Head(*h) for h in heads), positions=None),
            ),
        )
        for heads in sets
    ]


def stand_ins(model: Model) -> StandIns:
    """What stands in, read with the plain tools, over all positions of prompt and answer."""
    n_pos = N_TOKENS + MAX_NEW
    own, other = (
        np.array([(p.ids + p.answer + p.ids[1:])[:n_pos] for p in prompts(split)])
        for split in (Split.TEST, Split.TRAIN)
    )
    donors = read_z(model, torch.from_numpy(own[derangement(len(own), 0)]))
    return StandIns(means=means(model, other, Pooling.PER_POSITION), donors=donors)


@pytest.mark.parametrize("scope", [Scope.BOTH, Scope.DECODE])
@pytest.mark.parametrize("method", [Method.ZERO, Method.MEAN, Method.RESAMPLE, Method.UNIFORM])
def test_one_pass_says_what_decoding_everything_says(method, scope):
    model, asked = load_model("reference"), trial(scope)
    found = outcomes(model, asked, conditions(method), silent)
    ids, given = torch.tensor([p.ids for p in asked.prompts]), stand_ins(model)
    for i, condition in enumerate(conditions(method)):
        parts = scoped(condition.interventions, scope, N_TOKENS, N_TOKENS + MAX_NEW)
        new = decode(model, ids, Applied(parts, given), asked.limit)
        texts = [spoken(row, vocabulary()) for row in new]
        right = [correct(t, p.item.answer) for t, p in zip(texts, asked.prompts, strict=True)]
        assert found.correct[i].tolist() == right
    assert found.correct[0].all()


def test_the_conditions_tested_are_not_all_alike():
    found = outcomes(load_model("reference"), trial(), conditions(Method.ZERO), silent)
    assert 0 < found.correct[1:].mean() < 1


@pytest.mark.parametrize("method", list(Method))
def test_stacked_conditions_are_plain_passes(method):
    """Every condition in a whole pass of its own, through the taps alone."""
    model = load_model("reference")
    given = stand_ins(model)
    n_pos = N_TOKENS + max(len(trial().given(p)) for p in trial().prompts)

    def edits_of(condition: Condition):
        here = Applied(condition.interventions, given).until(n_pos)
        return taps(here.interventions, here.stand_ins, len(prompts(Split.TEST))).edits

    stacked = outcomes(model, trial(), conditions(method), silent)
    whole = len(prompts(Split.TEST))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_decode_open", lambda *_: None)  # edits fit one length only
        plain = outcomes(
            model, trial(edits_of=edits_of, max_rows=whole), conditions(method), silent
        )
    np.testing.assert_allclose(stacked.log_p, plain.log_p, atol=1e-5, rtol=0)
    np.testing.assert_allclose(stacked.logit_difference, plain.logit_difference, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(stacked.answer_rank, plain.answer_rank)


@pytest.mark.parametrize("name", SUPPORTED)
def test_tails_are_the_last_positions_of_whole_passes(saved, name):
    model = load_model(str(saved(name)))
    ids = torch.from_numpy(np.random.default_rng(0).integers(2, VOCAB, (3, 12)))
    some = conditions(Method.UNIFORM, (((0, 1),), ((1, 2), (0, 3)), ((1, 0),)))[1:]
    some += conditions(Method.ZERO, (((0, 0),), ((1, 1),)))[1:]
    some.sort(key=joining_order)
    with torch.inference_mode():
        stairs = Staircase(model, layer_calls(model, ids[:1]), trace(model, ids, range(2)), NOTHING)
        found = tails(stairs, some, 9)
        for condition, hidden in zip(some, found, strict=True):
            whole = hidden_states(model, ids, taps(condition.interventions, NOTHING, 3))
            torch.testing.assert_close(hidden, whole[:, 9:], atol=1e-5, rtol=1e-5)


def test_log_p_and_rank_are_those_of_the_bare_model():
    model, asked = load_model("reference"), trial()
    found = outcomes(model, asked, conditions(Method.ZERO)[:1], silent)
    for i, one in enumerate(asked.prompts):
        row = torch.tensor([[*one.ids, *one.answer]])
        with torch.no_grad():
            logits = model.net(row, use_cache=False, taps=Taps()).logits[0, len(one.ids) - 1 : -1]
        said = torch.distributions.Categorical(logits=logits)
        assert found.log_p[0, i] == pytest.approx(
            float(said.log_prob(torch.tensor(one.answer)).sum()), abs=1e-4
        )
        order = logits[0].argsort(descending=True).tolist()
        assert found.answer_rank[0, i] == order.index(one.answer[0]) + 1


def test_base_does_not_depend_on_how_it_is_batched():
    model = load_model("reference")
    one, all_at_once = (
        outcomes(model, trial(max_rows=rows), conditions(Method.ZERO), silent) for rows in (1, 64)
    )
    np.testing.assert_allclose(one.log_p, all_at_once.log_p, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(one.correct, all_at_once.correct)


@pytest.mark.parametrize(
    ("text", "gold", "verdict"),
    [
        (" Ohio.\n", "Ohio", True),
        (" Ohio", "Ohio", None),
        (" Ohio ", "Ohio", True),
        (" Utah.", "Ohio", False),
        (" New", "New York", None),
        (" New Jersey ", "New York", False),
        (" 1,", "1234", None),
        (" 12.", "12", None),
        (" 1995 ", "5", False),
        (" (", "Ohio", None),
        ("", "Ohio", None),
    ],
)
def test_an_answer_is_settled_when_nothing_that_follows_can_change_it(text, gold, verdict):
    assert settled(text, gold) is verdict


def test_a_prompt_without_room_for_an_answer_is_refused():
    model = load_model("reference")
    long = Prompt(**{**vars(prompts(Split.TEST)[0]), "ids": (5,) * 510})
    asked = Trial(**{**vars_of(trial()), "prompts": (long,)})
    with pytest.raises(UserError, match="expected prompts of at most 502 tokens"):
        outcomes(model, asked, conditions(Method.ZERO)[:1], silent)


def vars_of(asked: Trial) -> dict:
    return {name: getattr(asked, name) for name in Trial.__dataclass_fields__}
