"""The sink on a second text: what attention position 0 gets there, and what is claimed of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.interventions.passes.stream import Score, chance, stream_scores
from analysis.progress import Report
from analysis.questions.experiment import Experiment
from analysis.questions.rows import Labels, head_scores
from analysis.questions.verdicts.judgement import Bar, Evidence
from analysis.scores import bos_score
from analysis.tables import named
from analysis.text.sources import text_rows
from analysis.text.tokens import Tokens

from .claims import SINK, Finding
from .evidence import Measured

MOVES = 0.1
"""The text matters for a head if its attention to position 0 differs by at least so much: as much
as makes a head rest on the sink."""


@dataclass(frozen=True, kw_only=True)
class SinkMass(Experiment):
    """How much attention does every head give to position 0 of a text?"""

    version: ClassVar[int] = 1

    text: str
    """What `read_source` takes."""
    bos: bool
    """Whether position 0 holds a BOS."""
    n_sequences: int
    n_tokens: int
    """Length of each sequence, with the BOS."""

    @cached_property
    def tokens(self) -> Tokens:
        """The rows."""
        shape = self.n_sequences, self.n_tokens
        return text_rows(self.text, self.vocabulary, shape, bos=self.bos, seed=self.seed, room=1)

    def data(self) -> Sequence[Tokens]:
        """The rows."""
        return [self.tokens]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Score every head: `head_scores`."""
        model, functions = (
            self.loaded_model(),
            dict[str, Score](sink_mass=lambda p, _: bos_score(p)),
        )
        labels = Labels(card=self.card, tokens=self.tokens, data="text", seed=self.seed)
        found = stream_scores(model, self.tokens.ids, functions, report)["sink_mass"]
        expected = chance(model, self.tokens.ids, functions)["sink_mass"]
        return {"head_scores": head_scores(found, expected, "sink_mass", labels)}


PerHead = Float[np.ndarray, "sequence head"]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Attention to position 0 on two texts: sequences are no pairs, and taken in their order."""

    heads: tuple[str, ...]
    first: PerHead
    second: PerHead
    """As many sequences as of the first text."""
    chance: PerHead
    """What uniform attention gives on the second text."""

    @classmethod
    def of(cls, sink: Evidence, second: Evidence) -> Beside:
        """Answers of `BosSink` and of `SinkMass`, up to the end of the shorter one."""
        own = sink["head_scores"].filter(data=Measured(sink).main)
        tables = [_by_head(own, "value")]
        tables += [_by_head(second["head_scores"], column) for column in ("value", "chance")]
        names = tables[0].columns
        n = min(table.height for table in tables)
        first, other, chances = (table.select(names).head(n).to_numpy() for table in tables)
        return cls(heads=tuple(names), first=first, second=other, chance=chances)

    @property
    def changes(self) -> PerHead:
        """The second text minus the first."""
        return self.second - self.first


def _by_head(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """A column for each head, in the model's order, and a row for each sequence."""
    found = named(rows.filter(score="sink_mass").drop_nulls("sequence")).sort("layer", "head")
    table = found.pivot("name", index="sequence", values=column, maintain_order=True)
    return table.sort("sequence").drop("sequence")


def text_findings(sink: Evidence, second: Mapping[str, Evidence], text: str) -> Iterator[Finding]:
    """What holds of the sink on a second text.

    Args:
        sink: Answer of `BosSink`.
        second: Answers of `SinkMass`, by what their text is; there may be none.
        text: What the first one is.
    """
    measured = Measured(sink)
    for other, answer in second.items() if measured.has_text else ():
        beside = Beside.of(sink, answer)
        yield _stays(measured, beside, other)
        yield _moves(measured, beside, (text, other))


def _stays(measured: Measured, beside: Beside, other: str) -> Finding:
    """Is the strongest sink of the one text one on the other?"""
    head = measured.strongest("sink_mass", measured.main)
    at = beside.heads.index(str(head))
    return Finding(
        claim="sink_on_second_text",
        statement=f"{head}, the strongest on the even sequences of the first text, puts more than "
        f"half of its attention on {measured.place} on {other}, too",
        statistic=f"attention to {measured.place} on {other}",
        values=beside.second[1::2, at],
        bar=Bar(
            threshold=SINK,
            control=beside.chance[1::2, at],
            control_name="uniform attention",
        ),
    )


def _moves(measured: Measured, beside: Beside, texts: tuple[str, str]) -> Finding:
    """Does the attention of any head to position 0 depend on the text?"""
    chosen = beside.changes[::2].mean(0)
    at = int(np.argmax(np.abs(chosen)))
    sign, way = (1, "more") if chosen[at] > 0 else (-1, "less")
    first, n_odd = beside.first[:, at], len(beside.first) // 2
    return Finding(
        claim="sink_depends_on_text",
        statement=f"How much attention {measured.place} gets depends on the text: "
        f"{beside.heads[at]}, which moves most on the even sequences, puts at least {MOVES} {way} "
        f"of it there on {texts[1]} than on {texts[0]}",
        statistic=f"attention to {measured.place} on {texts[sign > 0]} minus that on "
        f"{texts[sign < 0]}",
        values=sign * beside.changes[1::2, at],
        bar=Bar(
            threshold=MOVES,
            control=sign * (first[1::2] - first[: 2 * n_odd : 2]),
            control_name=f"other sequences of {texts[0]}",
        ),
    )
