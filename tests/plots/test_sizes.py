"""Charts of models of any shape fit the column, and hold no more marks than a reader can use."""

from itertools import product

import numpy as np
import polars as pl
import pytest

from analysis.plots.bars import ablation_strip, composition_strip
from analysis.plots.designs import residual_norms, value_norms
from analysis.plots.graph import circuit_graph
from analysis.plots.grids import effect_grid, head_grid, path_grid
from analysis.plots.intervals import by_data
from analysis.plots.points import one_against_other
from analysis.plots.theme import MARKS

from .drawn import COLUMN, drawn

SHAPES = [(30, 9), (32, 32), (2, 36), (4, 8), (1, 1)]
DATA = ("text after BOS", "text without BOS", "random after BOS")
RNG = np.random.default_rng(0)


def heads(shape: tuple[int, int], **more: str) -> pl.DataFrame:
    n_layers, n_heads = shape
    places = pl.DataFrame(
        list(product(range(n_layers), range(n_heads))), schema=["layer", "head"], orient="row"
    )
    value, other = (pl.Series(RNG.random(places.height)) for _ in range(2))
    rows = places.with_columns(
        name=pl.format("L{}H{}", "layer", "head"), value=value, other=other, n=4, chance=0.1
    )
    ends = {
        f"{start}{end}": pl.col(column) + by
        for start, column in (("", "value"), ("other_", "other"))
        for end, by in (("lower", -0.1), ("upper", 0.1))
    }
    return rows.with_columns(**ends, **{name: pl.lit(text) for name, text in more.items()})


def several(shape: tuple[int, int], column: str, values: tuple[str, ...], **more: str):
    return pl.concat([heads(shape, **{column: value}, **more) for value in values])


CHARTS = {
    "scores": lambda shape: head_grid(heads(shape), shape[0], None, "t", "d"),
    "effects": lambda shape: effect_grid(
        several(shape, "kind", tuple(f"kind {i}" for i in range(8))), "KL, nats", "t", "d"
    ),
    "paths": lambda shape: path_grid(
        several(shape, "into", ("keys", "queries", "values"), role="other"), "t", "d"
    ),
    "data": lambda shape: by_data(several(shape, "data", DATA), "t", "d"),
    "beside": lambda shape: one_against_other(heads(shape), ("up", "across"), "t", "d"),
    "values": lambda shape: value_norms(heads(shape).with_columns(mass="other"), "t", "d"),
    "strip": lambda shape: ablation_strip(
        heads(shape, role="resample").with_columns(group="name"), ("effect", "head"), "t", "d"
    ),
    "norms": lambda shape: residual_norms(
        pl.concat([several(shape, "data", DATA[:2]).with_columns(position=i) for i in range(16)])
        .filter(head=0)
        .select("layer", "position", "data", "value", "lower", "upper", "n"),
        "t",
        "d",
    ),
    "picture": lambda shape: circuit_graph(
        heads(shape, role="other head").with_columns(need=0.1, induction=0.1, previous_token=0.1),
        edge(shape),
        "u",
        "t",
        "d",
    ),
}


def edge(shape: tuple[int, int]) -> pl.DataFrame:
    """From the first head to the last."""
    layer, head = shape[0] - 1, shape[1] - 1
    ends = {"sender": "L0H0", "receiver": f"L{layer}H{head}", "value": 0.2, "detail": "x"}
    places = {"from_layer": 0, "from_head": 0, "to_layer": layer, "to_head": head}
    row = {**ends, **places, "lower": 0.1, "upper": 0.3, "n": 4}
    return pl.DataFrame([row] if layer else [], schema=dict.fromkeys(row, pl.Float64) | {
        "sender": pl.String, "receiver": pl.String, "detail": pl.String,
    })  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_a_chart_of_any_shape_fits_the_column_and_is_not_crowded(chart, shape):
    marks, width = drawn(chart(shape).to_dict())
    assert 0 < marks <= MARKS
    assert width <= COLUMN


def pairs(n: int) -> pl.DataFrame:
    """Compositions of so many pairs of each kind; the last one is of the circuit."""
    every = pl.DataFrame({"rank": range(n)}).with_columns(
        pair=pl.format("pair {}", "rank"),
        value=0.1,
        z=pl.Series(RNG.normal(size=n)),
        n=n,
        circuit=pl.col("rank") == n - 1,
        strongest=pl.col("rank") == n - 1,
    )
    return pl.concat([every.with_columns(kind=pl.lit(kind)) for kind in ("keys", "values")])


@pytest.mark.parametrize("n", [300, 36_000])
def test_of_many_pairs_those_far_out_are_drawn_and_the_others_counted(n):
    rows = pairs(n)
    spec = composition_strip(rows, "t", "d").to_dict()
    marks, width = drawn(spec)
    assert marks <= MARKS
    assert width <= COLUMN
    drawn_rows = next(rows for rows in spec["datasets"].values() if "pair" in rows[0])
    for kind, own in rows.partition_by("kind", as_dict=True).items():
        names = {row["pair"] for row in drawn_rows if row["kind"] == kind[0]}
        assert own.sort(pl.col("z").abs())["pair"][-1] in names, "an outlier"
        assert f"pair {n - 1}" in names, "the circuit's own"
    counts = [rows for rows in spec["datasets"].values() if "pairs" in rows[0]]
    assert sum(row["pairs"] for rows in counts for row in rows) == (2 * n if n > 1000 else 0)


def test_where_cells_stand_for_several_heads_each_is_the_largest_of_them():
    rows = several((32, 32), "kind", tuple(f"kind {i}" for i in range(8)))
    datasets = effect_grid(rows, "u", "t", "d").to_dict()["datasets"]
    cells = next(iter(datasets.values()))
    largest = rows.filter(kind="kind 0", layer=5).filter(pl.col("head") < 2)["value"].max()
    assert largest in [row["value"] for row in cells]
