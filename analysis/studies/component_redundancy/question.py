"""Is the value a few tokens back all that a pair of components was for?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.components.ablation import Ablation, Arms, Mode
from analysis.components.decomposed import Masks, masked
from analysis.components.stacking import continued, stacks
from analysis.interventions import NOTHING, Condition, Endings, Method, Opening, endings, opening
from analysis.interventions.passes.endings import continues, first_position, opened
from analysis.models.load import unembed
from analysis.progress import Report
from analysis.questions.work import NO_WORK, Work, passes
from analysis.studies.redundancy.measures import Measured, Read, kl, read
from analysis.studies.redundancy.question import SCOPES, ValueRedundancy

from .conditions import MOST_KEPT, NOWHERE, ComponentsAtPosition

EFFECT = "effect"
"""Change of the probability of the token that the target predicts, averaged over draws."""
EFFECT_ERROR = "effect_se"
"""Standard error of that mean, over draws."""
HARM = "harm"
"""How much farther than the base A is from the target: KL(target || A) - KL(target || base)."""


@dataclass(frozen=True, kw_only=True)
class ComponentRedundancy(ComponentsAtPosition, ValueRedundancy):
    """Does ablating a pair of components make the value at t - o redundant?

    As `ValueRedundancy`, where A ablates the components at t and t - 1, and all conditions are
    under the masks of a mode: base and B under those of the base, A and A+B under those of A.
    Numbers of attention outputs are averaged over draws; of predictions, probabilities are.
    """

    version: ClassVar[int] = 7
    by_sequence: ClassVar[tuple[str, ...]] = (
        *ValueRedundancy.by_sequence,
        EFFECT,
        EFFECT_ERROR,
        HARM,
    )

    within: str | None
    """The head that the components are cut from, as `L1H4`; None for all."""

    def work(self) -> Work:
        """Both arms of every draw, each with all removals; and what an adversary searches."""
        whole = Mode(self.mode) is Mode.DETERMINISTIC
        found = NO_WORK if whole else passes(self.card, self.tokens)
        for t, rows in self.groups():
            draws = 2 * self.n_draws * len(rows)
            opened = self.opened_work(t, len(rows) + draws // (2 if whole else 1))
            found += opened + self.ended_work(t, draws, self._removals(t))
            found += self.searched_work((t + 1) * len(rows), 2)
        return found

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compare the conditions.

        Returns:
            `comparisons`, as `ValueRedundancy`, and besides `effect`, `effect_se` and `harm` of
            A, and `kl` of base and A from the target; of an adversary also `adversary_steps`.
        """
        steps: dict[str, list[tuple[int, Sequence[float]]]] = {}
        worst = self.worst((NOWHERE, self.within), report)

        def measure(t: int, rows: np.ndarray) -> Measured:
            ablation = self.ablation_at(t, rows, self.within)
            arms = Arms.of(*worst[t]) if worst else ablation.arms(Mode(self.mode))
            for name, trajectory in arms.trajectories.items():
                steps.setdefault(name, []).append((ablation.tokens.numel(), trajectory))
            return self._measured(ablation, arms, t)

        frames = {"comparisons": self.rows(self.gathered(measure, report))}
        if Mode(self.mode) is Mode.ADVERSARIAL:
            frames["adversary_steps"] = self._steps(steps)
        return frames

    def _measured(self, ablation: Ablation, arms: Arms, t: int) -> Measured:
        """Every number of one position."""
        model = ablation.decomposition.model
        with torch.inference_mode():
            start = opening(model, ablation.tokens)
            continues(model)  # a measurement, which no mask may disturb
            target = unembed(model, start.endings.hidden[0]).double()
            reads = [self._read(ablation, draws, start) for draws in (arms.base, arms.ablated)]
            plain, after = (_together(each) for each in reads)
            found = self.compared(plain, after, t)
            far = [kl(target, each.logits[0]) for each in (plain, after)]
            found[None, "target", "base", None, "kl"], found[None, "target", "A", None, "kl"] = far
            found[None, "base", "A", None, HARM] = far[1] - far[0]
            top = target.argmax(-1)
            base, ablated = (_probabilities(each, top) for each in reads)
        change = ablated - base
        found[None, "base", "A", None, EFFECT] = change.mean(0)
        if len(change) > 1:
            found[None, "base", "A", None, EFFECT_ERROR] = change.std(0) * len(change) ** -0.5
        return found

    def _read(self, ablation: Ablation, draws: Sequence[Masks], start: Opening) -> Read:
        """What is read at t by draw; without masks, only by the first who asks the same."""
        kept = {} if any(draws) else _unmasked(self._without_masks)
        if start.n_pos in kept:
            return kept[start.n_pos]
        found = _by_draw(read(start.model, self._ended(ablation, draws, start)), len(draws))
        if found.size + sum(each.size for each in kept.values()) <= MOST_KEPT:
            kept[start.n_pos] = found
        return found

    @property
    def together(self) -> Hashable:
        """What an adversary finds at the same positions, or what is read without masks."""
        whole = Mode(self.mode) is Mode.DETERMINISTIC
        return self._without_masks if whole else super().together

    @property
    def _without_masks(self) -> tuple[Hashable, ...]:
        """All that reading the model without masks depends on."""
        rows, positions = self.tokens.ids.tobytes(), self.positions.tobytes()
        about = self.card.model, self.head, self.method, self.max_lag, self.device, self.dtype
        return rows, positions, *about

    def _ended(self, ablation: Ablation, draws: Sequence[Masks], target: Opening) -> Endings:
        """What all draws compute at t, one after the other: with nothing else done, then with B."""
        decomposition, t = ablation.decomposition, ablation.tokens.shape[1] - 1
        removals = self._removals(t)
        begin = first_position(removals, t + 1)
        every: list[Endings] = []
        for masks, tokens in stacks(draws, ablation.tokens):
            with masked(decomposition, masks):
                start = opened(decomposition.model, tokens, target.calls) if masks else target
            with masked(decomposition, continued(masks, begin, len(removals))):
                every += [start.endings, endings(start, removals, NOTHING)]
        first, later = every[::2], every[1::2]
        attn_out = (torch.cat([each.attn_out for each in some], 2) for some in (first, later))
        hidden = (torch.cat([each.hidden for each in some], 1) for some in (first, later))
        return Endings(torch.cat(list(attn_out)), torch.cat(list(hidden)))

    def _removals(self, t: int) -> list[Condition]:
        """B at every lag, of all heads and of the one."""
        return [
            Condition(
                name=f"B({scope}) {lag}",
                family="redundancy",
                interventions=(self.unread(Method(self.method), t - lag, scope),),
            )
            for lag in self.lags(t)
            for scope in SCOPES
        ]

    def subject(self) -> dict[str, str | None]:
        """What all rows say of A and B."""
        about = {"head": self.within, "components": self.components, "mode": self.mode}
        return {**about, "method": self.method}

    def _steps(self, found: dict[str, list[tuple[int, Sequence[float]]]]) -> pl.DataFrame:
        """Rows of `adversary_steps`: the mean over all tokens after each step."""
        frames: list[pl.DataFrame] = []
        for arm, trajectories in found.items():
            weights = np.array([n for n, _ in trajectories], dtype=float)
            mean = weights @ np.array([losses for _, losses in trajectories]) / weights.sum()
            steps = np.arange(len(mean), dtype=np.int16)
            frames.append(pl.DataFrame({"arm": [arm] * len(mean), "step": steps, "value": mean}))
        return pl.concat(frames).with_columns(
            model=pl.lit(self.card.model),
            text=pl.lit(self.tokens.text),
            decomposition=pl.lit(self.decomposition_id),
            components=pl.lit(self.components),
        )


@lru_cache(maxsize=1)
def _unmasked(_asked: tuple[Hashable, ...]) -> dict[int, Read]:
    """What the model reads without masks at each position, for others that ask the same."""
    return {}


def _by_draw(rows: Read, n_draws: int) -> Read:
    """What was read in rows that stand one draw after the other."""
    by_draw = (n_draws, -1)
    return Read(rows.attn_out.unflatten(2, by_draw), rows.logits.unflatten(1, by_draw))


def _together(draws: Read) -> Read:
    """All draws: outputs side by side, and the logarithm of mean probabilities."""
    log_p = draws.logits.log_softmax(-1)
    return Read(draws.attn_out, log_p.logsumexp(1) - math.log(log_p.shape[1]))


def _probabilities(draws: Read, tokens: Int[Tensor, " row"]) -> Float[Tensor, "draw row"]:
    """Of some tokens, with nothing done but the masks."""
    p = draws.logits[0].softmax(-1)
    return p.gather(-1, tokens.expand(len(p), -1)[..., None])[..., 0]
