"""Budgets: what fits, in which order, at which sizes; a larger one holds what a smaller one did."""

from dataclasses import replace

import pytest

from analysis.overview.budget import LEAST, VALUE, chapter_seconds, fitted, halved, planned
from analysis.overview.own_sizes import size_tables
from analysis.questions.asked import Asked, Profile
from analysis.questions.cost import Rates
from analysis.studies import CHAPTERS

RATES = Rates(layer=1e-4, logits=1e-4, compared=1e-4, call=1e-3, load=1.0, gib=1.0)


@pytest.fixture(scope="module")
def asked(worded, tmp_path_factory) -> Asked:
    path = tmp_path_factory.mktemp("budget") / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 200)
    return Asked(model=str(worded), text=str(path))


@pytest.fixture(scope="module")
def seconds(asked) -> dict[str, float]:
    return chapter_seconds(asked, RATES)


def test_every_chapter_that_asks_a_model_has_a_value():
    assert sorted(VALUE) == [name[:2] for name in CHAPTERS]


def test_a_longer_time_holds_what_a_shorter_one_does(asked, seconds):
    whole, before = sum(seconds.values()), []
    for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        plan = planned(asked, RATES, share * whole + 1e-6, 0)
        assert plan.inside[: len(before)] == before
        assert [*plan.inside, *plan.outside] == list(seconds)
        assert sum(plan.seconds[n] for n in plan.inside) <= plan.capacity
        before = plan.inside
    assert before == list(seconds) == [n for n in VALUE if n in seconds]


def test_sizes_shrink_until_all_fits_and_no_further(asked, seconds):
    whole = sum(seconds.values())
    assert fitted(asked, RATES, whole) == 0
    assert fitted(asked, RATES, whole * 0.999) == 1
    last = fitted(asked, RATES, 0.0)
    assert halved(asked, last + 1) == halved(asked, last) != halved(asked, last - 1)
    ladder = [sum(chapter_seconds(halved(asked, n), RATES).values()) for n in range(last + 1)]
    assert ladder == sorted(ladder, reverse=True)


def test_no_size_is_halved_below_what_a_verdict_takes_nor_raised(asked):
    for profile in Profile:
        at = replace(asked, profile=profile)
        own = dict(halved(at, 9).own)
        for room, table in size_tables().items():
            for name, value in vars(table[profile]).items():
                key = f"{room}.{name}" if room else name
                assert own.get(key, value) == (min(value, LEAST[key]) if key in LEAST else value)


def test_own_sizes_are_halved_too(asked):
    own = replace(asked, own=(("n_blocks", 100), ("n_draws", 7)))
    found = dict(halved(own, 2).own)
    assert (found["n_blocks"], found["n_draws"]) == (25, 7)
