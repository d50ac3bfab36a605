"""The picture of the circuit draws the largest edges that are certain, upward, at their size."""

import polars as pl
import pytest

from analysis.interventions import Head
from analysis.plots.graph import circuit_graph
from analysis.studies.circuit import graph
from analysis.studies.circuit.graph import Edge
from analysis.studies.circuit.heads import CircuitHeads

HEADS = CircuitHeads(Head(0, 1), (Head(2, 0),))
NEEDS = {"L0H1": 0.7, "L2H0": 0.5, "L1H0": 0.1}
"""What each head of a set that is enough adds to it."""

Z = {(0, 1): 6.0, (0, 0): 1.9, (1, 1): 2.0}
"""Composition with the keys of L2H0, by sender."""

CHANGES = {(0, 1): (-0.8, -0.9, -0.7), (1, 0): (0.3, -0.1, 0.7), (0, 0): (0.05, 0.04, 0.06)}
"""Change of the induction score of L2H0 with its interval, by sender; L1H0's includes 0."""

WORTH = pl.DataFrame(
    [
        ("L0H1", "L2H0", "keys", 0.9, 0.8, 1.0, 8),
        ("L0H1", "L2H0", "values", 0.3, 0.2, 0.4, 8),
        ("L1H0", "L2H0", "queries", 0.4, -0.1, 0.9, 8),
        ("L0H0", "L1H0", "values", 0.001, 0.0005, 0.002, 8),
    ],
    schema=["first", "second", "panel", "value", "lower", "upper", "n"],
    orient="row",
)
"""Of two paths of a pair the larger is an edge; one may be nothing, one is next to nothing."""


def composition() -> dict[str, pl.DataFrame]:
    rows = [
        {
            "kind": kind,
            "from_layer": layer,
            "from_head": head,
            "to_layer": 2,
            "to_head": 0,
            "value": 0.1 * z,
            "z": z if kind == "k_composition" else 0.0,
            "rank": 1,
            "n": 3,
        }
        for kind in ("k_composition", "q_composition", "v_composition")
        for (layer, head), z in Z.items()
    ]
    return {"head_pairs": pl.DataFrame(rows)}


def paths(into: str = "k") -> dict[str, pl.DataFrame]:
    conditions = [
        {
            "condition": f"{method} {layer} {head}",
            "family": "path",
            "method": method,
            "heads": f"L{layer}H{head}",
            "receiver": f"L2H0.{into}",
        }
        for method in ("zero", "resample")
        for layer, head in CHANGES
    ]
    effects = [
        {
            "condition": f"{method} {layer} {head}",
            "layer": 2,
            "head": 0,
            "sequence": None,
            "value": value,
            "lower": lower,
            "upper": upper,
            "n": 8,
        }
        for method in ("zero", "resample")
        for (layer, head), (value, lower, upper) in CHANGES.items()
    ]
    return {"ablations": pl.DataFrame(conditions), "head_effects": pl.DataFrame(effects)}


def scores(name: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"score": name, "data": data, "layer": layer, "head": head, "sequence": None, "value": v}
        for data, v in (("repeated", 0.5), ("text", 0.4))
        for layer in range(3)
        for head in range(2)
    )


def nodes() -> pl.DataFrame:
    return graph.nodes(scores("previous_token"), scores("induction"), HEADS, NEEDS)


def test_of_paths_between_heads_of_the_circuit_the_largest_input_is_the_edge():
    found = graph.edges(Edge.LOSS, composition(), paths(), WORTH)
    assert found.select("sender", "receiver", "value").rows() == [("L0H1", "L2H0", 0.9)]
    assert found.select("from_layer", "from_head", "to_layer", "to_head").row(0) == (0, 1, 2, 0)
    assert found["detail"].item() == "keys, 95 % 0.8 to 1.0, n = 8"
    assert (
        graph.said(found, Edge.LOSS) == "L0H1 → L2H0 is worth most to copying, 0.90 nats per token"
    )
    assert graph.edges(Edge.LOSS, composition(), paths(), WORTH.clear()).is_empty()


