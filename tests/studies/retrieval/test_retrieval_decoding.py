"""Decoding with kept keys and values: the same tokens as running every prefix anew."""

import numpy as np
import pytest
import torch

from analysis.errors import UserError
from analysis.interventions import (
    NOTHING,
    Head,
    Intervention,
    Method,
    Pooling,
    StandIns,
    means,
    read_z,
    taps,
)
from analysis.models.load import Model, hidden_states, load_model, unembed
from analysis.studies.retrieval.answering.decoding import Applied, Limit, Scope, decode, scoped
from tests.models.architectures import SUPPORTED, VOCAB

N_ROWS, N_PROMPT, N_NEW = 3, 11, 6
LIMIT = Limit(N_NEW, frozenset())
N_POS = N_PROMPT + N_NEW
HEADS = (Head(0, 1), Head(0, 2), Head(1, 3))
POSITIONS = {Method.ZERO_VALUE: (2, 12), Method.MEAN_VALUE: (2, 12), Method.MASK_KEY: (0, 12)}


def ids(n_pos: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(2, VOCAB, (N_ROWS, n_pos)))


def stand_ins(model: Model) -> StandIns:
    other = ids(N_POS, 1)
    average = means(model, ids(N_POS, 2).numpy(), Pooling.PER_POSITION)
    return StandIns(means=average, donors=read_z(model, other))


def anew(model: Model, prompts: torch.Tensor, applied: Applied) -> list[tuple[int, ...]]:
    """Every prefix in a pass of its own, without anything kept."""
    tokens = prompts
    for _ in range(N_NEW):
        here = applied.until(tokens.shape[1])
        tapped = taps(here.interventions, here.stand_ins, len(tokens))
        with torch.inference_mode():
            best = unembed(model, hidden_states(model, tokens, tapped)[:, -1]).argmax(-1)
        tokens = torch.cat([tokens, best[:, None]], dim=1)
    return [tuple(row) for row in tokens[:, prompts.shape[1] :].tolist()]


def applied(model: Model, method: Method, scope: Scope) -> Applied:
    one = Intervention(method=method, heads=HEADS, positions=POSITIONS.get(method))
    return Applied(scoped([one], scope, N_PROMPT, N_POS), stand_ins(model))


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("method", Method)
def test_kept_keys_and_values_change_no_token(saved, method, scope):
    model = load_model(str(saved("llama")))
    prompts, done = ids(N_PROMPT, 0), applied(model, method, scope)
    assert decode(model, prompts, done, LIMIT) == anew(model, prompts, done)


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_architecture_decodes(saved, name):
    model = load_model(str(saved(name)))
    prompts, done = ids(N_PROMPT, 0), applied(model, Method.UNIFORM, Scope.BOTH)
    assert decode(model, prompts, done, LIMIT) == anew(model, prompts, done)


def test_an_intervention_changes_what_is_decoded(saved):
    model, prompts = load_model(str(saved("llama"))), ids(N_PROMPT, 0)
    base = decode(model, prompts, Applied((), NOTHING), LIMIT)
    both, late, early = (
        decode(model, prompts, applied(model, Method.ZERO, scope), LIMIT)
        for scope in (Scope.BOTH, Scope.DECODE, Scope.PREFILL)
    )
    assert both not in (base, late, early)
    assert late != base
    assert [row[0] for row in late] == [row[0] for row in base]
    assert [row[0] for row in early] == [row[0] for row in both]


def test_decoding_without_interventions_is_greedy_generation(saved):
    model, prompts = load_model(str(saved("gpt2"))), ids(N_PROMPT, 0)
    made = model.net.generate(
        prompts, max_new_tokens=N_NEW, do_sample=False, pad_token_id=1, eos_token_id=None
    )
    expected = [tuple(row) for row in made[:, N_PROMPT:].tolist()]
    assert decode(model, prompts, Applied((), NOTHING), LIMIT) == expected


def test_a_row_ends_with_its_first_stop(saved):
    model, prompts = load_model(str(saved("llama"))), ids(N_PROMPT, 0)
    free = decode(model, prompts, Applied((), NOTHING), LIMIT)
    stop = free[0][2]
    ended = decode(model, prompts, Applied((), NOTHING), Limit(N_NEW, frozenset({stop})))
    cut = [row[: row.index(stop) + 1] if stop in row else row for row in free]
    assert ended == cut
    assert prompts.shape == (N_ROWS, N_PROMPT)


def test_scopes_say_which_positions():
    one = Intervention(method=Method.ZERO, heads=HEADS, positions=None)
    assert scoped([one], Scope.BOTH, 3, 5)[0].positions is None
    assert scoped([one], Scope.PREFILL, 3, 5)[0].positions == (0, 1, 2)
    assert scoped([one], Scope.DECODE, 3, 5)[0].positions == (3, 4)


def test_a_prompt_that_fills_the_context_is_refused(saved):
    model = load_model(str(saved("llama")))
    with pytest.raises(UserError, match="leave room for 6 tokens in the context of 64, got 60"):
        decode(model, ids(60, 0), Applied((), NOTHING), LIMIT)
