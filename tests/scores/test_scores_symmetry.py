"""Scores are linear, blind to the order of heads and rows, pure, and refuse what does not fit."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis import scores

from .test_scores import (
    ITEMS,
    KEY,
    N_POS,
    QUERY,
    SEEDS,
    delimiters,
    random_pattern,
    random_tokens,
)

Score = Callable[[torch.Tensor, slice | list[int]], torch.Tensor]
TOKENS, DELIMITERS = random_tokens(1), delimiters(1)
EVERY: dict[str, Score] = {
    "previous_token": lambda p, _: scores.previous_token_score(p),
    "bos": lambda p, _: scores.bos_score(p),
    "profile": lambda p, _: scores.offset_profile(p, 4),
    "duplicate_token": lambda p, rows: scores.duplicate_token_score(p, TOKENS[rows]),
    "text_induction": lambda p, rows: scores.text_induction_score(p, TOKENS[rows]),
    "delimiter": lambda p, rows: scores.delimiter_score(p, DELIMITERS[rows]),
    "delimiter_ratio": lambda p, rows: scores.delimiter_ratio(p, DELIMITERS[rows]),
    "between": lambda p, rows: scores.attention_between(p, QUERY[rows], KEY[rows]),
    "successor": lambda p, _: scores.successor_score(p, ITEMS),
    "induction": lambda p, _: scores.induction_score(p, 1),
    "induction_profile": lambda p, _: scores.induction_profile(p, 1, 2),
}


def test_every_exported_score_is_tested_here():
    tested = {"attention_between", "bos_score", "delimiter_ratio", "delimiter_score"}
    tested |= {"duplicate_token_score", "induction_profile", "induction_score", "offset_profile"}
    tested |= {"previous_token_score", "successor_score", "text_induction_score", "uniform_pattern"}
    assert set(scores.__all__) == tested


@pytest.mark.parametrize("name", EVERY)
@given(seed=SEEDS)
def test_orders_of_heads_and_rows_only_permute_scores(name, seed):
    score, pattern = EVERY[name], random_pattern(seed)
    found = score(pattern, slice(None))
    rows = [2, 0, 1]
    torch.testing.assert_close(score(pattern[:, [1, 0]], slice(None)), found[:, [1, 0]])
    torch.testing.assert_close(score(pattern[rows], rows), found[rows])


@pytest.mark.parametrize("name", EVERY)
@given(seed=SEEDS, share=st.floats(0, 1))
def test_scores_are_linear_in_the_pattern(name, seed, share):
    score, one, other = EVERY[name], random_pattern(seed), random_pattern(seed + 1)
    mixed = score(share * one + (1 - share) * other, slice(None))
    parts = share * score(one, slice(None)) + (1 - share) * score(other, slice(None))
    torch.testing.assert_close(mixed, parts)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_left_as_they_were(name, dtype):
    pattern = random_pattern(0).to(dtype)
    kept = pattern.clone(), TOKENS.clone(), DELIMITERS.clone()
    assert EVERY[name](pattern, slice(None)).dtype.is_floating_point
    for now, before in zip((pattern, TOKENS, DELIMITERS), kept, strict=True):
        assert torch.equal(now, before)


def test_a_row_that_cannot_test_a_score_is_nan_and_alone():
    pattern = random_pattern(0)
    tokens = torch.stack([torch.arange(N_POS), *TOKENS[1:]])
    found = scores.duplicate_token_score(pattern, tokens)
    assert found[0].isnan().all()
    assert not found[1:].isnan().any()
    marked = DELIMITERS.clone()
    marked[1] = False
    ratio = scores.delimiter_ratio(pattern, marked)
    assert ratio[1].isnan().all()
    assert not ratio[[0, 2]].isnan().any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: scores.previous_token_score(p[..., :2, :2]), "at least 3 positions, got 2"),
        (lambda p: scores.offset_profile(p, 12), "at most 11 offsets, got 12"),
        (lambda p: scores.induction_score(p, 0), r"0 \+ 2 L positions with L >= 2, got 11"),
        (lambda p: scores.induction_score(p[..., :3, :3], 1), r"1 \+ 2 L positions .* got 3"),
        (lambda p: scores.induction_profile(p, 1, 4), "a shift below 4, got 4"),
        (lambda p: scores.successor_score(p, ITEMS[:2]), "at least 3 items, got 2"),
    ],
)
def test_what_cannot_be_scored_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_pattern(0))
