"""What heads look at in text: previous token, BOS, duplicates, delimiters, and every offset."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from analysis.interventions.heads import parse_heads
from analysis.interventions.passes.stream import Score, chance, stream_scores
from analysis.models.load import Model
from analysis.progress import Report, stage
from analysis.questions.drawing import Drawing
from analysis.questions.rows import Labels, absence, head_profiles, head_scores, joined
from analysis.scores.positional import bos_score, offset_profile
from analysis.scores.registry import Given, HeadScore, registered
from analysis.text.sources import text_rows
from analysis.text.tokens import NO_TOKENIZER, Tokens, Vocabulary, delimiter_ids

_ON_TEXT = sorted(
    (score for score in registered() if score.data == "text"),
    key=lambda score: "random" not in score.also,
)
"""Registered scores of text, those of the place alone first."""
_RATIOS = {score.name for score in _ON_TEXT if score.neutral == 1.0}
NO_BOS = "position 0 holds an ordinary token: see position_0"


@dataclass(frozen=True, kw_only=True)
class TextRows(Drawing):
    """A question about text and about random tokens of the same shape."""

    bos: bool
    """Whether every sequence starts with the tokenizer's BOS."""
    n_sequences: int
    n_tokens: int
    """Length of each sequence, with the BOS."""
    n_pictured: int
    """Positions of the mean and the example pattern."""
    pictured: tuple[str, ...]
    """Heads whose patterns are kept."""

    @cached_property
    def _text(self) -> Tokens | None:
        if self.vocabulary.tokenizer is None:
            return None
        shape = self.n_sequences, self.n_tokens
        return text_rows(self.text, self.vocabulary, shape, bos=self.bos, seed=self.seed, room=1)

    @cached_property
    def _random(self) -> Tokens:
        rng = Random(f"random/{self.seed}")
        start = self.vocabulary.bos if self.bos else ()
        body = self.n_tokens - len(start)
        rows = [[*start, *rng.choices(self.pool.ids, k=body)] for _ in range(self.n_sequences)]
        return self.pool.tokens(rows, "random tokens", self.seed, bos=self.bos, block_len=1)


