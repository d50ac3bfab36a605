"""Answers about the induction circuit arranged for a reader: heads, methods, places by name."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from analysis.interventions import Head
from analysis.questions.verdicts.head_sets import mixture
from analysis.questions.verdicts.judgement import Evidence
from analysis.tables import named

from .controls import upstream_of_copying
from .heads import CircuitHeads
from .path_patching import THROUGH

PLACES = {
    "second_copy_target": "the target",
    "second_copy_duplicate": "own first copy",
    "second_copy_previous": "the token before",
    "second_copy_bos": "BOS",
    "second_copy_elsewhere": "elsewhere",
}
"""Where a head looks from the second copy, in the order that it is stacked."""

INPUTS = {"k": "keys", "q": "queries", "v": "values", "qkv": "all three"}
KINDS = {
    "k_composition": "with the keys",
    "q_composition": "with the queries",
    "v_composition": "with the values",
}
UNTESTED = "cannot be tested on this model"
"""The verdict on a claim that has no row."""

_THROUGH = "the same, through all between"
_EFFECTS = ("condition", "value", "lower", "upper", "n")
_PATHS = {
    **dict.fromkeys(("into", "method", "name"), pl.String),
    **dict.fromkeys(("layer", "head"), pl.Int64),
    "role": pl.String,
    **dict.fromkeys(("value", "lower", "upper"), pl.Float64),
    "n": pl.Int32,
}


class Said(NamedTuple):
    """A claim's numbers in words."""

    estimate: str
    """With its interval."""
    control: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.estimate}, control {self.control}: {self.verdict}"


def said(claims: pl.DataFrame, claim: str) -> Said:
    """What was found about a claim.

    Args:
        claims: Rows of the table.
        claim: Which one.

    Returns:
        Its numbers in words; unknown ones where the architecture could not show it.
    """
    rows = claims.filter(claim=claim)
    if rows.is_empty():
        return Said("an unknown number", "unknown", UNTESTED)
    row = rows.row(0, named=True)
    estimate = _number(row["estimate"])
    if row["lower"] != row["upper"]:
        estimate += f" ({_number(row['lower'])} to {_number(row['upper'])})"
    return Said(estimate, _number(row["control"]), row["verdict"])


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{round(value, 2) + 0.0:.2f}"


def saved(model_scores: pl.DataFrame, data: str) -> str:
    """What a block costs less when it is shown again, with its interval and unit."""
    rows = model_scores.filter(
        pl.col("sequence").is_null(), score="second_minus_first_loss", data=data
    )
    loss = rows.row(0, named=True)
    ends = f"{_number(-loss['upper'])} to {_number(-loss['lower'])}"
    return f"{_number(-loss['value'])} ({ends}) nats per token"


def score_falls(answer: Mapping[str, pl.DataFrame], copier: str) -> pl.DataFrame:
    """What ablating a head of the previous-token head's layer takes from an induction head.

    Args:
        answer: Of `CircuitNecessity`.
        copier: Name of the induction head.

    Returns:
        Columns `group` (the method), `name` (the ablated head), `role`, `value`, `lower`, `upper`
        and `n`: change of the induction score; `role` also marks the shuffled control.
    """
    roles = {
        "previous": "previous-token head",
        "layer_matched": "other heads of its layer",
        "shuffled": "the same, second copy shuffled",
    }
    changes = named(answer["head_effects"].filter(pl.col("sequence").is_null()))
    rows = changes.filter(name=copier).select(_EFFECTS)
    return _by_role(answer["ablations"], rows, roles).select(
        pl.col("method").alias("group"), pl.col("heads").alias("name"), *_TAIL
    )


