"""How good a decomposition is: of ours as measured when it was made, of others measured here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from analysis.components.evaluation import judge
from analysis.components.folder import MADE, made
from analysis.files import regular_bytes
from analysis.progress import Report
from analysis.questions.decomposed import Decomposed, DecomposedText
from analysis.questions.rows import literals
from analysis.settings import SETTINGS
from analysis.text.tokens import Tokens

SEES_FUTURE = "sees_future"
"""A metric that is 1 where the importances of a token depend on tokens after it, else 0."""
COMPONENTS = "components"
"""The metric of how many components there are."""


@dataclass(frozen=True, kw_only=True)
class DecompositionQuality(Decomposed):
    """How good is a decomposition of ours, as it was measured when it was made?"""

    version: ClassVar[int] = 1

    def data(self) -> Sequence[Tokens]:
        """None: the rows that it was measured on are named in its folder."""
        return ()

    def question(self) -> dict[str, Any]:
        """As of every experiment, and the file that the figures are read from."""
        asked = super().question()
        file = regular_bytes(Path(self.decomposition) / MADE, SETTINGS)
        parameters = {**asked["parameters"], "made": hashlib.sha256(file).hexdigest()}
        return {**asked, "parameters": parameters}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Read the figures.

        Returns:
            `decompositions` and `decomposition_losses`.
        """
        found = made(Path(self.decomposition))
        columns = {"model": self.card.model, "decomposition": self.decomposition_id}
        losses = pl.DataFrame(found["losses"], infer_schema_length=None)
        report(1, 1, "")
        long = losses.unpivot(index="step", variable_name="loss").drop_nulls()
        return {
            "decompositions": figure_rows(self, found["evaluation"]).with_columns(
                text=pl.lit(None, pl.String)
            ),
            "decomposition_losses": long.with_columns(**literals(columns)),
        }


@dataclass(frozen=True, kw_only=True)
class MeasuredQuality(DecomposedText):
    """How good is a decomposition that comes without figures of its own, on text?"""

    version: ClassVar[int] = 3

    def data(self) -> Sequence[Tokens]:
        """The rows that it is judged on."""
        return [self.tokens]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure it.

        Returns:
            `decompositions`.
        """
        found = asdict(judge(*self.loaded(), self.tokens.ids, seed=self.seed, report=report))
        rows = figure_rows(self, found)
        return {"decompositions": rows.with_columns(text=pl.lit(self.tokens.text))}


def figure_rows(asked: Decomposed, evaluation: Mapping[str, Any]) -> pl.DataFrame:
    """Rows of `decompositions` but for the text.

    Args:
        asked: Which decomposition.
        evaluation: As `judge` returns it.

    Returns:
        Its figures with their intervals; numbers of components and whether importances see later
        tokens have none.
    """
    decomposition, function = asked.loaded()
    exact = {
        **evaluation["alive"],
        COMPONENTS: sum(parts.n for parts in decomposition.components.values()),
        SEES_FUTURE: int(function.sees_future),
    }
    figures = {
        **evaluation["figures"],
        **{name: (number, None, None) for name, number in exact.items()},
    }
    rows = [
        (name, *(None if end is None else float(end) for end in figure))
        for name, figure in figures.items()
    ]
    types = {"metric": pl.String, **dict.fromkeys(("value", "lower", "upper"), pl.Float64)}
    return pl.DataFrame(rows, schema=types, orient="row").with_columns(
        model=pl.lit(asked.card.model),
        decomposition=pl.lit(asked.decomposition_id),
        n=pl.lit(evaluation["n_rows"]),
    )
