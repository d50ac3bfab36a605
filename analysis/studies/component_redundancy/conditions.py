"""Components that are ablated where a sequence ends, and what stands beside that."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.components import ablation
from analysis.components.ablation import Ablation, Arm, Mode, cuts, parse_parts, worst_arms
from analysis.components.decomposed import Decomposition, Masks
from analysis.components.evaluation import importances
from analysis.components.importance import ImportanceFunction
from analysis.components.losses import Importances
from analysis.interventions.heads import parse_heads
from analysis.interventions.passes.sweep import on_device
from analysis.progress import Report
from analysis.questions.decomposed import Decomposed, DecomposedText
from analysis.questions.work import NO_WORK, Work
from analysis.studies.predictions.measures import TARGET
from analysis.studies.redundancy.question import AtPosition
from analysis.text.tokens import Tokens

RECONSTRUCTION, ABLATED = "reconstruction", "components ablated"
"""Conditions beside the target: all components without the remainders, and without some."""
PUBLISHED = f"{ABLATED}, as published"
"""Under stochastic masks: those of the components are random, not 0."""
NOWHERE = "nowhere"
"""Said in place of a head where nothing is cut."""
MOST_KEPT = 2**26
"""What was found is kept for the next question if it holds no more numbers: 256 MiB of masks, or
twice that of what is read in double precision."""


@dataclass(frozen=True, kw_only=True)
class AblatedComponents(Decomposed):
    """A question about components that are ablated where a sequence ends.

    Those of queries write nothing at its last position t, those of keys and values at t - 1.
    """

    components: str
    """As `h.1.attn.q_proj:12,h.1.attn.k_proj:7`."""
    mode: str
    """A value of `Mode`: what all other components are."""
    n_draws: int
    """Of masks in the stochastic modes; of the adversary's starts."""

    @cached_property
    def made(self) -> tuple[Decomposition, ImportanceFunction]:
        """The decomposed model and its causal-importance function."""
        return self.loaded()

    def importances(self, tokens: Int[Tensor, "row pos"], n_pos: int) -> dict[str, Tensor]:
        """Importances of the first tokens of whole sequences: some functions see the rest too.

        None in the mode whose masks do not depend on them.
        """
        if Mode(self.mode) is Mode.DETERMINISTIC:
            return {}
        return {name: g[:, :n_pos] for name, g in importances(*self.made, tokens).items()}

    def searched_work(self, n_tokens: int, n_wheres: int) -> Work:
        """What an adversary runs: every step there and back; nothing in other modes."""
        if Mode(self.mode) is not Mode.ADVERSARIAL:
            return NO_WORK
        each = Work(layers=2.0, gradients=ablation.ASCENT.n_steps) * self.card.n_layers
        logits = Work(logits=2 + 3 * ablation.ASCENT.n_steps)
        return (each + logits) * (n_tokens * n_wheres * self.n_draws)

    @property
    def n_masked(self) -> int:
        """Passes that are shown side by side: `side_by_side`, each with its draws."""
        kinds = {Mode.DETERMINISTIC: 2, Mode.STOCHASTIC: 4}
        return 2 + kinds.get(Mode(self.mode), 3) * self.n_draws

    def ablation(
        self, tokens: Int[Tensor, "row pos"], found: Importances, within: str | None, seed: int
    ) -> Ablation:
        """What is ablated where sequences end.

        Args:
            tokens: Up to t.
            found: Their importances.
            within: The head that components are cut from, as `L1H4`; None for all, or `NOWHERE`.
            seed: Of masks.
        """
        decomposition, n_pos = self.made[0], tokens.shape[1]
        if within == NOWHERE:
            return Ablation(decomposition, tokens, found, {}, self.n_draws, seed)
        heads = None if within is None else [parse_heads([within], self.card)[0][1]]
        last = torch.full((len(tokens),), n_pos - 1, device=tokens.device)
        return Ablation(
            decomposition,
            tokens,
            found,
            cuts(
                decomposition.model,
                parse_parts(self.components, decomposition),
                last,
                n_pos,
                heads,
            ),
            self.n_draws,
            seed,
        )

    def side_by_side(
        self,
        tokens: Int[Tensor, "row pos"],
        found: Importances,
        head: str,
        seed: int,
        worst: Sequence[Arm],
    ) -> dict[str, tuple[Masks, ...]]:
        """Every condition that is shown side by side.

        Args:
            tokens: Up to t.
            found: Their importances.
            head: The head that components are cut from besides.
            seed: Of masks.
            worst: Of an adversary: with nothing cut, components cut in full, and within the head.

        Returns:
            Draws of masks by name: the target, the reconstruction, the masks of the mode alone if
            it has any, and under them the components ablated, in full and within the head, and in
            the stochastic mode also as published.
        """
        mode, decomposition = Mode(self.mode), self.made[0]
        conditions: dict[str, tuple[Masks, ...]] = {
            TARGET: ({},),
            RECONSTRUCTION: (decomposition.uniform(1.0, 0.0),),
        }
        cut, cut_within = ABLATED, f"{ABLATED} in {head}"
        if mode is Mode.ADVERSARIAL:
            names = (self.baseline, cut, cut_within)
            return conditions | {n: arm.draws for n, arm in zip(names, worst, strict=True)}
        whole, within = (self.ablation(tokens, found, where, seed) for where in (None, head))
        if mode is not Mode.DETERMINISTIC:
            conditions[self.baseline] = whole.base(mode).draws
        conditions[cut] = whole.ablated(mode).draws
        conditions[cut_within] = within.ablated(mode).draws
        if mode is Mode.STOCHASTIC:
            conditions[PUBLISHED] = whole.ablated(Mode.STOCHASTIC_CI).draws
        return conditions

    @property
    def baseline(self) -> str:
        """The condition that ablated components are compared with."""
        mode = Mode(self.mode)
        return TARGET if mode is Mode.DETERMINISTIC else f"{mode.value} masks"

    def baseline_of(self, condition: str) -> str:
        """The condition that a condition is compared with."""
        return self.baseline if condition.startswith(ABLATED) else TARGET


