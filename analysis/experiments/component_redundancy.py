"""Is the value a few tokens back all that a pair of components was for?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Edit, Site, Where
from analysis.components.ablation import Ablation, Arm, Mode, continued
from analysis.components.decomposed import Decomposition, Masks, logits, masked
from analysis.interventions import NOTHING, Condition, Endings, Method, Opening, endings
from analysis.interventions.endings import first_position
from analysis.interventions.staircase import LayerCall, layer_calls, trace

from .component_conditions import ComponentsAtPosition
from .experiment import Report
from .redundancy import SCOPES, ValueRedundancy
from .redundancy_measures import Measured, Read, kl, read

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

    version: ClassVar[int] = 1
    by_sequence: ClassVar[tuple[str, ...]] = ("redundancy", EFFECT, EFFECT_ERROR, HARM)

    within: str | None
    """The head that the components are cut from, as `L1H4`; None for all."""

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compare the conditions.

        Args:
            report: Told the progress.

        Returns:
            `comparisons`, as `ValueRedundancy`, and besides `effect`, `effect_se` and `harm` of
            A, and `kl` of base and A from the target; of an adversary also `adversary_steps`.
        """
        steps: dict[str, list[tuple[int, Sequence[float]]]] = {}

        def measure(t: int, rows: np.ndarray) -> Measured:
            ablation = self.ablation_at(t, rows, self.within)
            base, ablated = (arm(Mode(self.mode)) for arm in (ablation.base, ablation.ablated))
            for name, arm in (("base", base), ("ablated", ablated)):
                steps.setdefault(name, []).append((ablation.tokens.numel(), arm.trajectory))
            return self._measured(ablation, (base, ablated), t)

        frames = {"comparisons": self.rows(self.gathered(measure, report))}
        if Mode(self.mode) is Mode.ADVERSARIAL:
            frames["adversary_steps"] = self._steps(steps)
        return frames

    def _measured(self, ablation: Ablation, arms: tuple[Arm, Arm], t: int) -> Measured:
        """Every number of one position."""
        decomposition, tokens = ablation.decomposition, ablation.tokens
        with torch.inference_mode():
            target = logits(decomposition, tokens, {})[:, -1].double()
            calls = layer_calls(decomposition.model, tokens[:1])
            reads = [
                [
                    read(decomposition.model, self._ended(decomposition, tokens, masks, calls))
                    for masks in arm.draws
                ]
                for arm in arms
            ]
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

    def _ended(
        self,
        decomposition: Decomposition,
        tokens: Int[Tensor, "row pos"],
        masks: Masks,
        calls: tuple[LayerCall, ...],
    ) -> Endings:
        """What one draw computes at t: with nothing else done, then with B."""
        t, method = tokens.shape[1] - 1, Method(self.method)
        removals = [
            Condition(
                name=f"B({scope}) {lag}",
                family="redundancy",
                interventions=(self.unread(method, t - lag, scope),),
            )
            for lag in self.lags(t)
            for scope in SCOPES
        ]
        with masked(decomposition, masks):
            start = _opened(decomposition, tokens, calls)
        later = continued(masks, first_position(removals, t + 1), len(removals))
        with masked(decomposition, later):
            ended = endings(start, removals, NOTHING)
        first = start.endings
        return Endings(
            torch.cat([first.attn_out, ended.attn_out]), torch.cat([first.hidden, ended.hidden])
        )

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


def _opened(
    decomposition: Decomposition, tokens: Int[Tensor, "row pos"], calls: tuple[LayerCall, ...]
) -> Opening:
    """The pass that conditions continue, under the masks that are applied.

    Calls of layers are known before: they are read off a single row, which masks would not fit.
    """
    model = decomposition.model
    kept: dict[Site, dict[int, Tensor]] = {Site.K: {}, Site.V: {}}

    def keep(site: Site) -> Edit:
        def edit(where: Where, tensor: Tensor) -> Tensor:
            kept[site][where.layer] = tensor
            return tensor

        return edit

    base = trace(model, tokens, range(len(model.layers)), {site: keep(site) for site in kept})
    prefix = {layer: (k, kept[Site.V][layer]) for layer, k in kept[Site.K].items()}
    return Opening(model, calls, base, prefix)


def _together(draws: list[Read]) -> Read:
    """All draws: outputs side by side, and the logarithm of mean probabilities."""
    log_p = torch.stack([each.logits.log_softmax(-1) for each in draws])
    return Read(
        torch.stack([each.attn_out for each in draws], dim=2),
        log_p.logsumexp(0) - math.log(len(draws)),
    )


def _probabilities(draws: list[Read], tokens: Int[Tensor, " row"]) -> Float[Tensor, "draw row"]:
    """Of some tokens, with nothing done but the masks."""
    p = torch.stack([each.logits[0].softmax(-1) for each in draws])
    return p.gather(-1, tokens.expand(len(p), -1)[..., None])[..., 0]
