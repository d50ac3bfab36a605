"""Which sets a curve replaces: uniform draws that never hold the top, and refusals."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from analysis.errors import UserError
from analysis.interventions import Head
from analysis.studies.retrieval.ranking.sets import LAYER_MATCHED, RANDOM, SetPlan, levels_up_to

HEADS = tuple(Head(layer, head) for layer in range(3) for head in range(4))
FIRST = (Head(2, 1), Head(2, 3), Head(1, 0), *(h for h in HEADS if h.layer == 0))


def plan(n_draws: int = 30, levels=(1, 2, 3), upstream=()) -> SetPlan:
    other = (Head(2, 1), Head(1, 0), Head(2, 3), *(h for h in HEADS if h.layer == 0))
    return SetPlan(
        rankings={"one": FIRST, "two": other},
        heads=HEADS,
        levels=levels,
        upstream={"one": upstream},
        n_draws=n_draws,
        seed=1,
    )


@pytest.mark.parametrize("family", [RANDOM, LAYER_MATCHED])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_draws_are_as_large_and_hold_none_of_the_top(family, level):
    above = (Head(0, 2),)
    made, top = plan(upstream=above), plan().top("one", level)
    layers = Counter(head.layer for head in top)
    for heads in [*made.draws(family, "one", level), *made.distribution(family, "one", level)]:
        assert len(set(heads)) == level
        assert not set(heads) & {*top, *above, *made.judged("one")}
        if family == LAYER_MATCHED:
            assert Counter(head.layer for head in heads) == layers


def test_few_sets_are_enumerated_and_many_drawn():
    singles = plan().distribution(RANDOM, "one", 1)
    judged = plan().judged("one")
    assert judged == tuple(sorted(FIRST[:3])), "the last level, since none reaches four"
    assert sorted(singles) == [(head,) for head in HEADS if head not in judged]
    drawn = plan().draws(RANDOM, "one", 3)
    assert len(drawn) == 30
    assert sorted(plan().distribution(RANDOM, "one", 3)) == sorted(set(drawn))


def test_sets_with_an_upstream_head_are_kept_apart():
    above = (Head(0, 2), Head(0, 3))
    made = plan(upstream=above)
    assert made.mixed("one")
    for heads in made.mixed("one"):
        assert set(heads) & set(above)
        assert not set(heads) & set(made.judged("one"))
    assert plan().mixed("one") == []
    assert made.parameters() != plan().parameters(), "the key knows what was left out"


def test_every_head_is_tried_alone_only_where_there_are_few():
    assert len(plan().singles()) == len(HEADS)
    many = tuple(Head(layer, head) for layer in range(3) for head in range(16))
    wide = replace(plan(n_draws=40, levels=(2,)), heads=many)
    above = [(head,) for head in many if head.layer < 2]
    assert wide.singles() == above, "below the lowest judged one"
    assert replace(wide, n_draws=5).singles() == [], "five draws judge nothing anyway"


def test_every_set_is_as_likely():
    drawn = Counter(plan(n_draws=6000, levels=(2,)).draws(RANDOM, "one", 2))
    others = [head for head in HEADS if head not in FIRST[:2]]
    assert set(drawn) == set(combinations(others, 2))
    expected = 6000 / len(drawn)
    assert max(abs(n - expected) for n in drawn.values()) < 5 * np.sqrt(expected)


def test_rankings_that_agree_share_their_draws():
    made = plan()
    assert made.draws(RANDOM, "one", 3) == made.draws(RANDOM, "two", 3)
    assert made.overlaps() == [(Head(2, 1),), (Head(1, 0), Head(2, 1), Head(2, 3))]


def test_a_layer_with_too_few_heads_is_refused_not_shrunk():
    crowded = SetPlan(
        rankings={"one": tuple(sorted(HEADS, reverse=True))},
        heads=HEADS,
        levels=(2, 3),
        upstream={},
        n_draws=5,
        seed=0,
    )
    assert crowded.matched_levels(LAYER_MATCHED, "one") == (), "the judged three are no control"
    first, reason = crowded.refusals(LAYER_MATCHED, "one")
    assert first.startswith("expected at least 2 other heads in layer 2")
    assert reason.startswith("expected at least 3 other heads in layer 2")
    with pytest.raises(UserError, match="at level 3 of one, got 1; ablate fewer heads"):
        crowded.draws(LAYER_MATCHED, "one", 3)


def test_levels_end_at_a_third_of_the_heads():
    assert levels_up_to(12, (1, 2, 4, 8)) == (1, 2, 4)
    assert levels_up_to(32, (8, 11, 12)) == (8, 11)
    with pytest.raises(UserError, match="expected at least 15 heads for an ablation curve, got 12"):
        levels_up_to(12, (5, 10))
