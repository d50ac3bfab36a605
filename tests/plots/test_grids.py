"""Grids of heads of models of which some layers do not attend."""

import polars as pl
import pytest

from analysis.plots.graph import circuit_graph
from analysis.plots.grids import head_grid, path_grid


def rows(*layers: int, **more: str) -> pl.DataFrame:
    cells = [{"layer": layer, "head": head, "value": 0.5} for layer in layers for head in range(2)]
    numbers = [pl.lit(0.1).alias(name) for name in ("lower", "upper", "control", "chance", "n")]
    return pl.DataFrame(cells).with_columns(numbers, **{k: pl.lit(v) for k, v in more.items()})


def silent(chart: dict) -> list[int]:
    """Layers that a chart says have no attention, after all rows that it has."""
    found: list[int] = []
    for part in chart["layer"]:
        if part["encoding"].get("text", {}).get("field") == "says":
            data = chart["datasets"][part["data"]["name"]] if "datasets" in chart else []
            found += [row["layer"] for row in data]
    return found


@pytest.mark.parametrize("neutral", [None, 0.0])
@pytest.mark.parametrize(("layers", "none"), [((1, 3), [0, 2, 4]), ((0, 1, 2, 3, 4), [])])
def test_a_layer_without_attention_says_so(layers, none, neutral):
    chart = head_grid(rows(*layers), 5, neutral, "t", "d").to_dict()
    assert silent(chart) == none
    cells = chart["layer"][0]["encoding"]["y"]
    assert cells["scale"]["domain"] == [4, 3, 2, 1, 0], "upward"


def test_so_does_a_sender_that_cannot_be_one():
    given = rows(1, 3, into="k", name="L1H0", role="other", kind="x")
    (grid,) = path_grid(given, "t", "d").to_dict()["hconcat"]
    assert grid["layer"][0]["encoding"]["y"]["scale"]["domain"] == [3, 2, 1, 0]
    assert len(grid["layer"]) == 4, "cells, numbers, frame and words"


def test_the_picture_has_room_for_the_last_layer():
    nodes = rows(1, 3, role="other").with_columns(
        name=pl.format("L{}H{}", "layer", "head"), induction=0.1, previous_token=0.1
    )
    ends = {"sender": ["L1H0"], "receiver": ["L3H1"], "value": [0.2], "detail": ["x"]}
    ends |= {"lower": [0.1], "upper": [0.3], "n": [4], "name": ["x"]}
    places = {"from_layer": [1], "from_head": [0], "to_layer": [3], "to_head": [1]}
    chart = circuit_graph(nodes, pl.DataFrame(ends | places), "u", "t", "d").to_dict()
    low, high = chart["layer"][-1]["encoding"]["y"]["scale"]["domain"]
    assert low < 0
    assert high > 3
