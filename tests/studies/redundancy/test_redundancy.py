"""Redundancy: the index, its seven comparisons, and that a tautology is one."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, Method, taps
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.studies.redundancy import views
from analysis.studies.redundancy.claims import RedundancyClaims, RedundancyEvidence, indices
from analysis.studies.redundancy.measures import FLOOR_KL, distance2, kl, nip, redundancy
from analysis.studies.redundancy.query_offsets import CHANGE, PROFILE, TARGET, QueryOffsets
from analysis.studies.redundancy.question import ValueRedundancy
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


def test_the_index_is_its_formula_at_every_place(question, comparisons):
    passes = plain(question, 1, "all")
    for layer in range(LAYER, 2):
        values = []
        for base, a, b, ab in zip(*(passes[n] for n in ("base", "A", "B", "A+B")), strict=True):
            left = (a[0][layer] - ab[0][layer]).norm() ** 2
            values.append(float(1 - left / (base[0][layer] - b[0][layer]).norm() ** 2))
        where = {"lag": 1, "condition": "A+B(all)", "layer": layer}
        found = aggregate(comparisons, **where, metric="redundancy")
        assert found == pytest.approx(np.mean(values), rel=1e-3, abs=1e-4)
    lefts, wholes = [], []
    for base, a, b, ab in zip(*(passes[n] for n in ("base", "A", "B", "A+B")), strict=True):
        lefts.append(float(kl(a[1], ab[1])))
        wholes.append(float(kl(base[1], b[1])))
    where = {"lag": 1, "condition": "A+B(all)", "layer": None}
    pooled = aggregate(comparisons, **where, metric="redundancy_pooled")
    assert pooled == pytest.approx(1 - sum(lefts) / sum(wholes), rel=1e-3, abs=1e-3)
    undefined = aggregate(comparisons, **where, metric="undefined")
    assert undefined == pytest.approx(np.mean(np.array(wholes) < FLOOR_KL), abs=1e-9)


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


def test_positions_are_random_and_reach_back_far_enough(question, comparisons):
    t = question.positions
    assert t.min() >= 1
    assert t.max() < question.n_tokens
    assert len(set(t.tolist())) > 3
    counted = comparisons.filter(
        pl.col("sequence").is_null(), metric="kl", reference="base", condition="B(all)"
    )
    assert dict(counted.select("lag", "n").iter_rows()) == {
        lag: int((t >= lag).sum()) for lag in (1, 2, 3)
    }
    each = comparisons.filter(pl.col("sequence").is_not_null(), layer=LAYER, lag=2)
    assert set(each["sequence"]) <= set(np.flatnonzero(t >= 2).tolist())


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


class Answer(dict):
    """Frames by table and one run."""

    runs = ("r",)


N_SEQUENCES = 16


def answered(values: dict[int, float], spread: float = 0.02, seed: int = 0, missing=()) -> Answer:
    """R of B(all) by lag around a mean, at every place; sequences may miss lags."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "lag": lag,
            "layer": layer,
            "metric": "redundancy",
            "condition": "A+B(all)",
            "sequence": sequence,
            "value": value + rng.normal(0, spread),
        }
        for lag, value in values.items()
        for layer in (0, None)
        for sequence in range(N_SEQUENCES)
        if (lag, sequence) not in missing
    ]
    types = {"layer": pl.Int16, "sequence": pl.Int32}
    return Answer(comparisons=pl.DataFrame(rows, schema_overrides=types))


def judge(worded, mine: Answer, *others: Answer, **methods: Answer) -> dict[str, str]:
    found = claims(worded, mine, *others, **methods)
    return dict(found["claims"].select("claim", "verdict").iter_rows()) if found else {}


def claims(worded, mine: Answer, *others: Answer, **methods: Answer) -> dict[str, pl.DataFrame]:
    evidence = RedundancyEvidence(
        head="L0H0",
        methods=dict.fromkeys(("zero_value", "mean_value", "mask_key"), mine) | methods,
        others={f"L0H{h}": other for h, other in enumerate(others, start=1)},
    )
    return RedundancyClaims(card=read_card(str(worded)), seed=0, evidence=evidence).run(silent)


def both(verdict: str) -> dict[str, str]:
    return {f"value_redundant_{place}": verdict for place in ("attention", "predictions")}


def test_claims_follow_the_numbers(worded):
    other = answered({1: 0.05, 2: 0.0}, seed=1)
    special = answered({1: 0.9, 2: 0.1, 3: 0.0})
    assert judge(worded, special, other) == both("supported")
    assert judge(worded, answered({1: 0.3, 2: 0.1}), other) == both("refuted")
    assert judge(worded, answered({1: 0.9, 2: 0.95}), other) == both("not shown")
    assert judge(worded, special, answered({1: 0.95}, seed=1)) == both("not shown")
    same = judge(worded, special, answered({1: 0.9}, seed=1))
    assert set(same.values()) <= {"undecided", "not shown"}


def test_a_claim_must_hold_in_every_way_and_against_every_control(worded):
    special, other = answered({1: 0.9, 2: 0.1, 3: 0.0}), answered({1: 0.05}, seed=1)
    weak = answered({1: 0.3, 2: 0.1}, seed=2)
    assert judge(worded, special, other, mask_key=weak) == both("refuted")
    wild = answered({1: 1.0}, spread=0.2, seed=3)
    assert judge(worded, special, other, wild) == both("not shown")


def test_a_way_without_an_index_is_not_said_to_be_tested(worded):
    special, other = answered({1: 0.9, 2: 0.1, 3: 0.0}), answered({1: 0.05}, seed=1)
    whole = claims(worded, special, other)["claims"]["statement"]
    assert whole.str.ends_with("by each of zero_value, mean_value, mask_key").all()
    part = claims(worded, special, other, mean_value=answered({2: 0.1}))["claims"]["statement"]
    assert part.str.ends_with("by each of zero_value, mask_key").all()


def test_no_sequence_rules_a_claim_and_one_that_lacks_an_offset_is_left_out_there(worded):
    """R of -900 on one sequence is -1 at most; the last sequences reach back only once."""
    rows = answered({1: 0.9, 2: 0.1})["comparisons"]
    first = (pl.col("sequence") == 3) & (pl.col("lag") == 2)
    ruled = rows.with_columns(value=pl.when(first).then(-900.0).otherwise("value"))
    other = answered({1: 0.05}, seed=1)
    assert judge(worded, Answer(comparisons=ruled), other) == both("supported")
    short = answered({1: 0.9, 2: 0.1}, missing={(2, i) for i in (0, 14, 15)})
    found = indices(short, 0)
    assert found[1].size == found[2].size == N_SEQUENCES
    assert np.isnan(found[2]).nonzero()[0].tolist() == [0, 14, 15]
    assert judge(worded, short, other) == both("supported")


def test_an_undefined_index_makes_no_claim(worded):
    assert indices(answered({1: 0.5}), 5) == {}
    assert judge(worded, answered({2: 0.5}), answered({1: 0.5})) == {}
    assert judge(worded, answered({1: 0.5})) == {}, "there is nothing to compare it with"
