"""Two texts beside the kinds: what noise alone cannot show, and what a text that matters does."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from analysis.statistics.stability import Halved, exchanged
from analysis.studies.kinds import views
from analysis.studies.kinds.claims import PARTIAL
from analysis.studies.kinds.texts import TextsBeside
from store.schema import conformed
from tests.studies.kinds.test_kind_claims import MEANS, NAMES, evidence, judged, noisy, swept

__all__ = ["judged"]
CLAIM = "text_matters_more_than_kind"
N_ROWS, N_HEADS = 16, 32


def sampled(means: np.ndarray, seed: int) -> np.ndarray:
    """Rows around means, whose error is a tenth of the spread of heads."""
    noise = np.random.default_rng(seed).normal(0, 0.1 * N_ROWS**0.5, (N_ROWS, len(means)))
    return means + noise


def mixed(means: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Other means whose correlation with these is about sqrt(1 - share^2)."""
    other = np.random.default_rng(seed).normal(size=len(means))
    return np.sqrt(1 - share**2) * means + share * other


def verdict(judged, zero, kind, second) -> str:
    names = [f"L{i // 8}H{i % 8}" for i in range(N_HEADS)]
    found = evidence(MEANS, top=3.0, random=1.0)
    kinds = {"zero": swept(zero, names), "mean": swept(kind, names)}
    about = {"kinds": kinds, "estimates": {}, "second": {"another text": swept(second, names)}}
    claims = judged(type(found)(**{**vars(found), **about}))["claims"]
    return claims.filter(claim=CLAIM)["verdict"].item()


def drawn(seed: int, kind: float, text: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`zero` and another kind on rows of their own noise, and `zero` on other rows."""
    means = np.random.default_rng(seed).normal(size=N_HEADS)
    zero = sampled(means, seed + 1)
    other = zero - means + mixed(means, kind, seed + 2)  # the same rows have the same noise
    return zero, other, sampled(mixed(means, text, seed + 3), seed + 4)


@pytest.mark.parametrize("seed", range(0, 80, 10))
@pytest.mark.parametrize("kind", [0.0, 0.3])
def test_another_sample_of_one_text_shows_nothing(judged, seed, kind):
    """Noise lowers its correlation below that of kinds on the same rows, which share it."""
    zero, other, second = drawn(seed, kind, text=0.0)
    assert verdict(judged, zero, other, second) in {"undecided", "refuted", "not shown"}


@pytest.mark.parametrize("kind", [0.0, 0.3])
def test_a_text_beside_itself_shows_nothing(judged, kind):
    zero, other, _ = drawn(0, kind, 0.0)
    assert verdict(judged, zero, other, zero) in {"undecided", "refuted", "not shown"}


def test_a_text_that_matters_more_and_one_that_matters_less(judged):
    assert verdict(judged, *drawn(0, kind=0.1, text=0.8)) == "supported"
    assert verdict(judged, *drawn(0, kind=0.8, text=0.1)) == "refuted"


def test_a_text_that_matters_as_much_as_the_kind_shows_nothing(judged):
    found = [verdict(judged, *drawn(seed, 0.3, 0.3)) for seed in range(0, 80, 10)]
    assert "supported" not in found


def test_correction_takes_out_what_noise_does():
    """Two samples of the same heads: .9 and less before, about 1 after, and as often above it."""
    found: list[tuple[float, float]] = []
    for seed in range(40):
        means = np.random.default_rng(seed).normal(size=N_HEADS)
        one, two = (
            Halved.of(sampled(2 * means, k) / 2, np.random.default_rng(k))
            for k in (1000 + seed, 2000 + seed)
        )
        found.append((one.across(two)[0], one.corrected(two)[0]))
    across, corrected = np.mean(found, axis=0)
    assert across < 0.995
    assert corrected == pytest.approx(1, abs=0.003)


def test_what_does_not_come_out_again_has_no_corrected_correlation():
    """Nor do two such, whose product would be positive."""
    falling = Halved(MEANS[None], MEANS[None, ::-1])
    assert falling.within == pytest.approx(-1)
    assert np.isnan(falling.corrected(falling)).all()
    assert np.isnan(falling.corrected(Halved(MEANS[None], MEANS[None]))).all()


def test_exchanged_rows_are_of_neither_text():
    """Of two equal texts every exchange gives what both give; of two apart, something between."""
    zero, _, second = drawn(0, 0.0, 0.9)
    same, size = exchanged(np.tile(zero[:1], (8, 1)), np.tile(zero[:1], (8, 1)), 0)
    np.testing.assert_allclose(same, 1)
    assert size > 1000
    apart, _ = exchanged(zero, second, 0)
    halves = [Halved.of(each, np.random.default_rng(i)) for i, each in enumerate((zero, second))]
    assert halves[0].corrected(halves[1])[0] < apart.min()
    assert exchanged(zero[:2], second[:2], 0)[1] == 4 * 3 * 2 // 8 - 1, "2 rows each: 3 exchanges"


def test_texts_of_unequal_length_are_compared_on_as_many_rows():
    zero, other, second = drawn(0, 0.1, 0.8)
    about = {"kinds": {"zero": zero, "mean": other}, "texts": ("a", "b"), "seed": 0}
    short = TextsBeside(**about, second=second[:9])
    assert short.n == 9
    whole = short.weighed(["mean"])
    assert whole is not None and "9 rows of each text" in whole.note
    flat = TextsBeside(**{**about, "kinds": {"zero": zero, "mean": 0 * other}}, second=second)
    assert flat.weighed(["mean"]) is None, "a kind without an order is compared with nothing"


def test_a_reader_is_shown_both_texts_or_why_there_is_one(judged):
    alone = evidence(MEANS**2, top=3.0, random=1.0)
    frames = judged(alone)
    assert CLAIM not in frames["claims"]["claim"].to_list()
    (gap,) = frames["absences"].iter_rows(named=True)
    assert (gap["data"], gap["reason"]) == ("a second text", "none was asked for")
    said = views.text_sentence(frames, {}, "one text")
    assert said == "There is no second text: none was asked for."
    shuffled = np.random.default_rng(1).permutation(MEANS)
    second = {"another": swept(noisy(shuffled, 5), NAMES)}
    frames = judged(type(alone)(**{**vars(alone), "second": second}))
    rows = frames["rank_agreements"].with_columns(run=pl.lit("r"))
    conformed("rank_agreements", rows)
    assert "absences" not in frames
    table = views.halves_table(frames["rank_agreements"])
    assert table["on half of the rows"].unique().sort().to_list() == ["zero", "zero on another"]
    assert table["on the rest"].to_list()[-1] == "zero on another"
    assert table["Spearman"][-1] == pytest.approx(spearmanr(MEANS, shuffled).statistic, abs=0.1)
    assert "**supported**" in views.text_sentence(frames, second, "one text")
    assert not set(table["on the rest"]) & set(PARTIAL)
