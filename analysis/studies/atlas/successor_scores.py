"""Does a head look from each item of a list to the item before it, because of their order?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

import numpy as np
import polars as pl
import torch

from analysis import scores
from analysis.interventions.passes.stream import Score, chance, stream_scores
from analysis.models.load import Model
from analysis.progress import Report, stage
from analysis.questions.experiment import Experiment
from analysis.questions.rows import Labels, absence, head_scores
from analysis.questions.work import Work, passes, scored
from analysis.text import words
from analysis.text.tokens import NO_TOKENIZER, Tokens, Vocabulary

SCORE = "successor"


@dataclass(frozen=True)
class Lists:
    """Lists of one kind, in order, and their controls of random words at the same positions."""

    kind: str
    ordinal: Tokens
    control: Tokens


@dataclass(frozen=True, kw_only=True)
class SuccessorScores(Experiment):
    """Which heads look at the item before, more in an ordered list than in a random one?"""

    version: ClassVar[int] = 5

    n_sequences: int
    """Lists of each kind."""
    n_items: int
    """Items in each list; kinds with fewer members wrap around."""

    @cached_property
    def _lists(self) -> tuple[Lists, ...]:
        found = (self._lists_of(kind) for kind in words.SEQUENCES)
        return tuple(lists for lists in found if lists is not None)

    def _lists_of(self, kind: str) -> Lists | None:
        """The lists of one kind; None where the tokenizer splits its members."""
        items = separated(self.vocabulary, words.SEQUENCES[kind])
        if items is None:
            return None
        separator, members = items
        others = control_items(self.vocabulary, len(separator))
        if len(others) < self.n_items:
            return None
        rng = Random(f"{kind}/{self.seed}")
        ordinal: list[list[int]] = []
        control: list[list[int]] = []
        for _ in range(self.n_sequences):
            start = rng.randrange(len(members))
            run = [members[(start + k) % len(members)] for k in range(self.n_items)]
            ordinal.append(self._row(run, separator))
            control.append(self._row(rng.sample(others, self.n_items), separator))
        return Lists(kind, self._tokens(ordinal, kind), self._tokens(control, f"{kind}, control"))

    def _row(self, items: Sequence[int], separator: Sequence[int]) -> list[int]:
        """BOS, then the items with the separator between them; the comma does not start a row."""
        row = [*self.vocabulary.bos, *separator[1:]]
        for item in items:
            row += [item, *separator]
        return row[: len(row) - len(separator)]

    def _tokens(self, rows: list[list[int]], name: str) -> Tokens:
        vocabulary = self.vocabulary
        ids = np.array(rows, dtype=np.int32)
        source = f"generated, seed {self.seed}"
        return Tokens(
            ids, name, source, bool(vocabulary.bos), vocabulary.hash, self._positions(ids)
        )

    def _positions(self, ids: np.ndarray) -> tuple[int, ...]:
        """Where the items are: evenly spaced, the last one at the end."""
        n_bos = len(self.vocabulary.bos)
        step = (ids.shape[1] - n_bos + 1) // self.n_items
        return tuple(range(ids.shape[1] - 1 - step * (self.n_items - 1), ids.shape[1], step))

    def data(self) -> Sequence[Tokens]:
        """Lists and controls of every kind whose members are single tokens."""
        return [tokens for lists in self._lists for tokens in (lists.ordinal, lists.control)]

    def work(self) -> Work:
        """A pass over every list and its control; chance is that of the lists."""
        lists = scored(self.card, *(lists.ordinal for lists in self._lists))
        return lists + passes(self.card, *(lists.control for lists in self._lists))

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Score every head on every kind of list.

        Returns:
            `head_scores` (data `ordinal`, `control` and their paired difference `signal`, pooled
            and by kind as `ordinal: months`; intervals of what is pooled are over kinds) and
            `absences`.
        """
        model = self.loaded_model()
        gaps = self.gaps(model)
        frames: dict[str, pl.DataFrame] = {"absences": pl.concat(gaps)} if gaps else {}
        if not self._lists:
            return frames
        n_kinds = len(self._lists)
        found = [
            self._measure(model, lists, stage(report, lists.kind, i, n_kinds))
            for i, lists in enumerate(self._lists)
        ]
        rows = [
            self._rows(measured, lists.ordinal, f": {lists.kind}")
            for lists, measured in zip(self._lists, found, strict=True)
        ]
        pooled = [np.concatenate(arrays) for arrays in zip(*found, strict=True)]
        kinds = np.repeat(np.arange(n_kinds), [len(measured[0]) for measured in found])
        return {"head_scores": pl.concat([*rows, self._rows(pooled, None, "", kinds)]), **frames}

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Kinds of lists that the tokenizer does not hold; all without one."""
        tested = {lists.kind for lists in self._lists}
        reason = (
            "the tokenizer splits its members or does not know them, or has too few single-token "
            "control words"
        )
        if self.vocabulary.tokenizer is None:
            reason = NO_TOKENIZER
        return [
            absence(self.card, SCORE, kind, reason)
            for kind in words.SEQUENCES
            if kind not in tested
        ]

    def _measure(
        self, model: Model, lists: Lists, report: Report
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores on the lists, on their controls, and by chance (sequence, layer, head)."""
        positions = torch.tensor(lists.ordinal.targets)
        function: Score = lambda p, _: scores.successor_score(p, positions)  # noqa: E731
        found = [
            stream_scores(model, tokens.ids, {SCORE: function}, report)[SCORE]
            for tokens in (lists.ordinal, lists.control)
        ]
        by_chance = chance(model, lists.ordinal.ids, {SCORE: function})[SCORE]
        return found[0], found[1], by_chance

    def _rows(
        self,
        measured: Sequence[np.ndarray],
        tokens: Tokens | None,
        suffix: str,
        kinds: np.ndarray | None = None,
    ) -> pl.DataFrame:
        """Rows of what `_measure` gave, and of the paired difference."""
        ordinal, control, by_chance = measured
        values = {
            "ordinal": (ordinal, by_chance),
            "control": (control, by_chance),
            "signal": (ordinal - control, np.zeros_like(by_chance)),
        }
        return pl.concat(
            head_scores(
                value,
                expected,
                SCORE,
                Labels(card=self.card, tokens=tokens, data=data + suffix, seed=self.seed),
                kinds,
            )
            for data, (value, expected) in values.items()
        )