@dataclass(frozen=True, kw_only=True)
class TextPatterns(TextRows):
    """Where do some heads of a model look in text; without a tokenizer, on random tokens?"""

    version: ClassVar[int] = 1

    def data(self) -> Sequence[Tokens]:
        """The rows that patterns are averaged over."""
        return [self._random if self._text is None else self._text]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Average the patterns: `patterns` and `prompts`."""
        (rows,) = self.data()
        picture = Picture(parse_heads(self.pictured, self.card), self.n_pictured)
        stream_scores(self.loaded_model(), rows.ids, {}, report, watchers=[picture])
        return picture.tables(self.card.model, rows, self.vocabulary)


@dataclass(frozen=True, kw_only=True)
class TextScores(TextRows):
    """What does every head of a model look at in text, and on random tokens?"""

    version: ClassVar[int] = 3

    n_offsets: int
    """Offsets 0 .. n_offsets - 1 of the positional profile."""

    @cached_property
    def _bare(self) -> Tokens | None:
        """The same text with an ordinary token first: is the sink its token or its place?"""
        text = self._text
        if text is None or not self.bos:
            return None
        return Tokens(text.ids[:, 1:], text.name, text.source, bos=False, tokenizer=text.tokenizer)

    def data(self) -> Sequence[Tokens]:
        """Text with and without BOS, where the model has a tokenizer, and random tokens."""
        return [found for found in (self._text, self._bare, self._random) if found is not None]

    def question(self) -> dict[str, Any]:
        """What the answer is stored under, with the scores that are later than the first."""
        asked, later = super().question(), {s.name: s.version for s in _ON_TEXT if s.version}
        return asked | {"parameters": asked["parameters"] | ({"scores": later} if later else {})}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Score every head.

        Returns:
            `head_scores`, `head_profiles`, and for text `patterns`, `prompts` and `absences`.
        """
        model = self.loaded_model()
        frames = [self._random_frames(model, stage(report, "random tokens", 0, 3))]
        if self._text is not None:
            frames.append(self._text_frames(model, self._text, stage(report, "text", 1, 3)))
        if self._bare is not None:
            frames.append(self._bare_frames(model, self._bare, stage(report, "no BOS", 2, 3)))
        return joined([*frames, *({"absences": gap} for gap in self.gaps(model))])

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Scores on text without a tokenizer, and that of the BOS without one."""
        if self.vocabulary.tokenizer is None:
            return [absence(self.card, each.name, "text", NO_TOKENIZER) for each in _ON_TEXT]
        return [] if self.bos else [absence(self.card, "bos", "text", NO_BOS)]

    def _random_frames(self, model: Model, report: Report) -> dict[str, pl.DataFrame]:
        labels = Labels(card=self.card, tokens=self._random, data="random", seed=self.seed)
        functions = self._functions(self._random, [s for s in _ON_TEXT if "random" in s.also])
        found = stream_scores(model, self._random.ids, functions, report)
        return self._tables(found, chance(model, self._random.ids, functions), labels)

    def _text_frames(self, model: Model, text: Tokens, report: Report) -> dict[str, pl.DataFrame]:
        labels = Labels(card=self.card, tokens=text, data="text", seed=self.seed)
        functions = self._functions(text, _ON_TEXT)
        picture = Picture(parse_heads(self.pictured, self.card), self.n_pictured)
        found = stream_scores(model, text.ids, functions, report, watchers=[picture])
        frames = self._tables(found, chance(model, text.ids, functions), labels)
        frames |= picture.tables(self.card.model, text, self.vocabulary)
        measured = set(frames["head_scores"]["score"])
        gaps = [
            absence(self.card, each.name, "text", each.untested)
            for each in sorted(_ON_TEXT, key=lambda score: score.name)
            if self._called(each) not in measured
        ]
        return {**frames, "absences": pl.concat(gaps)} if gaps else frames

    def _bare_frames(self, model: Model, bare: Tokens, report: Report) -> dict[str, pl.DataFrame]:
        labels = Labels(card=self.card, tokens=bare, data="text", seed=self.seed)
        functions: dict[str, Score] = {"position_0": lambda p, _: bos_score(p)}
        found = stream_scores(model, bare.ids, functions, report)
        return self._tables(found, chance(model, bare.ids, functions), labels)

    def _functions(self, tokens: Tokens, scored: Sequence[HeadScore]) -> dict[str, Score]:
        """Scores as they are measured on some rows, and the profile."""
        found = {self._called(score): self._measured(score, tokens) for score in scored}
        return {**found, "offset": lambda p, _: offset_profile(p, self.n_offsets)}

    def _called(self, score: HeadScore) -> str:
        """Position 0 is called BOS only when it holds one."""
        return "position_0" if score.name == "bos" and not self.bos else score.name

    def _measured(self, score: HeadScore, tokens: Tokens) -> Score:
        given = [self._given(each, tokens) for each in score.given]
        return lambda p, rows: score.function(p, *(each[rows].to(p.device) for each in given))

    def _given(self, what: Given, tokens: Tokens) -> Tensor:
        """What a score takes, of all rows."""
        if what is Given.TOKENS:
            return torch.from_numpy(tokens.ids)
        return torch.from_numpy(np.isin(tokens.ids, delimiter_ids(self.vocabulary)))

    def _tables(
        self, found: dict[str, np.ndarray], by_chance: dict[str, np.ndarray], labels: Labels
    ) -> dict[str, pl.DataFrame]:
        for name in (
            _RATIOS & found.keys()
        ):  # to what uniform attention gives, where keys are hidden
            found[name] = found[name] / by_chance[name]
            by_chance[name] = by_chance[name] / by_chance[name]
        frames = {
            "head_scores": pl.concat(
                head_scores(found[name], by_chance[name], name, labels)
                for name in found
                if name != "offset"
            )
        }
        if "offset" in found:
            frames["head_profiles"] = head_profiles(
                found["offset"], by_chance["offset"], "offset", 0, labels
            )
        return frames


class Picture:
    """Keeps the mean pattern and the first sequence's, of some heads and the first positions."""

    def __init__(self, heads: tuple[tuple[int, int], ...], n_pos: int) -> None:
        self.heads, self.n_pos = heads, n_pos
        self.total = {head: np.zeros((n_pos, n_pos)) for head in heads}
        self.example: dict[tuple[int, int], np.ndarray] = {}
        self.n_sequences = 0

    def __call__(self, layer: int, rows: slice, pattern: Tensor) -> None:
        """Add a chunk of patterns."""
        self.n_sequences = max(self.n_sequences, rows.stop)
        for head in self.heads:
            if head[0] == layer:
                corner = pattern[:, head[1], : self.n_pos, : self.n_pos].double().cpu().numpy()
                self.total[head] += corner.sum(0)
                if rows.start == 0:
                    self.example[head] = corner[0]

    def tables(self, model: str, text: Tokens, vocabulary: Vocabulary) -> dict[str, pl.DataFrame]:
        """Rows of `patterns` (on and below the diagonal) and of `prompts`."""
        frames: list[pl.DataFrame] = []
        query, key = np.tril_indices(self.n_pos)
        for layer, head in self.heads:
            mean = self.total[layer, head] / self.n_sequences
            for kind, square in (("mean", mean), ("example", self.example[layer, head])):
                weight = square[query, key].astype(np.float32)
                rows = {"layer": layer, "head": head, "query": query, "key": key}
                frames.append(
                    pl.DataFrame(
                        {"model": model, "text": text.text, "kind": kind, **rows, "weight": weight}
                    )
                )
        ids = text.ids[0, : self.n_pos]
        prompt = pl.DataFrame(
            {
                "text": text.text,
                "sequence": 0,
                "position": np.arange(len(ids)),
                "token_id": ids,
                "token": [vocabulary.display(int(i)) for i in ids],
            }
        )
        return {"prompts": prompt, **({"patterns": pl.concat(frames)} if frames else {})}
