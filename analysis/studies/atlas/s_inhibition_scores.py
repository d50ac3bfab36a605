"""Does a head look at the repeated name, and does it turn the answer away from it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from analysis import scores
from analysis.batches import alike
from analysis.errors import UserError
from analysis.interventions.heads import heads_of
from analysis.interventions.kinds import Condition, Intervention, Method
from analysis.interventions.passes.readings import readings
from analysis.interventions.passes.stream import Score, chance, stream_scores
from analysis.interventions.passes.sweep import Source
from analysis.models.load import Model, check_shares, unembed
from analysis.progress import Report, stage
from analysis.questions.effect_rows import scattered
from analysis.questions.experiment import Experiment
from analysis.questions.rows import Labels, absence, head_scores, model_scores
from analysis.questions.text_sweep import batch_rows
from analysis.questions.work import NO_WORK, Work, read_under, scored, total
from analysis.text import words
from analysis.text.english import Gift, Split, gift
from analysis.text.tokens import NO_TOKENIZER, Tokens

from .copying import ov_copy_scores

_COPYING = ("ov_copy", "ov_copy_gain")
_LOOKED_AT = {"s_inhibition": "s2", "attention_to_io": "io", "attention_to_s1": "s1"}
"""From the end of a prompt, by score."""
MIN_NAMES = 4
"""Fewer names than this make too few different prompts."""


@dataclass(frozen=True)
class Prompts:
    """Indirect-object prompts, filled on the right to one length, and the positions that matter."""

    tokens: Tokens
    positions: dict[str, Tensor]
    """`end`, `io`, `s1` and `s2` of every prompt."""
    io: np.ndarray
    s: np.ndarray

    def parts(self) -> Iterator[tuple[np.ndarray, Prompts]]:
        """Prompts of one length, as long as they are, and their places among all."""
        n_pos = self.positions["end"] + 1
        for listed in alike(n_pos.tolist()):
            places = np.array(listed)
            ids = self.tokens.ids[places, : n_pos[places[0]]]
            positions = {name: at[places] for name, at in self.positions.items()}
            tokens = replace(self.tokens, ids=ids)
            yield places, Prompts(tokens, positions, self.io[places], self.s[places])


@dataclass(frozen=True, kw_only=True)
class SInhibitionScores(Experiment):
    """Which heads look from the end of a gift sentence at the giver's second mention?"""

    version: ClassVar[int] = 4

    n_sequences: int

    @cached_property
    def _names(self) -> dict[str, int]:
        """Held-out names that are single tokens."""
        return self.vocabulary.single(words.HELD_OUT_NAMES)

    @cached_property
    def _prompts(self) -> Prompts | None:
        if len(self._names) < MIN_NAMES:
            return None
        rng = Random(f"gifts/{self.seed}")
        rows: list[list[int]] = []
        found: list[tuple[int, int, int, int]] = []
        pairs: list[tuple[int, int]] = []
        while len(rows) < self.n_sequences:
            item = gift(rng, Split.TEST)
            if item.io in self._names and item.s in self._names:
                row, where = self._located(item)
                if where is None:
                    return None
                rows.append(row)
                found.append(where)
                pairs.append((self._names[item.io], self._names[item.s]))
        longest = max(len(row) for row in rows)
        padded = [row + [row[0]] * (longest - len(row)) for row in rows]
        columns = torch.tensor(found).unbind(1)
        names: list[str] = ["end", "io", "s1", "s2"]
        positions = dict(zip(names, columns, strict=True))
        flat = tuple(int(p) for where in found for p in where)
        vocabulary = self.vocabulary
        tokens = Tokens(
            np.array(padded, dtype=np.int32),
            "gift sentences",
            f"generated, seed {self.seed}",
            bool(vocabulary.bos),
            vocabulary.hash,
            flat,
        )
        io, s = np.array(pairs).T
        return Prompts(tokens, positions, io, s)

    def _located(self, item: Gift) -> tuple[list[int], tuple[int, int, int, int] | None]:
        """A prompt's ids, and where its end, IO, S1 and S2 are; None if names are not found so."""
        row = [*self.vocabulary.bos, *self.vocabulary.encode(item.prompt)]
        io, s = (
            [i for i, token in enumerate(row) if token == self._names[name]]
            for name in (item.io, item.s)
        )
        known = (len(io), len(s)) == (1, 2)
        return row, (len(row) - 1, io[0], s[0], s[1]) if known else None

    def work(self) -> Work:
        """Prompts of each length: a pass for attention, and every head zeroed."""
        if self._prompts is None:
            return NO_WORK
        parts, conditions = [part for _, part in self._prompts.parts()], self._conditions()
        n_rows = len(self._prompts.io)
        read = (read_under(conditions, self.card, part.tokens.ids.shape) for part in parts)
        attention = scored(self.card, *(part.tokens for part in parts))
        return attention + total(read) + Work(logits=n_rows * (1 + len(conditions)))

    def data(self) -> Sequence[Tokens]:
        """The prompts, if the tokenizer has enough single-token names."""
        return [] if self._prompts is None else [self._prompts.tokens]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Score every head: attention, what it copies, and what zeroing it does.

        Returns:
            `head_scores` and `model_scores`, or `absences` where names are split.
        """
        prompts = self._prompts
        model = self.loaded_model()
        gaps = self.gaps(model)
        absences = {"absences": pl.concat(gaps)} if gaps else {}
        if prompts is None:
            return absences
        labels = Labels(card=self.card, tokens=prompts.tokens, data="gifts", seed=self.seed)
        base, effects = self._effects(model, prompts, stage(report, "zeroing heads", 0, 2))
        frames = [
            *self._attention(model, prompts, labels, stage(report, "attention", 1, 2)),
            head_scores(effects, None, "io_s_effect", labels),
            *([] if gaps else self._copying(model, prompts)),
        ]
        values = {"io_s_logit_difference": base, "io_over_s": (base > 0).astype(float)}
        expected = {"io_s_logit_difference": 0.0, "io_over_s": 0.5}
        return {
            "head_scores": pl.concat(frames),
            "model_scores": model_scores(values, expected, labels),
            **absences,
        }

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """All without names of one token; what heads copy where their weights do not say it."""
        if self._prompts is None:
            n_names = len(self._names)
            reason = f"only {n_names} of the names are single tokens, {MIN_NAMES} are needed"
            if n_names >= MIN_NAMES:
                reason = "names in sentences are other tokens than the names alone"
            if self.vocabulary.tokenizer is None:
                reason = NO_TOKENIZER
            return [absence(self.card, "s_inhibition", "gifts", reason)]
        try:
            check_shares(model)
        except UserError as error:
            return [absence(self.card, name, "names", str(error)) for name in _COPYING]
        return []

    def _attention(
        self, model: Model, prompts: Prompts, labels: Labels, report: Report
    ) -> list[pl.DataFrame]:
        """Attention from the end to S2, IO and S1."""
        shape = len(prompts.io), self.card.n_layers, self.card.n_heads
        found, expected = ({name: np.empty(shape) for name in _LOOKED_AT} for _ in range(2))
        every = list(prompts.parts())
        for i, (places, part) in enumerate(every):
            at, ids = part.positions, part.tokens.ids
            functions = {name: _between(at["end"], at[to]) for name, to in _LOOKED_AT.items()}
            looked = stream_scores(model, ids, functions, stage(report, "", i, len(every)))
            by_chance = chance(model, ids, functions)
            for name in _LOOKED_AT:
                found[name][places], expected[name][places] = looked[name], by_chance[name]
        return [head_scores(found[name], expected[name], name, labels) for name in _LOOKED_AT]

    def _effects(
        self, model: Model, prompts: Prompts, report: Report
    ) -> tuple[np.ndarray, np.ndarray]:
        """The IO - S logit difference, and its change when each head's z is zero everywhere."""
        every, conditions = heads_of(self.card), self._conditions()
        found, done = np.empty((len(every) + 1, len(prompts.io))), 0
        source = Source(means=None, donor_of=None)
        asked = [*conditions, Condition(name="base", family="s_inhibition", interventions=())]
        with torch.inference_mode():
            for places, part in prompts.parts():
                ids = part.tokens.ids
                max_rows = batch_rows(ids.shape[1], model.device.type)
                for i, rows, hidden in readings(model, ids, asked, source, max_rows):
                    logits = unembed(model, hidden[:, -1]).double().cpu().numpy()
                    row = np.arange(len(logits))
                    gaps = logits[row, part.io[rows]] - logits[row, part.s[rows]]
                    found[i, places[rows]] = gaps
                    done += len(logits)
                    report(done, found.size, "")
        return found[-1], scattered((found[:-1] - found[-1]).T, every, self.card)

    def _conditions(self) -> list[Condition]:
        """Every head zeroed alone."""
        return [
            Condition(
                name=str(head),
                family="s_inhibition",
                interventions=(Intervention(method=Method.ZERO, heads=(head,), positions=None),),
            )
            for head in heads_of(self.card)
        ]

    def _copying(self, model: Model, prompts: Prompts) -> list[pl.DataFrame]:
        ids = sorted(self._names.values())
        labels = Labels(card=self.card, tokens=prompts.tokens, data="names", seed=self.seed)
        return [
            head_scores(values, None, name, labels)
            for name, values in zip(_COPYING, ov_copy_scores(model, ids), strict=True)
        ]


def _between(queries: Tensor, keys: Tensor) -> Score:
    """Attention from one position of every row to one key."""
    return lambda pattern, rows: scores.attention_between(pattern, queries[rows], keys[rows])