def test_paths_that_may_be_nothing_are_no_edges():
    found = graph.edges(Edge.KEYS, composition(), paths(), WORTH)
    pairs = list(zip(found["sender"], found["receiver"], strict=True))
    assert pairs == [("L0H1", "L2H0"), ("L0H0", "L2H0")], "the largest first"
    assert found.row(0, named=True)["value"] == -0.8
    assert graph.edges(Edge.QUERIES, composition(), paths(), WORTH).is_empty()
    assert graph.edges(Edge.QUERIES, composition(), paths("q"), WORTH).height == 2


def test_only_pairs_that_stand_out_compose():
    found = graph.edges(Edge.K_COMPOSITION, composition(), paths(), WORTH)
    assert found["sender"].to_list() == ["L0H1", "L1H1"], "z of 6 and 2, and not 1.9"
    assert found["lower"].null_count() == 2
    assert graph.edges(Edge.V_COMPOSITION, composition(), paths(), WORTH).is_empty()


def test_an_architecture_without_paths_has_no_edges_of_that_kind():
    found = graph.edges(Edge.KEYS, composition(), {"absences": pl.DataFrame()}, WORTH)
    assert found.is_empty()
    assert graph.said(found, Edge.KEYS) == "No pair of heads stands out"
    chart = circuit_graph(nodes(), found, Edge.KEYS.unit, "t", "d").to_dict()
    assert len(chart["layer"]) == 2, "heads and their names"


def test_every_head_is_a_node_and_those_of_the_circuit_have_a_role():
    found = nodes()
    roles = dict(found.select("name", "role").iter_rows())
    assert len(roles) == 6
    assert (roles["L0H1"], roles["L2H0"]) == ("previous-token head", "induction head")
    assert roles["L1H0"] == "needed beside them"
    assert dict(found.select("name", "need").iter_rows()) == {**dict.fromkeys(roles, 0), **NEEDS}
    assert set(graph.nodes(scores("previous_token"), scores("induction"), HEADS, {})["need"]) == {0}
    assert set(found["previous_token"]) == {0.4} and set(found["induction"]) == {0.5}


@pytest.mark.parametrize("meaning", list(Edge), ids=lambda edge: edge.name)
def test_every_meaning_says_what_its_size_is(meaning):
    found = graph.edges(meaning, composition(), paths(), WORTH)
    assert meaning.unit and graph.left_out(meaning).startswith("Left out")
    table = graph.edge_table(found, meaning)
    assert table.columns == ["sender", "receiver", meaning.unit, "detail"]


def test_edges_run_from_their_sender_to_their_receiver_and_are_as_wide_as_large():
    found = graph.edges(Edge.KEYS, composition(), paths(), WORTH)
    chart = circuit_graph(nodes(), found, Edge.KEYS.unit, "t", "d").to_dict()
    lines = chart["layer"][0]
    assert lines["encoding"]["strokeWidth"]["scale"]["domain"] == [0, 0.8]
    drawn = pl.DataFrame(chart["datasets"][lines["data"]["name"]]).filter(edge="L0H1 → L2H0")
    ends = drawn.sort("along").select("head", "layer").rows()
    assert ends[0] == (1.0, 0.0) and ends[-1] == (0.0, 2.0)
    assert set(drawn["sign"]) == {"a fall"}
    straight = drawn.filter(pl.col("along") == 0.5).row(0, named=True)
    assert straight["head"] > 0.5, "it bows past the head of the layer between"


def test_the_numbers_beside_edges_are_theirs():
    found = graph.edges(Edge.KEYS, composition(), paths(), WORTH)
    chart = circuit_graph(nodes(), found, Edge.KEYS.unit, "t", "d").to_dict()
    labels = chart["datasets"][chart["layer"][1]["data"]["name"]]
    assert [row["value"] for row in labels] == [-0.8], "the small one is not written"
