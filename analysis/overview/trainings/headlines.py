"""What the book says first, of other trainings and other texts too: heads matched by their role."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from analysis.errors import UserError
from analysis.models.files.card import REFERENCE
from analysis.outputs import write_text
from analysis.overview.claims import figure_of
from analysis.overview.findings import findings
from analysis.overview.unknown import UnknownError
from analysis.questions.asked import Asked
from analysis.questions.experiment import Question
from analysis.questions.study import Recall
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.verdicts.verdict import Verdict
from analysis.settings import json_object
from analysis.training.measured import stage_of

SHIPPED = REFERENCE / "headlines.json"
"""Answers on other trainings and texts, whose stores are not here."""
TEXTS = ("reference", "prose")
"""Texts that the book asks: what a store holds of another one stands beside that which is asked."""
HEADLINES = {
    "previous_token_head": "The strongest previous-token head looks at the token before",
    "induction_head": "The strongest induction head looks one past the previous copy",
    "model_copies": "The model predicts a random block better when it is shown again",
    "previous_needed": "The induction head needs the previous-token head",
    "key_path": "The previous-token head serves the induction head through its keys",
    "copiers_needed": "Copying needs the induction heads",
    "circuit_enough": "At most a third of the heads is enough to copy",
    "circuit_needed": "Copying needs these heads",
    "sink_attends": "The strongest sink puts its attention on BOS",
    "sink_is_token": "The sink is the token, not the position",
    "sink_value_unused": "Without the value of BOS, the sinks leave predictions as they are",
    "sink_attention_needed": "With BOS hidden from the sinks, predictions change",
    "no_op_sink": "The sink is a no-op",
    "value_redundant_predictions": "Without the previous-token head, the values one back matter "
    "less than half as much to predictions",
    "component_redundant_predictions": "The same of the strongest pair of components",
    "component_specific": "Ablating that pair is specific to offset 1",
    "text_matters_more_than_kind": "Which heads matter depends more on the text than on how they "
    "are ablated",
    "top_heads_against_random": "The heads that matter most change predictions more than random "
    "ones",
    "retrieval_against_random": "Answers need the heads that fetch them more than random ones",
    "lag_successor_serial": "When a list is shown twice, an item's successor is more probable than "
    "its predecessor",
}
"""By claim: what it says, of roles instead of heads."""
SCHEMA = {
    "seed": pl.Int64,
    "step": pl.Int64,
    "n_steps": pl.Int64,
    "text": pl.String,
    "sizes": pl.String,
    "weights": pl.String,
    "claim": pl.String,
    "heads": pl.String,
    "estimate": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "threshold": pl.Float64,
    "verdict": pl.String,
}
"""Columns of rows. A column of the table is one `seed`, `step` and `text`; numbers are null where a
claim rests on other verdicts."""
NO_TRAINING = "Other trainings of this model's recipe are not stored."
_COLUMN = ("seed", "step", "n_steps", "text")
_OF_ROW = (*_COLUMN, "claim")
_NUMBERS = ("estimate", "lower", "upper", "threshold", "verdict")
_HEAD = re.compile(r"L\d+H\d+")


def rows_of(asked: Asked, claims: pl.DataFrame) -> pl.DataFrame:
    """The headline claims of one model on one text.

    Args:
        asked: Which; the model is of a training of the recipe.
        claims: Rows of the table `claims`.

    Returns:
        Columns `SCHEMA`, in the order of `HEADLINES`; what could not be asked has no row.

    Raises:
        UserError: Nobody knows which training the model is of.
    """
    at = stage_of(asked.card.folder)
    of = (at.seed, at.step, at.n_steps, text_name(asked), asked.sizes_said, asked.card.weights)
    found = {row["claim"]: row for row in claims.to_dicts()}
    rows = [
        (*of, claim, heads_in(row["statement"]), *(row[name] for name in _NUMBERS))
        for claim, row in ((name, found[name]) for name in HEADLINES if name in found)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def is_trained(asked: Asked) -> bool:
    """Whether a model is one of a training of the recipe."""
    try:
        stage_of(asked.card.folder)
    except UserError:
        return False
    return True


def text_name(asked: Asked) -> str:
    """What a table calls a text: its name, or that of its file."""
    return Path(asked.text).name


def heads_in(statement: str) -> str:
    """The heads that a claim names, each once."""
    return ", ".join(dict.fromkeys(_HEAD.findall(statement)))


def known(asked: Asked, recall: Recall, missing: Callable[[Any], Sequence[Any]]) -> pl.DataFrame:
    """Claims whose whole evidence is stored.

    Args:
        asked: Which model, on what text.
        recall: Answers a question.
        missing: Says which parts of its answer would have to be computed.

    Returns:
        Rows of `claims`; none where anything is not there.
    """

    def stored(question: Question) -> Evidence:
        if missing(question):
            raise UnknownError
        return recall(question)

    with suppress(UnknownError):
        return findings(asked, stored)
    return pl.DataFrame()


def live(
    asked: Asked,
    claims: pl.DataFrame,
    recall: Recall,
    missing: Callable[[Any], Sequence[Any]],
) -> pl.DataFrame:
    """Headline claims of the model that is asked, on every text of `TEXTS` that the store holds.

    Args:
        asked: Which model, and on what text the `claims` are.
        claims: Rows of the table.
        recall: Answers a question.
        missing: Says which parts of its answer would have to be computed.

    Returns:
        Columns `SCHEMA`.
    """
    others = [replace(asked, text=text) for text in TEXTS if text != asked.text]
    found = [(asked, claims), *((one, known(one, recall, missing)) for one in others)]
    return pl.concat(rows_of(one, rows) for one, rows in found)


def read(path: Path) -> pl.DataFrame:
    """Rows of a file of `write`; none where there is no file.

    Args:
        path: The file.

    Returns:
        Columns `SCHEMA`.

    Raises:
        UserError: The file holds something else.
    """
    if not path.exists():
        return pl.DataFrame(schema=SCHEMA)
    try:
        rows = pl.DataFrame(json_object(path)["rows"], schema=SCHEMA, strict=True)
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise _unfit(path, str(error).splitlines()[0]) from None
    if not rows["verdict"].is_in([one.value for one in Verdict]).all():
        raise _unfit(path, "another verdict")
    if (
        not rows["claim"].is_in(list(HEADLINES)).all()
        or rows.select(*_OF_ROW).is_duplicated().any()
    ):
        raise _unfit(path, "another claim, or one twice")
    return rows


def _unfit(path: Path, found: str) -> UserError:
    return UserError(
        f"expected a file of `headbook export-headlines`, {path} is another or damaged ({found}); "
        "restore it, or choose another --out"
    )


def write(path: Path, rows: pl.DataFrame) -> None:
    """Add a column's rows to a file; those that it has of the same column are replaced.

    Args:
        path: The file, which may be new.
        rows: Columns `SCHEMA`.

    Raises:
        UserError: The file holds something else.
    """
    kept = read(path).join(rows, on=_COLUMN, how="anti")
    every = pl.concat([kept, rows]).sort(*_COLUMN, maintain_order=True)
    lines = ",\n".join(json.dumps(row) for row in every.to_dicts())
    write_text(path, f'{{"rows": [\n{lines}\n]}}\n')


def beside(here: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Rows of the store that is here, and those of other trainings and texts from a file.

    Args:
        here: Of `live`.
        stored: Of `read`; rows of a model and text that are here are left out: the store says more.

    Returns:
        All, the model that is here first.
    """
    others = stored.join(here, on=["weights", "text"], how="anti", maintain_order="left")
    return pl.concat([here, others])


