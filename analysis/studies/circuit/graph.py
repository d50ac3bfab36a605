"""The induction circuit as a graph: its heads, and what one of them is to a later one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import polars as pl

from analysis.tables import named

from .heads import CircuitHeads
from .views import path_falls

MAX_EDGES = 16
"""Edges that a picture shows at most, the largest."""

MIN_Z = 2.0
"""Standard deviations above the mean of all pairs from which a composition is an edge."""

MIN_CHANGE = 0.02
"""Change of an induction score from which a path is an edge."""

_EDGES = {
    **dict.fromkeys(("sender", "receiver"), pl.String),
    **dict.fromkeys(("from_layer", "from_head", "to_layer", "to_head"), pl.Int64),
    **dict.fromkeys(("value", "lower", "upper"), pl.Float64),
    "detail": pl.String,
}


@dataclass(frozen=True)
class _Means:
    """What is drawn as an edge: a kind of composition, or one input and one way to change it."""

    composition: str | None
    into: str
    method: str
    unit: str


class Edge(Enum):
    """What an edge of the picture is, in the words of its control."""

    LOSS = "path between heads of the circuit, resampled"
    """Rise of the loss on the second copy when one input of the receiver sees another row's sender;
    the largest of its queries, keys and values."""

    KEYS = "path into the keys, resampled"
    """Change of the receiver's induction score when only its keys see another row's sender."""

    QUERIES = "path into the queries, resampled"
    """The same with its queries."""

    ALL = "path into keys, queries and values, resampled"
    """The same with all that the receiver reads."""

    KEYS_ZERO = "path into the keys, taken out"
    """Change of the receiver's induction score when only its keys do not see the sender."""

    K_COMPOSITION = "weights: composition with the keys"
    """How much of what the sender writes the receiver's keys read, by their weights alone."""

    Q_COMPOSITION = "weights: composition with the queries"
    """The same with its queries."""

    V_COMPOSITION = "weights: composition with the values"
    """The same with its values."""

    @property
    def unit(self) -> str:
        """What the size of an edge is, with its unit."""
        return _MEANS[self].unit

    @property
    def measured(self) -> bool:
        """Whether it is measured on sequences, so that edges have a sign and an interval."""
        return _MEANS[self].composition is None


_SCORE = "change of the induction score"
_Z = "composition, standard deviations above the mean of all pairs"
_LOSS = "rise of the loss on the second copy, nats per token"
_MEANS = {
    Edge.LOSS: _Means(None, "", "", _LOSS),
    Edge.KEYS: _Means(None, "keys", "resample", _SCORE),
    Edge.QUERIES: _Means(None, "queries", "resample", _SCORE),
    Edge.ALL: _Means(None, "all three", "resample", _SCORE),
    Edge.KEYS_ZERO: _Means(None, "keys", "zero", _SCORE),
    Edge.K_COMPOSITION: _Means("k_composition", "", "", _Z),
    Edge.Q_COMPOSITION: _Means("q_composition", "", "", _Z),
    Edge.V_COMPOSITION: _Means("v_composition", "", "", _Z),
}


def edges(
    meaning: Edge,
    composition: Mapping[str, pl.DataFrame],
    paths: Mapping[str, pl.DataFrame],
    worth: pl.DataFrame,
) -> pl.DataFrame:
    """The edges that a picture draws.

    Args:
        meaning: What an edge is.
        composition: Answer of `Composition`.
        paths: Answer of `PathPatching`.
        worth: Paths between heads of the circuit: `first` (the sender), `second`, `panel` (the
            input), `value`, its interval and `n`.

    Returns:
        At most `MAX_EDGES` rows, the largest first: `sender`, `receiver`, their layers and heads,
        `value`, its interval (null for weights) and a `detail` for the reader. Paths whose 95 %
        interval includes 0 or that change less than `MIN_CHANGE`, and compositions below `MIN_Z`,
        are left out; no rows where the architecture has no such edges.
    """
    kind = _MEANS[meaning].composition
    if meaning is Edge.LOSS:
        found = _worth(worth)
    elif kind and "head_pairs" in composition:
        found = _composed(composition["head_pairs"], kind)
    else:
        found = _patched(meaning, {} if kind else paths)
    return found.sort(pl.col("value").abs(), "sender", "receiver", descending=[True, False, False])[
        :MAX_EDGES
    ]