@dataclass(frozen=True, kw_only=True)
class ComponentsAtPosition(AblatedComponents, DecomposedText, AtPosition):
    """The same at one random position of every sequence."""

    n_measured: int
    """The first so many sequences are measured: modes differ in what they cost."""

    @cached_property
    def tokens(self) -> Tokens:
        """The rows that effects are measured on."""
        every = self._windows
        return replace(every, ids=every.ids[::2][: self.n_measured])

    @property
    def together(self) -> Hashable:
        """What an adversary finds at the same positions."""
        return self._asked() if Mode(self.mode) is Mode.ADVERSARIAL else None

    def ablation_at(self, t: int, rows: np.ndarray, within: str | None) -> Ablation:
        """What is ablated at a position of some sequences."""
        whole = on_device(self.made[0].model, self.tokens.ids[rows])
        found = self.importances(whole, t + 1)
        return self.ablation(whole[:, : t + 1], found, within, self.seed_of(t))

    def seed_of(self, t: int) -> int:
        """Of the masks at a position."""
        return (self.seed << 16) + t

    def worst(self, wheres: Sequence[str | None], report: Report) -> dict[int, list[Arm]]:
        """What an adversary finds at every position; nothing in other modes.

        Args:
            wheres: As `within` of `ablation`: what is cut in each arm.
            report: Told the progress.

        Returns:
            Arms by position.
        """
        if Mode(self.mode) is not Mode.ADVERSARIAL:
            return {}
        kept = _kept(self._asked())
        found = dict(kept)
        for i, where in enumerate(wheres):
            if where not in found:
                found |= self._searched((NOWHERE, None) if where in {NOWHERE, None} else (where,))
            report(i + 1, len(wheres), "searches")
        if sum(_size(arm) for arms in found.values() for arm in arms.values()) <= MOST_KEPT:
            kept.update(found)
        return {t: [found[where][t] for where in wheres] for t, _ in self.groups()}

    def _searched(self, wheres: tuple[str | None, ...]) -> dict[str | None, dict[int, Arm]]:
        """Arms by what is cut and by position, all searched for side by side."""
        groups = dict(self.groups())
        asked = [(where, t) for where in wheres for t in groups]
        arms = worst_arms([self.ablation_at(t, groups[t], where) for where, t in asked])
        found: dict[str | None, dict[int, Arm]] = {where: {} for where in wheres}
        for (where, t), arm in zip(asked, arms, strict=True):
            found[where][t] = arm
        return found

    def _asked(self) -> tuple[Hashable, ...]:
        """All that a search depends on beside what is cut."""
        rows, positions = self.tokens.ids.tobytes(), self.positions.tobytes()
        about = self.card.model, self.weights, self.components, self.device, self.dtype
        return rows, positions, *about, self.seed, self.n_draws, ablation.ASCENT


@lru_cache(maxsize=1)
def _kept(_asked: tuple[Hashable, ...]) -> dict[str | None, dict[int, Arm]]:
    """What was found where one question is searched, for others that ask the same."""
    return {}


def _size(arm: Arm) -> int:
    """Numbers in the masks of an arm."""
    return sum(mask.components.numel() for masks in arm.draws for mask in masks.values())
