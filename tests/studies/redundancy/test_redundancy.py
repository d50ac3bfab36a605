"""Redundancy: the index, its seven comparisons, and that a tautology is one."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, Method, taps
from analysis.models.load import load_model
from analysis.precision import Precision
from analysis.studies.redundancy import summaries, views
from analysis.studies.redundancy.measures import (
    FLOOR_KL,
    distance2,
    kl,
    log_ratio,
    nip,
    redundancy,
)
from analysis.studies.redundancy.query_offsets import CHANGE, PROFILE, TARGET, QueryOffsets
from analysis.studies.redundancy.question import N_STRATA, ValueRedundancy, strata
from tests.interventions.intervened import done, seen, tapped

LAYER, HEAD = 0, 2
LAST = 1


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def question(worded) -> ValueRedundancy:
    return ValueRedundancy(
        model=str(worded),
        seed=3,
        text="reference",
        bos=True,
        n_sequences=12,
        n_tokens=14,
        head=f"L{LAYER}H{HEAD}",
        method="zero_value",
        max_lag=3,
    )


@pytest.fixture(scope="module")
def comparisons(question) -> pl.DataFrame:
    return question.run(silent)["comparisons"]


def aggregate(rows: pl.DataFrame, **where) -> float:
    layer = where.pop("layer")
    found = rows.filter(
        pl.col("sequence").is_null(), pl.col("layer").eq_missing(pl.lit(layer, pl.Int16)), **where
    )
    return found["value"].item()


def plain(question: ValueRedundancy, lag: int, scope: str) -> dict[str, list]:
    """Every condition as a whole pass on each sequence: attention outputs and logits at t."""
    model = load_model(question.model)
    heads = [Head(LAYER, h) for h in range(4)] if scope == "all" else [Head(LAYER, HEAD)]
    found: dict[str, list] = {"base": [], "A": [], "B": [], "A+B": []}
    for row, t in zip(question.tokens.ids, question.positions, strict=True):
        ids = torch.from_numpy(row[None, : t + 1]).long()
        zeroed = done(Method.ZERO, Head(LAYER, HEAD), positions=(int(t),))
        if t < lag:
            continue
        unread = done(Method(question.method), *heads, positions=(int(t) - lag,))
        for name, what in (
            ("base", ()),
            ("A", (zeroed,)),
            ("B", (unread,)),
            ("A+B", (zeroed, unread)),
        ):
            tapping = taps(what, NOTHING, 1)
            with torch.no_grad():
                out = seen(model, tapping, ids).attn_out
            found[name].append((torch.stack(out)[:, 0, -1], tapped(model, tapping, ids)[0, -1]))
    return found


@pytest.mark.parametrize("scope", ["all", "specific"])
@pytest.mark.parametrize("lag", [1, 3])
def test_every_number_is_that_of_plain_passes(question, comparisons, scope, lag):
    passes = plain(question, lag, scope)
    for reference, name in (("base", "B"), ("base", "A+B"), ("A", "A+B")):
        both = list(zip(passes[reference], passes[name], strict=True))
        where = {"lag": lag, "reference": reference, "condition": f"{name}({scope})"}
        for layer in range(2):
            x = torch.stack([one[0][layer] for one, _ in both])
            y = torch.stack([other[0][layer] for _, other in both])
            expected = {
                "nip": (x * y).sum(-1) / x.norm(dim=-1) ** 2,
                "cosine": (x * y).sum(-1) / x.norm(dim=-1) / y.norm(dim=-1),
                "distance2": (x - y).norm(dim=-1) ** 2,
            }
            for metric, values in expected.items():
                found = aggregate(comparisons, **where, layer=layer, metric=metric)
                assert found == pytest.approx(float(values.mean()), abs=2e-5, rel=1e-4)
        divergence = kl_divergence(
            Categorical(logits=torch.stack([one[1] for one, _ in both])),
            Categorical(logits=torch.stack([other[1] for _, other in both])),
        )
        found = aggregate(comparisons, **where, layer=None, metric="kl")
        assert found == pytest.approx(float(divergence.mean()), abs=1e-5, rel=1e-3)


def kish(values) -> float:
    return np.sum(values) ** 2 / np.sum(np.square(values))


def test_the_index_is_its_formula_in_every_layer(question, comparisons):
    passes = plain(question, 1, "all")
    for layer in range(LAYER, 2):
        lefts, wholes = [], []
        for base, a, b, ab in zip(*(passes[n] for n in ("base", "A", "B", "A+B")), strict=True):
            lefts.append(float((a[0][layer] - ab[0][layer]).norm() ** 2))
            wholes.append(float((base[0][layer] - b[0][layer]).norm() ** 2))
        where = {"lag": 1, "condition": "A+B(all)", "layer": layer}
        found = aggregate(comparisons, **where, metric="redundancy")
        expected = np.median(1 - np.array(lefts) / wholes)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
        alone = {"lag": 1, "condition": "B(all)", "reference": "base", "layer": layer}
        found = aggregate(comparisons, **alone, metric="effective_n")
        assert found == pytest.approx(kish(wholes), rel=1e-3)


def test_the_log_ratio_is_its_formula_in_predictions(question, comparisons):
    passes = plain(question, 1, "all")
    lefts, wholes = (
        np.array(
            [
                float(kl(one[1].double(), other[1].double()))
                for one, other in zip(*both, strict=True)
            ]
        )
        for both in ((passes["A"], passes["A+B"]), (passes["base"], passes["B"]))
    )
    where = {"lag": 1, "condition": "A+B(all)", "layer": None}
    found = aggregate(comparisons, **where, metric="log_ratio")
    assert found == pytest.approx(np.median(np.log(wholes / lefts)), rel=1e-3, abs=1e-3)
    assert aggregate(comparisons, **where, metric="undefined") == 0
    assert aggregate(comparisons, **where, metric="at_floor") == 0
    pooled = aggregate(comparisons, **where, metric="redundancy_pooled")
    assert pooled == pytest.approx(1 - sum(lefts) / sum(wholes), rel=1e-3, abs=1e-3)
    shown = views.of_sums(comparisons, 1)
    assert (shown["value"], shown["undefined"]) == (pooled, 0)
    assert shown["effective_n"] == pytest.approx(kish(wholes), rel=1e-3)
    table = views.prediction_rows(comparisons, 1).filter(comparison="base to B(all)")
    assert table["effective_n"].item() == pytest.approx(kish(wholes), rel=1e-3)
    assert table["median"].item() == pytest.approx(np.median(wholes), rel=1e-3)
    assert table["mean"].item() == pytest.approx(np.mean(wholes), rel=1e-3)


@pytest.mark.parametrize("method", ["zero_value", "mean_value", "mask_key"])
def test_a_head_that_writes_nothing_reads_nothing(question, method):
    """The tautology: A with B of the same head is 1 at its own layer, whatever the model."""
    rows = replace(question, method=method).run(silent)["comparisons"]
    own = rows.filter(metric="redundancy", condition="A+B(specific)", layer=LAYER)
    assert own["lag"].unique().sort().to_list() == [1, 2, 3]
    np.testing.assert_allclose(own["value"].to_numpy(), 1, atol=1e-6)


def test_layers_below_the_head_cannot_change(question):
    rows = replace(question, head="L1H0").run(silent)["comparisons"]
    below = rows.filter(pl.col("sequence").is_null(), layer=0)
    assert set(below["metric"]) == {"nip", "cosine", "distance2"}
    same = below.filter(pl.col("metric") != "distance2")["value"].to_numpy()
    np.testing.assert_allclose(same, 1, atol=1e-9)
    assert below.filter(metric="distance2")["value"].max() == 0


def test_positions_are_random_spread_evenly_and_reach_back_far_enough(question, comparisons):
    t = question.positions
    assert t.min() >= 1
    assert t.max() < question.n_tokens
    assert len(set(t.tolist())) > 3
    assert t.tolist() != replace(question, seed=4).positions.tolist()
    counted = comparisons.filter(
        pl.col("sequence").is_null(), metric="kl", reference="base", condition="B(all)"
    )
    assert dict(counted.select("lag", "n").iter_rows()) == {
        lag: int((t >= lag).sum()) for lag in (1, 2, 3)
    }
    each = comparisons.filter(pl.col("sequence").is_not_null(), layer=LAYER, lag=2)
    assert set(each["sequence"]) <= set(np.flatnonzero(t >= 2).tolist())


@pytest.mark.parametrize("n", [1, 6, 12, 50, 3 * N_STRATA])
def test_every_part_of_the_text_has_an_equal_share_of_any_first_sequences(n):
    parts = strata(n)
    assert np.ptp(np.bincount(parts, minlength=N_STRATA)) <= 1
    for halves in (2, 4, 8):
        shares = np.bincount(parts * halves // N_STRATA, minlength=halves)
        assert np.ptp(shares) <= 1


def test_a_position_is_uniform_over_all_but_the_first(question):
    drawn = [replace(question, seed=seed).positions for seed in range(300)]
    counts = np.bincount(np.concatenate(drawn), minlength=question.n_tokens)
    assert counts[0] == 0
    expected = len(drawn) * len(drawn[0]) / (question.n_tokens - 1)
    np.testing.assert_allclose(counts[1:], expected, rtol=0.25)


def test_a_point_is_that_of_its_head_and_offset(comparisons):
    rows = views.index_rows({"L0H2": comparisons, "L0H1": comparisons}, "L0H2", 0, "redundancy")
    assert len(rows) == 6
    for row in rows.iter_rows(named=True):
        assert views.at_offset(rows, row["series"], row["at"]) == row
    with pytest.raises(pl.exceptions.NoRowsReturnedError):
        views.at_offset(rows, "L0H2", 4)


def test_measures_at_their_ends():
    x = torch.tensor([[3.0, 4.0]])
    assert float(nip(x, x)) == 1
    assert float(nip(x, 2 * x)) == 2
    assert float(nip(x, torch.tensor([[4.0, -3.0]]))) == 0
    assert float(distance2(x, 0 * x)) == 25
    whole = torch.tensor([2.0, 2.0, 2.0, 1e-9])
    found = redundancy(torch.tensor([0.0, 2.0, 4.0, 0.0]), whole, 1e-6)
    assert found[:3].tolist() == [1, 0, -1]
    assert bool(found[3].isnan())


def test_rounding_supports_nothing():
    """Under the floor a divergence counts as the floor; a sequence with two such has no ratio."""
    floor = 1e-8
    left = torch.tensor([1.0, 2.0, 0.0, 1e-12, 3e-9, 1.0], dtype=torch.double)
    whole = torch.tensor([2.0, 1.0, 1.0, 1e-10, 2e-8, 1e-15], dtype=torch.double)
    found = log_ratio(left, whole, floor)
    expected = np.log([2, 0.5, 1e8, np.nan, 2, 1e-8])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    back = log_ratio(whole, left, floor)
    np.testing.assert_allclose(back.numpy(), -expected, atol=1e-12)


def test_rounding_is_under_the_floor(question):
    """The same prediction by two ways: in a batch, and alone."""
    model = load_model(question.model)
    ids = torch.from_numpy(question.tokens.ids).long()
    with torch.no_grad():
        together = model.net(ids, use_cache=False).logits[:, -1].double()
        alone = torch.cat([model.net(row[None], use_cache=False).logits[:, -1] for row in ids])
    assert float(kl(together, alone.double()).abs().max()) < FLOOR_KL[Precision.FLOAT32] / 10


def test_an_unknown_head_is_one_clear_error(question):
    with pytest.raises(UserError, match="expected heads"):
        replace(question, head="L9H0").run(silent)


@pytest.fixture(scope="module")
def looked(worded) -> QueryOffsets:
    return QueryOffsets(
        model=str(worded),
        seed=3,
        text="reference",
        bos=True,
        n_sequences=12,
        n_tokens=14,
        head=f"L{LAYER}H{HEAD}",
        max_offset=13,
    )


def test_attention_over_offsets_adds_up_and_changes_only_above(looked):
    rows = looked.run(silent)["head_profiles"]
    target = rows.filter(profile=PROFILE, data=TARGET)
    n = target.filter(layer=0, head=0).sort("lag")
    reach = [int((looked.positions >= lag).sum()) for lag in range(14)]
    assert n["n"].to_list() == [count for count in reach if count]
    totals = target.group_by("layer", "head").agg((pl.col("value") * pl.col("n")).sum())
    np.testing.assert_allclose(totals["value"].to_numpy(), 12, atol=1e-5)
    changes = rows.filter(profile=CHANGE)
    assert changes.filter(layer=LAYER)["value"].abs().max() < 1e-6
    assert changes.filter(layer=LAST)["value"].abs().max() > 1e-4


def test_offsets_are_those_of_a_plain_pass(looked):
    rows = looked.run(silent)["head_profiles"]
    model = load_model(looked.model)
    sums, counts = np.zeros((2, 4, 14)), np.zeros(14)
    for row, t in zip(looked.tokens.ids, looked.positions, strict=True):
        ids = torch.from_numpy(row[None, : t + 1]).long()
        zeroed = done(Method.ZERO, looked.ablated, positions=(int(t),))
        with torch.no_grad():
            patterns = seen(model, taps((zeroed,), NOTHING, 1), ids).pattern
        for offset in range(t + 1):
            counts[offset] += 1
            for layer, pattern in enumerate(patterns):
                sums[layer, :, offset] += pattern[0, :, -1, t - offset].numpy()
    found = rows.filter(profile=PROFILE, data=f"zero {looked.head} at t")
    for layer, head, lag, value in found.select("layer", "head", "lag", "value").iter_rows():
        assert value == pytest.approx(sums[layer, head, lag] / counts[lag], abs=1e-5)


def test_what_is_rounding_rests_on_no_sequence(monkeypatch, question):
    """Outputs that are equal are so to the last bit or to the last but one, by the machine."""
    told: list[pl.DataFrame] = []
    for error in (0.0, 1e-14):
        with monkeypatch.context() as patch:
            patch.setattr(summaries, "_columns", _moved(summaries._columns, error))
            told.append(question.run(silent)["comparisons"].filter(metric="effective_n"))
    assert told[0].height == told[1].height > 0
    own = {"layer": LAYER, "reference": "A", "condition": "A+B(specific)"}
    assert told[0].filter(**own).is_empty()


def _moved(columns, error: float):
    """Numbers by column, those that are all but 0 moved by rounding."""

    def moved(found, keys) -> np.ndarray:
        values = columns(found, keys)
        return np.where(np.abs(values) < 1e-12, values + error, values)

    return moved