def _composed(head_pairs: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Pairs of heads whose weights compose far more than others do."""
    ends = ("from_layer", "from_head", "to_layer", "to_head")
    detail = pl.format("composition {}, rank {} of {}", pl.col("value").round(3), "rank", "n")
    rows = head_pairs.filter(pl.col("z") >= MIN_Z, kind=kind)
    return rows.select(
        pl.format("L{}H{}", "from_layer", "from_head").alias("sender"),
        pl.format("L{}H{}", "to_layer", "to_head").alias("receiver"),
        *(pl.col(end).cast(pl.Int64) for end in ends),
        pl.col("z").alias("value"),
        lower=pl.lit(None, pl.Float64),
        upper=pl.lit(None, pl.Float64),
        detail=detail,
    )


def _worth(rows: pl.DataFrame) -> pl.DataFrame:
    """Paths that are worth something for certain, each pair's largest input."""
    certain = rows.filter(pl.col("lower") > 0, pl.col("value") >= MIN_CHANGE)
    largest = certain.sort("value", descending=True).unique(["first", "second"], keep="first")
    parts = {end: pl.col(end).str.extract_groups(r"L(\d+)H(\d+)") for end in ("first", "second")}
    placed = [
        parts[end].struct.field(field).cast(pl.Int64).alias(name)
        for end, to in (("first", "from"), ("second", "to"))
        for field, name in (("1", f"{to}_layer"), ("2", f"{to}_head"))
    ]
    ends = pl.format(
        "{}, 95 % {} to {}", "panel", *(pl.col(e).round(2) for e in ("lower", "upper"))
    )
    return largest.select(
        *(pl.col("first").alias("sender"), pl.col("second").alias("receiver")),
        *(*placed, "value", "lower", "upper"),
        detail=pl.format("{}, n = {}", ends, "n"),
    )


def _patched(meaning: Edge, paths: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Paths into every receiver that change its score for certain."""
    into, method = _MEANS[meaning].into, _MEANS[meaning].method
    ends = pl.col("receiver").str.extract_groups(r"L(?<layer>\d+)H(?<head>\d+)")
    detail = pl.format("95 % {} to {}", pl.col("lower").round(3), pl.col("upper").round(3))
    frames = [pl.DataFrame(schema=_EDGES)]
    for receiver in _receivers(paths):
        rows = path_falls(paths, receiver, method).filter(into=into)
        certain = rows.filter(
            (pl.col("lower") > 0) | (pl.col("upper") < 0), pl.col("value").abs() >= MIN_CHANGE
        )
        placed = certain.with_columns(receiver=pl.lit(receiver)).with_columns(ends.alias("to"))
        frames.append(
            placed.select(
                pl.col("name").alias("sender"),
                "receiver",
                pl.col("layer").alias("from_layer"),
                pl.col("head").alias("from_head"),
                pl.col("to").struct.field("layer").cast(pl.Int64).alias("to_layer"),
                pl.col("to").struct.field("head").cast(pl.Int64).alias("to_head"),
                *("value", "lower", "upper"),
                detail=pl.format("{}, n = {}", detail, "n"),
            )
        )
    return pl.concat(frames)


def _receivers(paths: Mapping[str, pl.DataFrame]) -> list[str]:
    """The heads that paths lead into, by name."""
    if "head_effects" not in paths:
        return []
    names = paths["ablations"]["receiver"].drop_nulls().str.split(".").list.first()
    return sorted(names.unique())


def nodes(
    text: pl.DataFrame, induction: pl.DataFrame, heads: CircuitHeads, needs: Mapping[str, float]
) -> pl.DataFrame:
    """Every head of the model as a node.

    Args:
        text: Table `head_scores` of the answer of `TextScores`.
        induction: The same of `InductionScores`.
        heads: The heads of the circuit.
        needs: By name the share that each head of a set that is enough adds to it.

    Returns:
        Columns `name`, `layer`, `head`, `role`, `need` (0 outside the set), `induction` and
        `previous_token`, the latter null where the text could not test it.
    """
    copied = _means(induction, "induction", ("repeated",)).rename({"value": "induction"})
    looked = _means(text, "previous_token", ("text", "random")).rename({"value": "previous_token"})
    joined = copied.join(looked.select("name", "previous_token"), on="name", how="left")
    roles = dict.fromkeys(needs, "needed beside them")
    roles |= {str(heads.previous): "previous-token head"}
    roles |= {str(head): "induction head" for head in heads.copiers}
    role = pl.col("name").replace_strict(roles, default="other head")
    need = pl.col("name").replace_strict(dict(needs), default=0.0, return_dtype=pl.Float64)
    return joined.with_columns(role=role, need=need).sort("layer", "head")


def _means(head_scores: pl.DataFrame, score: str, data: Sequence[str]) -> pl.DataFrame:
    """Every head's aggregate score on the first of some data sets that has it."""
    rows = named(head_scores.filter(pl.col("sequence").is_null(), score=score))
    present = [name for name in data if name in rows["data"].to_list()]
    return rows.filter(pl.col("data").is_in(present[:1])).select("name", "layer", "head", "value")


def said(found: pl.DataFrame, meaning: Edge) -> str:
    """The largest edge in words.

    Args:
        found: Rows of `edges`.
        meaning: What they are.

    Returns:
        Sender, receiver and size; or that there is none.
    """
    if found.is_empty():
        return "No pair of heads stands out"
    first = found.row(0, named=True)
    pair = f"{first['sender']} → {first['receiver']}"
    if meaning is Edge.LOSS:
        return f"{pair} is worth most to copying, {first['value']:.2f} nats per token"
    if meaning.measured:
        return f"{pair} changes the induction score most, by {first['value']:+.2f}"
    return f"{pair} composes most, {first['value']:.1f} standard deviations above the mean"


def left_out(meaning: Edge) -> str:
    """Which edges a picture does not show, as a sentence."""
    if meaning.measured:
        return (
            "Left out are paths whose 95 % interval includes 0 or that change it by less than "
            f"{MIN_CHANGE}, and all but the {MAX_EDGES} largest."
        )
    return (
        f"Left out are pairs less than {MIN_Z:g} standard deviations above the mean, and all but "
        f"the {MAX_EDGES} largest."
    )


def edge_table(found: pl.DataFrame, meaning: Edge) -> pl.DataFrame:
    """The edges for a reader.

    Args:
        found: Rows of `edges`.
        meaning: What they are.

    Returns:
        Columns `sender`, `receiver`, the size under the name of its unit, and `detail`.
    """
    size = pl.col("value").round(3).alias(meaning.unit)
    return found.select("sender", "receiver", size, "detail")