def separated(
    vocabulary: Vocabulary, members: Sequence[str]
) -> tuple[tuple[int, ...], list[int]] | None:
    """How ", " and each member are tokenised in a list.

    Args:
        vocabulary: The tokenizer.
        members: What the list is made of.

    Returns:
        The ids between two items, and one id for each member; None if a member needs several, or is
        not known or not told apart.
        A tokenizer that sets digits apart has its space token in the separator.
    """
    if vocabulary.tokenizer is None:
        return None
    stem = vocabulary.encode("a")
    pieces = [vocabulary.encode(f"a, {member}") for member in members]
    separators = {tuple(ids[len(stem) : -1]) for ids in pieces}
    if len(separators) != 1 or any(ids[: len(stem)] != stem for ids in pieces):
        return None
    known = all(map(vocabulary.says, (ids[-1:] for ids in pieces), members))
    return (separators.pop(), [ids[-1] for ids in pieces]) if known else None


def control_items(vocabulary: Vocabulary, n_separator: int) -> list[int]:
    """Ids of words without an order that fit the same layout.

    After a bare comma these are ordinary words; where the space is a token of its own, so that
    items are single characters, letters.
    """
    if n_separator == 1:
        pool = (*words.OBJECTS, *words.PLACES, *words.NAMES, *words.ADJECTIVES, *words.STATES)
        return sorted(set(vocabulary.single(pool).values()))
    bare = [vocabulary.encode(letter) for letter in words.LETTERS]
    return sorted({ids[-1] for ids in bare})