def side_by_side(rows: pl.DataFrame) -> pl.DataFrame:
    """Headline claims as a reader sees them.

    Args:
        rows: Of `beside`.

    Returns:
        `claim`, which links to the figure that shows it, and a column for each training and text:
        verdict, estimate with 95 % interval, and the heads; null where it could not be asked.
    """
    told = rows.with_columns(
        column=pl.Series([_column(row) for row in rows.to_dicts()], dtype=pl.String),
        cell=pl.Series([_cell(row) for row in rows.to_dicts()], dtype=pl.String),
    ).pivot("column", index="claim", values="cell", maintain_order=True)
    place = {claim: i for i, claim in enumerate(HEADLINES)}
    return told.sort(pl.col("claim").replace_strict(place, return_dtype=pl.Int64)).select(
        pl.col("claim").replace_strict(HEADLINES, return_dtype=pl.String),
        pl.Series("claim_link", [figure_of(claim, "") for claim in _in_order(told)]),
        pl.all().exclude("claim"),
    )


def _in_order(told: pl.DataFrame) -> list[str]:
    there = set(told["claim"])
    return [claim for claim in HEADLINES if claim in there]


def _column(row: Mapping[str, Any]) -> str:
    early = f" at step {row['step']:,}" if row["step"] < row["n_steps"] else ""
    return f"seed {row['seed']}{early}, {row['text']}"


def _cell(row: Mapping[str, Any]) -> str:
    heads = f"; {row['heads']}" if row["heads"] else ""
    if any(row[name] is None for name in ("estimate", "lower", "upper")):
        return f"{row['verdict']}{heads}"
    value, lower, upper = (f"{row[name] + 0.0:.3g}" for name in ("estimate", "lower", "upper"))
    return f"{row['verdict']}: {value} ({lower} to {upper}){heads}"


def agreement_said(rows: pl.DataFrame) -> str:
    """How far trainings and texts agree, as a sentence in Markdown.

    Args:
        rows: Of `beside`.
    """
    n_columns = rows.select(_COLUMN).n_unique()
    if n_columns == 1:
        return (
            "**One training on one text is stored so far**: whether another seed, or another "
            "text, gives the same verdicts is not known yet."
        )
    counted = rows.group_by("claim").agg(n=pl.len(), verdicts=pl.col("verdict").n_unique())
    everywhere = counted.filter(n=n_columns)
    same = everywhere.filter(verdicts=1).height
    early = rows.filter(pl.col("step") < pl.col("n_steps")).select(_COLUMN).n_unique()
    unfinished = f" {early} of the columns are of trainings that are not finished." if early else ""
    return (
        f"Of {everywhere.height} headline claims that could be asked of all {n_columns} trainings "
        f"and texts, **{same} have the same verdict in all**.{unfinished}"
    )
