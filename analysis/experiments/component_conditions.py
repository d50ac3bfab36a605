"""Components that are ablated where a sequence ends, and what stands beside that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.components.ablation import Ablation, Mode, cuts, parse_parts
from analysis.components.decomposed import Decomposition, Masks
from analysis.components.evaluation import importances
from analysis.components.importance import ImportanceFunction
from analysis.components.losses import Importances
from analysis.interventions.sweep import on_device
from analysis.text.tokens import Tokens

from .decomposed import Decomposed, DecomposedText
from .heads import parse_heads
from .prediction_rows import TARGET
from .redundancy import AtPosition

RECONSTRUCTION, ABLATED = "reconstruction", "components ablated"
"""Conditions beside the target: all components without the remainders, and without some."""
PUBLISHED = f"{ABLATED}, as published"
"""Under stochastic masks: those of the components are random, not 0."""


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

    def ablation(
        self, tokens: Int[Tensor, "row pos"], found: Importances, within: str | None, seed: int
    ) -> Ablation:
        """What is ablated where sequences end.

        Args:
            tokens: Up to t.
            found: Their importances.
            within: The head that components are cut from, as `L1H4`; None for all.
            seed: Of masks.
        """
        decomposition, n_pos = self.made[0], tokens.shape[1]
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
        self, tokens: Int[Tensor, "row pos"], found: Importances, head: str, seed: int
    ) -> dict[str, tuple[Masks, ...]]:
        """Every condition that is shown side by side.

        Args:
            tokens: Up to t.
            found: Their importances.
            head: The head that components are cut from besides.
            seed: Of masks.

        Returns:
            Draws of masks by name: the target, the reconstruction, the masks of the mode alone if
            it has any, and under them the components ablated, in full and within the head, and in
            the stochastic mode also as published.
        """
        mode, decomposition = Mode(self.mode), self.made[0]
        whole, within = (self.ablation(tokens, found, where, seed) for where in (None, head))
        conditions: dict[str, tuple[Masks, ...]] = {
            TARGET: ({},),
            RECONSTRUCTION: (decomposition.uniform(1.0, 0.0),),
        }
        cut, cut_within = ABLATED, f"{ABLATED} in {head}"
        if mode is Mode.ADVERSARIAL:
            arms = whole.worst({}, whole.removed, within.removed)
            names = (self.baseline, cut, cut_within)
            return conditions | {n: arm.draws for n, arm in zip(names, arms, strict=True)}
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

    def ablation_at(self, t: int, rows: np.ndarray, within: str | None) -> Ablation:
        """What is ablated at a position of some sequences."""
        whole = on_device(self.made[0].model, self.tokens.ids[rows])
        found = self.importances(whole, t + 1)
        return self.ablation(whole[:, : t + 1], found, within, self.seed_of(t))

    def seed_of(self, t: int) -> int:
        """Of the masks at a position."""
        return (self.seed << 16) + t
