"""What an induction circuit loses without single components, and without several together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from analysis.components.ablation import Part
from analysis.components.decomposed import Decomposition
from analysis.components.evaluation import importances
from analysis.components.geometry import projections
from analysis.components.importance import ImportanceFunction
from analysis.errors import UserError
from analysis.interventions import Head
from analysis.progress import Report, stage
from analysis.questions.decomposed import Decomposed
from analysis.questions.effect_rows import scattered
from analysis.questions.rows import Labels, head_scores
from analysis.questions.work import Work, passes
from analysis.studies.circuit.heads import CircuitExperiment
from analysis.text.tokens import Tokens

from .measures import (
    MATCHED,
    ONE_EACH,
    REST,
    SUM,
    TOP,
    Together,
    component_scores,
    concentration,
    condition,
    set_effects,
)
from .passes import Column, ComponentPasses, Parts, frobenius, matched_sets

SWEPT = 1e-3
"""Components are ablated one by one if their mean importance on the blocks is above this, as that
of one that matters at every thousandth token; all others are ablated in one piece."""

USUAL_SHARE = 0.4
"""Of the components of two layers, those that are ablated one by one: so many of ours."""

SIZES = (1, 3, ONE_EACH, 12, 24)
"""How many of the chosen components are ablated together."""


@dataclass(frozen=True)
class Swept:
    """Components in the order of what they do on the even blocks, the most harmful first."""

    parts: Parts
    facts: Mapping[str, Mapping[Part, float]]
    """`rank`, from 1, and `importance`, the mean, both on the even blocks; and `norm`."""
    even: Float[np.ndarray, "component even column"]
    """What ablating each alone changes on the even blocks."""
    odd: Float[np.ndarray, "component odd column"]
    """And on the odd ones."""


@dataclass(frozen=True, kw_only=True)
class ComponentEffects(Decomposed, CircuitExperiment):
    """What does an induction circuit lose when components of its two layers are ablated?

    Components of q, k, v and o of the layers of the previous-token head and of the first induction
    head are ablated at all positions, alone and together; all other masks are 1, with the
    remainder, so that the base is the model itself. They are ranked on the even blocks by what they
    take from the induction head, and everything that is told is measured on the odd blocks.
    """

    version: ClassVar[int] = 2

    n_draws: int
    """Random sets of components beside each set of chosen ones."""

    @cached_property
    def tested_on(self) -> Tokens:
        """The odd blocks."""
        return replace(self.repeated, ids=self.repeated.ids[1::2])

    def data(self) -> Sequence[Tokens]:
        """The even blocks, that components are chosen on, and the odd ones."""
        return [replace(self.repeated, ids=self.repeated.ids[::2]), self.tested_on]

    def work(self) -> Work:
        """A pass from the earlier layer on for a usual share of both layers' components.

        How many matter on the blocks is known once their importances are.
        """
        at = self.heads.previous.layer, self.heads.copiers[0].layer
        decomposition, _ = self.loaded()
        found = projections(decomposition).items()
        n_parts = sum(decomposition.components[n].n for (layer, _), n in found if layer in at)
        n_draws = len(SIZES) * (1 + self.n_draws)
        first, then = self.data()
        sets = USUAL_SHARE * n_parts * (first.ids.size + then.ids.size) + n_draws * then.ids.size
        layers = sets * (self.card.n_layers - at[0])
        return passes(self.card, first, then) * 2 + Work(layers=layers, logits=sets / 2)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Ablate.

        Returns:
            `component_scores`: effects of components alone; `ablations`, `ablation_effects`,
            `ablation_means` (loss) and `head_effects`: of several together; `head_scores`: both
            heads' scores as they are, and how few components carry the effects on every head.

        Raises:
            UserError: The layers are not decomposed, or none of their components matters.
        """
        decomposition, function = self.loaded()
        with torch.inference_mode():
            halves = [self.passes(decomposition, tokens) for tokens in self.data()]
            importance = self.importance(halves[0], function)
            swept = self._swept(halves, importance, report)
            rest = tuple(part for part, mean in importance.items() if mean <= SWEPT)
            together = self._together(halves[1], swept, rest, report)
            (base,) = halves[1].base
        columns, heads = halves[1].columns, (self.heads.previous, self.heads.copiers[0])
        places = {name: place for place, name in projections(decomposition).items()}
        labels = Labels(card=self.card, tokens=self.tested_on, data="repeated", seed=self.seed)
        alone = component_scores(swept.facts, swept.odd, columns, places, labels)
        return {
            "component_scores": alone.with_columns(decomposition=pl.lit(self.decomposition_id)),
            **set_effects(together, heads, columns, labels),
            "head_scores": pl.concat(
                [*_scores(base, columns, heads, labels), *_concentration(swept, columns, labels)]
            ),
        }

    def passes(self, decomposition: Decomposition, tokens: Tokens) -> ComponentPasses:
        """The model as it is on some blocks, from which components are ablated."""
        start = self.start(decomposition.model, tokens, slice(None))
        previous, copier = self.heads.previous.layer, self.heads.copiers[0].layer
        return ComponentPasses(decomposition, start, previous, copier)

    def importance(
        self, passes: ComponentPasses, function: ImportanceFunction
    ) -> dict[Part, float]:
        """Mean importance of every component of both layers' attention.

        Raises:
            UserError: None of their weights is decomposed.
        """
        layers = (passes.previous, passes.copier)
        asked = [n for (at, _), n in projections(passes.decomposition).items() if at in layers]
        if not asked:
            raise UserError(
                f"expected components of the attention of layers {layers[0]} and {layers[1]}, "
                f"decomposed are only {', '.join(passes.decomposition.components)}; decompose those"
            )
        found = importances(passes.decomposition, function, passes.start.tokens)
        means = {name: found[name].mean((0, 1)).tolist() for name in asked}
        return {Part(name, i): mean for name, each in means.items() for i, mean in enumerate(each)}

    def _swept(
        self, halves: Sequence[ComponentPasses], importance: Mapping[Part, float], report: Report
    ) -> Swept:
        """Ablate each component that matters alone, and rank them on the even blocks."""
        parts = [part for part, mean in importance.items() if mean > SWEPT]
        if not parts:
            raise UserError(
                f"expected components that matter on random blocks, all of {self.decomposition} "
                f"have a mean importance of at most {SWEPT:g} there; train it longer"
            )
        even, odd = (
            half.effects([(part,) for part in parts], stage(report, "single components", i, 3))
            for i, half in enumerate(halves)
        )
        column = halves[0].columns.index(("induction", self.heads.copiers[0]))
        order = np.argsort(even[:, :, column].mean(1), kind="stable")
        ranked = tuple(parts[i] for i in order)
        weights = halves[0].decomposition.components
        norms = {name: frobenius(weights[name]).tolist() for name in {p.layer for p in parts}}
        facts = {
            "rank": {part: i + 1.0 for i, part in enumerate(ranked)},
            "importance": {part: importance[part] for part in ranked},
            "norm": {part: norms[part.layer][part.component] for part in ranked},
        }
        return Swept(ranked, facts, even[order], odd[order])

    def _together(
        self, half: ComponentPasses, swept: Swept, rest: Parts, report: Report
    ) -> Together:
        """Ablate chosen components together, random ones, and all those that are not swept."""
        sizes = [size for size in SIZES if size <= len(swept.parts)]
        top = {size: swept.parts[:size] for size in sizes}
        sets = [(condition(TOP, size), parts) for size, parts in top.items()]
        for size, parts in top.items():
            drawn = matched_sets(parts, swept.facts["norm"], self.n_draws, self.seed)
            sets += [(condition(MATCHED, size, i), others) for i, others in enumerate(drawn)]
        sets += [(condition(REST, len(rest)), rest)] if rest else []
        last = stage(report, "components together", 2, 3)
        changes = half.effects([parts for _, parts in sets], last)
        sums = np.stack([swept.odd[:size].sum(0) for size in sizes])
        sets += [(condition(SUM, size), parts) for size, parts in top.items()]
        conditions, parts = zip(*sets, strict=True)
        return Together(conditions, parts, np.concatenate([changes, sums]))


def _concentration(
    swept: Swept, columns: Sequence[Column], labels: Labels
) -> Iterator[pl.DataFrame]:
    """How few components carry the effects on each head."""
    norms = np.array(list(swept.facts["norm"].values()))
    found = {
        head: concentration(swept.even[..., i], swept.odd[..., i], norms, ONE_EACH)
        for i, (_, head) in enumerate(columns)
        if head is not None
    }
    for score in next(iter(found.values())):
        values = np.stack([each[score] for each in found.values()], axis=1)
        yield head_scores(scattered(values, list(found), labels.card), None, score, labels)


def _scores(
    base: Float[np.ndarray, "sequence column"],
    columns: Sequence[Column],
    heads: Sequence[Head],
    labels: Labels,
) -> Iterator[pl.DataFrame]:
    """Scores of some heads as they are."""
    for i, (score, head) in enumerate(columns):
        if head is not None and head in heads:
            yield head_scores(scattered(base[:, [i]], [head], labels.card), None, score, labels)
