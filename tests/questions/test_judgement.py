"""Verdicts follow from intervals, a control and p, and say no more than these do."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.models.files.card import read_card
from analysis.questions.verdicts.centres import Centre
from analysis.questions.verdicts.judgement import Bar, Judgement, Statement
from analysis.questions.verdicts.verdict import LEVEL, Null, Verdict, verdict
from analysis.statistics.resampling import Interval, mean_interval
from store.schema import conformed
from tests.questions.test_experiments import silent

NAN = float("nan")
NUMBERS = st.floats(-1, 1)
ENDS = st.tuples(NUMBERS, NUMBERS).map(lambda ends: tuple(sorted(ends)))
RARE, COMMON, SMALL = Null(p=0.001, size=999), Null(p=0.5, size=999), Null(p=0.1, size=9)
NULLS = st.one_of(
    st.none(),
    st.integers(0, 200).flatmap(
        lambda size: st.floats(1 / (size + 1), 1).map(lambda p: Null(p=p, size=size))
    ),
)


@pytest.mark.parametrize(
    ("interval", "beyond", "null", "expected"),
    [
        ((0.6, 0.8), (0.5, 0.8), None, Verdict.SUPPORTED),
        ((0.6, 0.8), (0.5, 0.8), RARE, Verdict.SUPPORTED),
        ((0.6, 0.8), (0.5, 0.8), COMMON, Verdict.NOT_SHOWN),
        ((0.6, 0.8), (0.5, 0.8), SMALL, Verdict.NOT_TESTABLE),
        ((0.6, 0.8), (-0.5, -0.1), RARE, Verdict.NOT_SHOWN),
        ((0.4, 0.6), (-0.5, -0.1), RARE, Verdict.NOT_SHOWN),
        ((0.4, 0.8), (0.5, 0.8), RARE, Verdict.UNDECIDED),
        ((0.4, 0.8), (0.5, 0.8), COMMON, Verdict.UNDECIDED),
        ((0.5, 0.8), (0.5, 0.8), None, Verdict.UNDECIDED),
        ((0.3, 0.5), (0.1, 0.3), None, Verdict.UNDECIDED),
        ((0.6, 0.8), (-0.1, 0.3), RARE, Verdict.UNDECIDED),
        ((0.6, 0.8), (0.0, 0.3), RARE, Verdict.UNDECIDED),
        ((0.1, 0.4), (0.05, 0.4), RARE, Verdict.REFUTED),
        ((0.1, 0.4), (-0.3, -0.1), COMMON, Verdict.REFUTED),
        ((0.1, 0.4), (0.05, 0.4), SMALL, Verdict.REFUTED),
        ((NAN, NAN), (0.1, 0.3), RARE, Verdict.UNDECIDED),
        ((0.6, 0.8), (NAN, NAN), RARE, Verdict.UNDECIDED),
        ((0.1, 0.4), (NAN, NAN), None, Verdict.REFUTED),
    ],
)
def test_verdicts(interval, beyond, null, expected):
    assert verdict(interval, 0.5, beyond, null) is expected


@given(interval=ENDS, threshold=NUMBERS, beyond=ENDS, null=NULLS)
def test_a_verdict_is_what_its_definition_says(interval, threshold, beyond, null):
    (lower, upper), found = interval, verdict(interval, threshold, beyond, null)
    clear = lower > threshold and beyond[0] > 0
    assert (found is Verdict.REFUTED) == (upper < threshold)
    if found is Verdict.SUPPORTED:
        assert clear and (null is None or null.p < LEVEL)
    if found is Verdict.NOT_SHOWN:
        assert beyond[1] < 0 or (null is not None and null.p >= LEVEL)
    if found is Verdict.NOT_TESTABLE:
        assert null is not None and 1 / (null.size + 1) > LEVEL
    if found is Verdict.UNDECIDED:
        assert not clear and upper >= threshold and beyond[1] >= 0


@given(interval=ENDS, threshold=NUMBERS, beyond=ENDS, null=NULLS, more=st.floats(0, 1))
def test_more_of_an_effect_is_never_worse(interval, threshold, beyond, null, more):
    """Moved up, a supported claim stays so, and none becomes refuted."""
    moved = [tuple(end + more for end in ends) for ends in (interval, beyond)]
    before, after = (
        verdict(interval, threshold, beyond, null),
        verdict(moved[0], threshold, moved[1], null),
    )
    if before is Verdict.SUPPORTED:
        assert after is Verdict.SUPPORTED
    if before is not Verdict.REFUTED:
        assert after is not Verdict.REFUTED


@given(interval=ENDS, threshold=NUMBERS, beyond=ENDS, null=NULLS)
def test_intervals_that_hold_everything_decide_nothing(interval, threshold, beyond, null):
    wide = [(lower - 3, upper + 3) for lower, upper in (interval, beyond)]
    small = null is not None and not null.allows
    expected = Verdict.NOT_TESTABLE if small else Verdict.UNDECIDED
    assert verdict(wide[0], threshold, wide[1], null) is expected


# rows


@dataclass(frozen=True, kw_only=True)
class Claims(Judgement):
    """Whatever a test says."""

    chapter = "00_claims"
    rows: list = field(default_factory=list)
    held: list = field(default_factory=list)

    def claims(self):
        return [row(self) for row in self.rows]

    def checks(self):
        return [row(self) for row in self.held]


SAID = Statement(claim="one", statement="It is more", statistic="mean")


@pytest.fixture
def judge(worded):
    def judge(row) -> dict:
        found = Claims(card=read_card(str(worded)), seed=0, rows=[row]).run(silent)
        return found["claims"].row(0, named=True)

    return judge


def bar(control: np.ndarray, threshold: float = 0.0) -> Bar:
    return Bar(threshold=threshold, control=control, control_name="the other")


def test_paired_values_are_judged_by_their_differences(judge):
    """What sequences share, ten times the effect, is no noise of it."""
    rng = np.random.default_rng(0)
    shared, noise = rng.normal(30, 10, 12), rng.normal(0, 0.1, 12)
    paired = judge(lambda j: j.judged(SAID, shared + 1 + noise, bar(shared)))
    ends = [mean_interval(values, 0) for values in (shared + 1 + noise, shared)]
    apart = judge(lambda j: j.decided(SAID, *ends, (0.0, "not paired")))
    assert paired["verdict"] == "supported" and apart["verdict"] == "undecided"
    assert paired["beyond"] == pytest.approx(1 + noise.mean())
    assert (paired["p"], paired["n_null"]) == (1 / 2**12, 2**12 - 1)
    assert (apart["p"], apart["n_null"]) == (None, None)
    assert apart["beyond_lower"] == apart["lower"] - apart["control_upper"] < 0


def test_a_control_of_other_sequences_is_no_control(judge):
    with pytest.raises(ValueError, match=r"expected \(12,\) values of the control"):
        judge(lambda j: j.judged(SAID, np.ones(12), bar(np.ones(11))))


def test_five_sequences_allow_no_small_p(judge):
    rising = np.arange(1.0, 7.0)
    assert judge(lambda j: j.judged(SAID, rising[:5], bar(0 * rising[:5])))["verdict"] == (
        "not testable"
    )
    assert judge(lambda j: j.judged(SAID, rising, bar(0 * rising)))["verdict"] == "supported"


def test_a_claim_of_all_variants_is_as_good_as_the_worst_against_the_best_control(judge):
    rng = np.random.default_rng(1)
    good, poor, none = (mean + rng.normal(0, 0.1, 20) for mean in (0.9, 0.7, 0.0))

    def judged(*tested):
        return judge(lambda j: j.judged_all(SAID, tested, (0.5, "all"), Centre.MEAN))

    unknown = np.full(20, np.nan)
    both = judged((good, [none]), (poor, [none]))
    assert both["verdict"] == "supported"
    assert both["estimate"] == pytest.approx(poor.mean())
    assert both["beyond"] == pytest.approx((poor - none).mean())
    assert judged((good, [none, poor]))["control"] == pytest.approx(poor.mean())
    assert judged((poor, [none]), (good, [good + 0.2]))["verdict"] == "not shown"
    assert judged((good, [none]), (none, [none - 1]))["verdict"] == "refuted"
    assert judged((good, [none, unknown]))["beyond"] == pytest.approx((good - none).mean())
    assert judged((good[:4], [none[:4]]))["verdict"] == "not testable"
    for lacking in ((poor, [unknown]), (poor, [])):
        for tested in ((lacking, (good, [none])), ((good, [none]), lacking)):
            assert judged(*tested)["verdict"] == "not testable", "each variant needs a control"
    nobody = judged((unknown, [none]), (good, [none]))
    assert nobody == judged((good, [none]), (unknown, [none]))
    assert nobody["estimate"] is None
    assert nobody["verdict"] == "not testable"
    rare = np.where(np.arange(20) < 9, 5.0, np.nan)
    assert judged((good, [none, rare]))["verdict"] == "supported", "known on fewer than half"
    often = np.where(np.arange(20) < 10, 5.0, np.nan)
    assert judged((good, [none, often]))["verdict"] == "not shown"


def test_a_median_is_judged_by_order_statistics_and_signs(judge):
    """One pair of forty rules the mean of its differences, and neither its median nor its sign."""
    values = np.random.default_rng(0).normal(1.0, 0.1, 40)
    ruled, control = np.where(np.arange(40) == 3, -500.0, values), np.zeros(40)

    def judged(centre):
        return judge(lambda j: j.judged_all(SAID, [(ruled, [control])], (0.5, "all"), centre))

    assert judged(Centre.MEAN)["verdict"] == "undecided"
    by_median = judged(Centre.MEDIAN)
    assert by_median["verdict"] == "supported"
    assert by_median["estimate"] == np.median(ruled)
    assert by_median["p"] == pytest.approx(1e-4)
    same = np.where(np.arange(40) < 20, control, values)
    assert Centre.MEDIAN.p(same - control, 0)[0] == Centre.MEDIAN.p(values[20:], 0)[0], "ties"
    assert Centre.MEDIAN.number(ruled) == np.median(ruled)
    assert Centre.MEAN.number(ruled) == pytest.approx(ruled.mean())


def test_no_row_holds_nan_and_its_verdict_follows_from_it(judge):
    unknown = Interval.exactly(NAN)
    row = judge(lambda j: j.decided(SAID, unknown, Interval.exactly(0.0), (0.5, "n = 0")))
    assert row["verdict"] == "undecided"
    names = ("estimate", "lower", "upper", "beyond", "beyond_lower", "beyond_upper", "p", "n_null")
    assert [row[name] for name in names] == [None] * len(names)


def test_checks_hold_within_their_tolerance_and_controls_beyond_it(worded):
    held = [
        lambda j: j.checked("same", "same", 1e-7, same=True),
        lambda j: j.checked("broken", "same", 1e-3, same=True),
        lambda j: j.checked("other", "another", 1.0, same=False),
        lambda j: j.checked("no control", "another", 0.0, same=False),
    ]
    found = Claims(card=read_card(str(worded)), seed=0, held=held).run(silent)
    assert set(found) == {"checks"}
    assert found["checks"]["holds"].to_list() == [True, False, True, False]
    assert found["checks"]["tolerance"].unique().to_list() == [1e-6]


def test_noise_is_supported_as_rarely_as_the_level_says(worded):
    """Of 400 claims that are wrong by nothing at all, 10 are expected and 22 are too many."""
    judging = Claims(card=read_card(str(worded)), seed=0)
    rows = [
        judging.judged(SAID, values, bar(np.zeros(8)))
        for values in np.random.default_rng(0).normal(size=(400, 8))
    ]
    assert sum(row["verdict"] == "supported" for row in rows) < 22


def test_frames_of_claims_and_checks_fit_their_tables(worded):
    rows = [lambda j: j.judged(SAID, np.arange(8.0), bar(np.zeros(8)))]
    held = [lambda j: j.checked("same", "same", 1e-7, same=True)]
    found = Claims(card=read_card(str(worded)), seed=0, rows=rows, held=held).run(silent)
    for table, frame in found.items():
        conformed(table, frame.with_columns(run=pl.lit("r")))