def loss_rises(answer: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What ablating induction heads, alone or together, adds to the loss on the second copy.

    Args:
        answer: Of `CircuitNecessity`.

    Returns:
        Columns as those of `score_falls`; nats per token.
    """
    roles = {
        "copier": "one induction head",
        "copiers": "all of them",
        "layer_matched_set": "as many other heads",
    }
    rows = answer["ablation_means"].filter(scope="second copy", metric="loss_change")
    return _by_role(answer["ablations"], rows.select(_EFFECTS), roles).select(
        pl.col("method").alias("group"), pl.col("heads").alias("name"), *_TAIL
    )


def null_sets(necessity: Evidence, heads: CircuitHeads) -> pl.DataFrame:
    """What as many heads outside the circuit as there are induction heads cost copying.

    Args:
        necessity: Answer of `CircuitNecessity`.
        heads: Those of the circuit.

    Returns:
        Rows of `mixture`, of sets that were drawn anywhere: nats per token on the second copy.
    """
    rows = necessity["ablation_means"].filter(scope="second copy", metric="loss_change")
    drawn = necessity["ablations"].filter(family="random_set").join(rows, on="condition")
    sets = [(names.split(","), cost) for names, cost in drawn.select("heads", "value").rows()]
    return pl.DataFrame(mixture(sets, map(str, upstream_of_copying(necessity, heads))))


def path_falls(answer: Mapping[str, pl.DataFrame], copier: str, method: str) -> pl.DataFrame:
    """What every earlier head's contribution to one input matters to an induction head, directly.

    Args:
        answer: Of `PathPatching`.
        copier: Name of the receiver.
        method: `zero` or `resample`.

    Returns:
        Columns `into`, `layer` and `head` of the sender, `name`, `role`, `value`, `lower`,
        `upper` and `n`; no rows where the architecture has no such paths.
    """
    if "head_effects" not in answer:
        return pl.DataFrame(schema=_PATHS)
    rows = answer["head_effects"].filter(pl.col("sequence").is_null()).select(_EFFECTS)
    found = _path_rows(answer, rows, copier, {method})
    return found.filter(~pl.col("role").is_in(["shuffled", _THROUGH]))


def path_losses(answer: Mapping[str, pl.DataFrame], copier: str) -> pl.DataFrame:
    """What single paths into an induction head add to the loss on the second copy.

    Args:
        answer: Of `PathPatching`.
        copier: Name of the receiver.

    Returns:
        As `path_falls`, for both methods, with the column `group`: the input.
    """
    if "ablation_means" not in answer:
        return pl.DataFrame(schema={"group": pl.String, **_PATHS})
    rows = answer["ablation_means"].filter(scope="second copy", metric="loss_change")
    found = _path_rows(answer, rows.select(_EFFECTS), copier, {"zero", "resample"})
    return found.with_columns(
        pl.format("{}, {}", pl.col("into"), pl.col("method")).alias("group"),
    )


def path_table(answer: Mapping[str, pl.DataFrame], previous: Head) -> pl.DataFrame:
    """What the previous-token head serves, directly and through all that lies between.

    Args:
        answer: Of `PathPatching`.
        previous: The previous-token head.

    Returns:
        Columns `into` (head and input), `method`, and the change of the induction score with its
        interval `directly` and `by any path`; no rows where the architecture has no such paths.
    """
    columns = ["into", "method", "directly", "by any path"]
    if "head_effects" not in answer:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    families = {"path": "directly", THROUGH: "by any path"}
    kept = answer["ablations"].filter(pl.col("family").is_in(list(families)), heads=str(previous))
    rows = answer["head_effects"].filter(pl.col("sequence").is_null()).select(_EFFECTS)
    numbers = (pl.col(c).round(2) + 0.0 for c in ("value", "lower", "upper"))
    told = kept.join(rows, on="condition", maintain_order="left").select(
        pl.col("receiver").str.replace(".", " ", literal=True).alias("into"),
        "method",
        pl.col("family").replace_strict(families).alias("how"),
        pl.format("{} ({} to {})", *numbers).alias("change"),
    )
    return told.pivot("how", index=["into", "method"], values="change").select(columns)


def compositions(head_pairs: pl.DataFrame, previous: Head, copiers: Sequence[Head]) -> pl.DataFrame:
    """All pairs of heads, those of the circuit marked.

    Args:
        head_pairs: Answer of `Composition`.
        previous: The previous-token head.
        copiers: The induction heads.

    Returns:
        Columns `kind` in words, `pair`, `value`, `z`, `rank`, `n`, and whether the pair is of the
        `circuit`, and of its `strongest` induction head.
    """
    chosen = [f"{previous} → {copier}" for copier in copiers]
    sender = pl.format("L{}H{}", "from_layer", "from_head")
    receiver = pl.format("L{}H{}", "to_layer", "to_head")
    pair = pl.format("{} → {}", sender, receiver)
    return head_pairs.select(
        pl.col("kind").replace_strict(KINDS), pair.alias("pair"), "value", "z", "rank", "n"
    ).with_columns(circuit=pl.col("pair").is_in(chosen), strongest=pl.col("pair") == chosen[0])


def places(head_scores: pl.DataFrame, heads: Sequence[str]) -> pl.DataFrame:
    """Where some heads look from the second copy.

    Args:
        head_scores: Answer of `SecondCopy`.
        heads: Their names, in the order to show.

    Returns:
        Columns `name`, `data`, `place`, `order`, `value`, `lower`, `upper`, `n`, `chance`.
    """
    every = named(head_scores.filter(pl.col("sequence").is_null()))
    rows = every.filter(pl.col("name").is_in(heads), pl.col("score").is_in(list(PLACES)))
    order = {score: i for i, score in enumerate(PLACES)}
    shown = rows.sort(pl.col("name").replace_strict({name: i for i, name in enumerate(heads)}))
    return shown.select(
        *("name", "data"),
        pl.col("score").replace_strict(PLACES).alias("place"),
        pl.col("score").replace_strict(order).alias("order"),
        *("value", "lower", "upper", "n", "chance"),
    )


def largest_elsewhere(rows: pl.DataFrame) -> dict[str, Any]:
    """Of one head's places, the largest beside the target."""
    others = rows.filter(pl.col("place") != PLACES["second_copy_target"], data="repeated")
    return others.sort("value", "place").row(-1, named=True)


_TAIL = ("role", "value", "lower", "upper", "n")


def _by_role(ablations: pl.DataFrame, rows: pl.DataFrame, roles: Mapping[str, str]) -> pl.DataFrame:
    """Conditions of some families with what they change."""
    kept = ablations.filter(pl.col("family").is_in(list(roles)))
    role = pl.col("family").replace_strict(roles).alias("role")
    about = kept.select("condition", "method", "heads", "receiver", role)
    return about.join(rows, on="condition", how="inner", maintain_order="left")


def _path_rows(
    answer: Mapping[str, pl.DataFrame], rows: pl.DataFrame, copier: str, methods: Collection[str]
) -> pl.DataFrame:
    """Paths into one receiver with what they change."""
    roles = {
        "path": "previous-token head",
        "layer_matched": "other heads of its layer",
        "other_path": "other heads",
        "shuffled": "shuffled",
        THROUGH: _THROUGH,
    }
    found = _by_role(answer["ablations"], rows, roles).filter(pl.col("method").is_in(methods))
    ends = pl.col("receiver").str.split_exact(".", 1)
    place = pl.col("heads").str.extract_groups(r"L(?<layer>\d+)H(?<head>\d+)")
    split = found.with_columns(
        ends.struct.field("field_0").alias("to"), ends.struct.field("field_1").alias("input")
    ).filter(to=copier)
    return split.select(
        pl.col("input").replace_strict(INPUTS).alias("into"),
        "method",
        pl.col("heads").alias("name"),
        place.struct.field("layer").cast(pl.Int64),
        place.struct.field("head").cast(pl.Int64),
        *_TAIL,
    )
