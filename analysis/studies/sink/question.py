"""The sink at position 0: is it the BOS token, does it carry anything, is it needed?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from analysis import scores
from analysis.errors import UserError
from analysis.interventions import Head, Method
from analysis.interventions.averages import Measurement
from analysis.interventions.heads import heads_of, listed
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.stream import Score, chance, stream_scores
from analysis.interventions.passes.sweep import sweep
from analysis.models.load import Model, check_plain
from analysis.progress import Report, stage
from analysis.questions.drawing import Drawing
from analysis.questions.effect_rows import effect_rows, head_effects
from analysis.questions.halves import strongest_first
from analysis.questions.rows import (
    Labels,
    absence,
    head_scores,
    joined,
    layer_profiles,
    model_scores,
)
from analysis.questions.text_sweep import batch_rows
from analysis.questions.work import Work, passes, predicted, scored, swept, usual_heads
from analysis.text.sources import text_rows
from analysis.text.tokens import NO_TOKENIZER, Tokens, delimiter_ids

from .conditions import OTHER_VALUE, OWN, Plan, bands, removed
from .data import BOS_FIRST, WORD_FIRST, queries, repeated_and_fresh, two_by_two
from .measures import attention_to, places, resting_scores
from .moved import other_values
from .passes import carried, resting_outputs, scores_under, stream_sizes

MIN_TOKENS = 8
"""Shorter sequences leave no queries after the middle, or no position to compare 0 with."""

NO_BOS = "the sequences start without BOS: position 0 holds an ordinary token"
ONE_HEAD = "the model has a single head: there is no other to compare it with"


@dataclass(frozen=True, kw_only=True)
class BosSink(Drawing):
    """What happens at position 0, and what for?

    The heads that interventions act on are chosen on the even sequences.
    """

    version: ClassVar[int] = 3

    bos: bool
    """Whether there is a BOS to put at position 0."""
    n_sequences: int
    """Of text, and of random blocks."""
    n_tokens: int
    """Length of each text sequence, with the BOS."""
    moved_to: int
    """The position in the middle that holds BOS instead of position 0."""
    n_top: int
    """Heads that interventions act on jointly, the strongest sinks."""
    n_draws: int
    """Random positions, other values and layer-matched sets of heads, to compare with."""
    block_len: int
    """Random tokens in the block that is shown twice."""

    @cached_property
    def _designs(self) -> dict[str, Tokens]:
        """The same text in every design, by name; none without a tokenizer."""
        if self.vocabulary.tokenizer is None:
            return {}
        shape = self.n_sequences, self.n_tokens + self.bos
        text = text_rows(self.text, self.vocabulary, shape, bos=self.bos, seed=self.seed, room=1)
        return two_by_two(text, self.moved_to) if self.bos else {WORD_FIRST: text}

    @property
    def _main(self) -> str:
        """The design of all measures that need only one."""
        return BOS_FIRST if self.bos else WORD_FIRST

    @cached_property
    def _repeats(self) -> dict[str, Tokens]:
        """A random block shown twice, and the same block followed by a fresh one."""
        bos = self.vocabulary.bos if self.bos else ()
        return repeated_and_fresh(self.pool, bos, (self.n_sequences, self.block_len), self.seed)

    def work(self) -> Work:
        """Designs and blocks scored and read, and every removal; the heads are usual ones."""
        card, repeats = self.card, tuple(self._repeats.values())
        found = scored(card, *repeats) + passes(card, *repeats)
        if not self._designs:
            return found
        main, plan = self._designs[self._main], self._plan_of(usual_heads(card, self.n_top))
        others = len(plan.other_values())
        values = passes(card, main) * (1 + others) + predicted(main) * (3 + others)
        read = passes(card, main) * 9 + passes(card, self._designs[WORD_FIRST])
        removals = swept(plan.conditions(), card, main.ids.shape, Metrics.LEAN)
        return found + scored(card, *self._designs.values()) + read + values + removals

    def data(self) -> Sequence[Tokens]:
        """The designs that can be made, and the random blocks."""
        return [*self._designs.values(), *self._repeats.values()]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure everything about the sink that the model's data can test.

        Returns:
            `head_scores`, and where there is text `head_effects`, `layer_profiles`,
            `model_scores`, `ablations`, `ablation_effects` and `ablation_means`; `absences` for
            what cannot be tested.

        Raises:
            UserError: Sequences are too short, or too many heads are asked for.
        """
        self._check()
        model = self.loaded_model()
        frames = [self._resting(model, stage(report, "random blocks", 0, 8))]
        frames += [{"absences": gap} for gap in self.gaps(model)]
        if not self._designs:
            return joined(frames)
        masses = self._masses(model, stage(report, "attention", 1, 8))
        plan = self._plan(masses[self._main]["sink_mass"])
        frames += [
            {"head_scores": self._mass_rows(model, masses)},
            *self._sizes(model, plan),
            self._moving(model, plan),
            *self._effects(model, plan, report),
        ]
        return joined(frames)

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """What takes text, a BOS, or heads that write what they attend to.

        Raises:
            UserError: As in `run`.
        """
        self._check()
        if self.vocabulary.tokenizer is None:
            return [absence(self.card, "sink_mass", "text", NO_TOKENIZER)]
        gaps = [] if self.bos else [absence(self.card, "attention_to_middle", "text", NO_BOS)]
        if len(heads_of(self.card)) < 2:
            gaps.append(absence(self.card, "kl_base_ablated of other heads", "text", ONE_HEAD))
        if (why := _not_plain(model)) is not None:
            gaps.append(absence(self.card, "carried_over_residual", "text", why))
        return gaps

    def _check(self) -> None:
        n_heads = len(heads_of(self.card))
        if self.n_tokens < MIN_TOKENS or not 0 < self.moved_to < self.n_tokens - 1:
            raise UserError(
                f"expected at least {MIN_TOKENS} tokens and a middle inside them, got "
                f"{self.n_tokens} and {self.moved_to}; use longer sequences"
            )
        if not 0 < self.n_top <= max(1, n_heads // 2):
            raise UserError(
                f"expected from 1 to {max(1, n_heads // 2)} top heads, so that as many are left to "
                f"compare with, got {self.n_top}; choose a number in that range"
            )

    def _labels(self, data: str) -> Labels:
        tokens = {**self._designs, **self._repeats}[data]
        return Labels(card=self.card, tokens=tokens, data=data, seed=self.seed)

    def _scored(
        self, model: Model, data: str, functions: dict[str, Score], report: Report
    ) -> pl.DataFrame:
        """Rows of scores whose values nobody else needs."""
        labels = self._labels(data)
        ids = {**self._designs, **self._repeats}[data].ids
        found = stream_scores(model, ids, functions, report)
        expected = chance(model, ids, functions)
        return pl.concat(
            head_scores(found[name], expected[name], name, labels) for name in functions
        )

    def _resting(self, model: Model, report: Report) -> dict[str, pl.DataFrame]:
        """Attention to position 0 from tokens without and with an earlier copy."""
        frames: list[pl.DataFrame] = []
        n_bos = int(self.bos)
        for index, (data, tokens) in enumerate(self._repeats.items()):
            compared = queries(tokens.ids, n_bos, self.block_len)
            functions = resting_scores(*compared)
            functions["induction"] = lambda p, _: scores.induction_score(p, n_bos)
            part = stage(report, "random blocks", index, len(self._repeats))
            frames.append(self._scored(model, data, functions, part))
            written = resting_outputs(model, tokens.ids, *compared)
            frames.append(head_scores(written, None, "resting_output", self._labels(data)))
        return {"head_scores": pl.concat(frames)}

    def _masses(self, model: Model, report: Report) -> dict[str, dict[str, np.ndarray]]:
        """Attention to position 0 and to the middle, in every design."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for index, (name, tokens) in enumerate(self._designs.items()):
            functions = self._mass_functions()
            part = stage(report, "attention", index, len(self._designs))
            found[name] = stream_scores(model, tokens.ids, functions, part)
        return found

    def _mass_functions(self) -> dict[str, Score]:
        middle = self.moved_to
        return {
            "sink_mass": lambda p, _: scores.bos_score(p),
            "attention_to_0": lambda p, _: attention_to(p, 0, middle),
            "attention_to_middle": lambda p, _: attention_to(p, middle, middle),
        }

    def _mass_rows(self, model: Model, masses: dict[str, dict[str, np.ndarray]]) -> pl.DataFrame:
        frames: list[pl.DataFrame] = []
        for data, found in masses.items():
            labels = self._labels(data)
            expected = chance(model, self._designs[data].ids, self._mass_functions())
            frames += [head_scores(found[name], expected[name], name, labels) for name in expected]
        return pl.concat(frames)

    def _plan(self, masses: np.ndarray) -> Plan:
        """Heads by their mass on the even sequences, and random positions of the first half."""
        every, order = heads_of(self.card), strongest_first(listed(masses, self.card))
        return self._plan_of([every[i] for i in order[: self.n_top]])

    def _plan_of(self, top: Sequence[Head]) -> Plan:
        """The same for some heads."""
        places = range(1, self.n_tokens // 2)
        rng = Random(f"positions/{self.seed}")
        return Plan(
            top=tuple(sorted(top)),
            every=heads_of(self.card),
            elsewhere=tuple(rng.sample(places, min(self.n_draws, len(places)))),
            n_draws=self.n_draws,
            seed=self.seed,
        )

    def _sizes(self, model: Model, plan: Plan) -> list[dict[str, pl.DataFrame]]:
        """Norms of values, of what heads read from position 0, and of the residual stream."""
        ids, labels = self._designs[self._main].ids, self._labels(self._main)
        sizes = stream_sizes(model, ids, plan.elsewhere)
        stream = sizes["residual_norm"][..., 1:].mean(-1)[..., None]
        found = carried(model, ids, plan.elsewhere, plain=_not_plain(model) is None)
        rows: list[pl.DataFrame] = []
        for name, values in found.items():
            told = values / stream if name.startswith("carried_norm") else values
            about = name.replace("carried_norm", "carried_over_residual")
            rows.append(head_scores(told, None, about, labels))
        tables = [{"head_scores": pl.concat(rows)}, self._norms(sizes, labels)]
        none = np.isnan(listed(found["value_norm_ratio"], self.card)).all(0)
        if none.any():
            heads = ", ".join(str(plan.every[i]) for i in np.flatnonzero(none))
            why = f"values of {heads} are 0 at all positions but the first"
            tables.append({"absences": absence(self.card, "value_norm_ratio", "text", why)})
        if self._main != WORD_FIRST:
            bare = stream_sizes(model, self._designs[WORD_FIRST].ids, plan.elsewhere)
            tables.append(self._norms(bare, self._labels(WORD_FIRST)))
        return tables

    def _norms(self, sizes: dict[str, np.ndarray], labels: Labels) -> dict[str, pl.DataFrame]:
        """Norm of the residual stream by layer and position, and what is large at position 0."""
        values = {
            f"{name} L{layer}": sizes[name][:, layer]
            for layer in range(self.card.n_layers)
            for name in sizes
            if name != "residual_norm"
        }
        return {
            "layer_profiles": layer_profiles(sizes["residual_norm"], "residual_norm", labels),
            "model_scores": model_scores(values, {}, labels),
        }

    def _moving(self, model: Model, plan: Plan) -> dict[str, pl.DataFrame]:
        """Where attention goes once position 0 is masked in the top heads, or in all."""
        tokens, labels = self._designs[self._main], self._labels(self._main)
        marked = torch.from_numpy(np.isin(tokens.ids, delimiter_ids(self.vocabulary)))

        def score(pattern: Tensor, rows: slice) -> dict[str, Tensor]:
            return places(pattern, marked[rows].to(pattern.device))

        base = scores_under(model, tokens.ids, (), score)
        rows = [head_scores(v, None, f"attention_to_{p}", labels) for p, v in base.items()]
        changes: list[pl.DataFrame] = []
        for who, heads in (("top", plan.top), ("all", plan.every)):
            masked = scores_under(model, tokens.ids, removed(Method.MASK_KEY, 0, heads), score)
            for place, values in masked.items():
                at = [(values - base[place])[:, head.layer, head.head] for head in heads]
                changes.append(
                    head_effects(
                        np.stack(at, axis=1)[None],
                        [f"mask_key 0 of {who}"],
                        heads,
                        f"attention_to_{place}",
                        labels,
                    )
                )
        return {"head_scores": pl.concat(rows), "head_effects": pl.concat(changes)}

    def _effects(self, model: Model, plan: Plan, report: Report) -> list[dict[str, pl.DataFrame]]:
        """What removals change, and what other values would, over the same positions."""
        ids, labels = self._designs[self._main].ids, self._labels(self._main)
        measured = Measurement(
            scopes=bands(ids.shape),
            metrics=Metrics.LEAN,
            max_rows=batch_rows(self.n_tokens, model.device.type),
        )
        first, then = (stage(report, "ablations", index, 4) for index in (2, 3))
        removals = sweep(model, ids, plan.conditions(), OWN, measured, first)
        moved = other_values(model, ids, plan.other_values(), measured, self.seed, then)
        controls = effect_rows(moved, labels)
        named = controls["ablations"].with_columns(method=pl.lit(OTHER_VALUE))
        return [effect_rows(removals, labels), {**controls, "ablations": named}]


def _not_plain(model: Model) -> str | None:
    """Why heads do not write what they attend to; None if they do."""
    try:
        check_plain(model)
    except UserError as error:
        return str(error)
    return None
