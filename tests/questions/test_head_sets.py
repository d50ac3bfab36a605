"""Random sets that can judge a set, and claims that are tested in several ways."""

import numpy as np
import pytest

from analysis.interventions import Head
from analysis.questions.verdicts.head_sets import drawn_beside, mixture, set_null, upstream_heads
from analysis.questions.verdicts.variants import WEAKEST_FIRST, weaker, weakest
from analysis.questions.verdicts.verdict import Verdict

HEADS = [Head(layer, head) for layer in range(4) for head in range(4)]
JUDGED = [Head(2, 0), Head(3, 1)]


def test_upstream_heads_lie_below_every_judged_head_and_cost_the_bar():
    costs = {Head(0, 1): 1.0, Head(1, 3): 5.0, Head(1, 0): 0.99, Head(2, 2): 9.0}
    assert upstream_heads(costs, JUDGED, 1.0) == (Head(0, 1), Head(1, 3))
    assert upstream_heads(costs, [*JUDGED, Head(0, 0)], 1.0) == ()


def test_null_sets_hold_neither_judged_nor_upstream_heads():
    above = [Head(0, 1), Head(1, 3)]
    null, mixed = drawn_beside(HEADS, (JUDGED, above), 3, 50, seed=0)
    assert len(null) == len(set(null)) == 50
    assert not {*JUDGED, *above} & {head for heads in null for head in heads}
    assert mixed
    assert all(set(heads) & set(above) and not set(heads) & set(JUDGED) for heads in mixed)


def test_too_few_heads_give_no_sets_and_few_all_of_them():
    assert drawn_beside(HEADS[:3], ([HEADS[0]], [HEADS[1]]), 2, 9, 0)[0] == []
    null, _ = drawn_beside(HEADS[:6], ([HEADS[0]], [HEADS[1]]), 1, 9, 0)
    assert null == [(head,) for head in HEADS[2:6]]


# negative control: a set that stands out from all others is not supported if they are too few
@pytest.mark.parametrize(("n", "allowed"), [(0, False), (7, False), (39, False), (40, True)])
def test_a_null_that_is_too_small_cannot_test(n, allowed):
    null, told = set_null(1.0, np.zeros(n))
    assert null.allows is allowed
    assert told == ("permutation p 0.024" if allowed else f"{n} sets are too few for a p")
    assert null.p == 1 / (n + 1)


def test_coinciding_draws_count_once():
    assert not set_null(1.0, np.zeros(50), size=1)[0].allows


def test_a_mixture_counts_sets_by_the_upstream_heads_in_them():
    sets = [(["a", "b"], 1.0), (["b"], 3.0), (["x", "b"], 7.0), (["x", "y"], 9.0)]
    rows = mixture(sets, ["x", "y"])
    told = [(row["upstream heads in the set"], row["sets"], row["mean cost"]) for row in rows]
    assert told == [("none", 2, 2.0), ("any", 2, 8.0), ("x", 1, 7.0), ("x, y", 1, 9.0)]


def row(verdict: Verdict, lower: float | None) -> dict:
    words = {"statistic": "fall (n = 3)", "threshold": 0.5}
    return {**words, "estimate": lower, "lower": lower, "verdict": verdict.value}


def test_the_weakest_is_what_speaks_against_a_claim_most():
    held, open_, untested = Verdict.SUPPORTED, Verdict.UNDECIDED, Verdict.NOT_TESTABLE
    lost, unseen = Verdict.REFUTED, Verdict.NOT_SHOWN
    order = [held, open_, untested, unseen, lost]
    for place, verdict in enumerate(order):
        assert weaker(*order[: place + 1]) is verdict
        assert weaker(held, verdict) is verdict


def test_the_weakest_variant_decides():
    every = {each.name: row(each, 1.0) for each in Verdict}
    order = (Verdict.REFUTED, Verdict.NOT_SHOWN, Verdict.NOT_TESTABLE, Verdict.UNDECIDED)
    assert (*order, Verdict.SUPPORTED) == WEAKEST_FIRST
    assert set(WEAKEST_FIRST) == set(Verdict)
    for expected in WEAKEST_FIRST:
        found = weakest(every)
        assert found["verdict"] == expected.value
        assert all(name in found["statistic"] for name in every) or len(every) == 1
        del every[expected.name]


def test_of_equal_verdicts_the_lowest_decides_and_all_are_told():
    found = weakest({"zero": row(Verdict.SUPPORTED, 0.9), "mean": row(Verdict.SUPPORTED, 0.7)})
    assert found["estimate"] == 0.7
    assert found["statistic"] == (
        "fall (n = 3); mean decides: zero 0.9 (supported), mean 0.7 (supported)"
    )
    assert weakest({"zero": row(Verdict.UNDECIDED, None)})["statistic"] == "fall (n = 3)"
