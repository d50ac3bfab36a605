"""Which ways to switch a head off are the same intervention, and which are traps?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attention import Edit, EnoughError, Site, Taps, Where
from analysis.interventions import NOTHING, Head, Intervention, Method, taps
from analysis.interventions.passes.layers import LayerCall, layer_calls, through
from analysis.interventions.passes.staircase import Trace, trace, walks
from analysis.interventions.passes.sweep import on_device
from analysis.models.load import Model, hidden_states
from analysis.progress import Report
from analysis.questions.rows import head_scores, model_scores
from analysis.questions.text_sweep import TextSweep
from analysis.questions.work import PARTLY, Work, passes
from analysis.text.tokens import Tokens

VARIANTS = ("zero", "uniform", "q_zero", "constant_scores", "unmasked_scores")
"""`unmasked_scores` sets scores to 0 after the causal mask was added: the mask is gone."""


@dataclass(frozen=True, kw_only=True)
class AblationIdentities(TextSweep):
    """How far apart are what every head reads under different ways to switch it off?"""

    version: ClassVar[int] = 2

    def work(self) -> Work:
        """A base, and part of each layer's attention for each variant."""
        n_pos = self.tokens.ids.shape[1]
        called = Work(layers=n_pos * self.card.n_layers)
        return called + passes(self.card, self.tokens) * (1 + PARTLY * len(VARIANTS))

    def data(self) -> Sequence[Tokens]:
        """The measured rows; nothing is averaged over a reference set."""
        return [self.tokens]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compare z under every variant, layer by layer, the rest of the model untouched.

        Returns:
            `head_scores`: the largest difference of z from `uniform`, per head and sequence;
            `model_scores`: attention on future keys, and rows of the softmax that are NaN when
            all scores are -inf.
        """
        model, labels = self.loaded_model(), self.labels()
        card, n = self.card, len(self.tokens.ids)
        shape = (n, card.n_layers, card.n_heads)
        apart = {name: np.full(shape, np.nan) for name in VARIANTS}
        future = {name: np.full(shape[:2], np.nan) for name in VARIANTS}
        ids = on_device(model, self.tokens.ids)
        with torch.inference_mode():
            base, calls = trace(model, ids, range(card.n_layers)), layer_calls(model, ids[:1])
        for layer, n_heads in enumerate(card.heads_by_layer):
            if not n_heads:
                continue
            read = {name: self._read(model, base, calls[layer], (layer, name)) for name in VARIANTS}
            for name, (z, ahead) in read.items():
                difference = (z - read["uniform"][0]).abs().amax((2, 3))
                apart[name][:, layer, :n_heads] = difference.double().numpy()
                future[name][:, layer] = ahead.double().numpy()
            report(layer + 1, card.n_layers, "")
        scores = [
            head_scores(values, None, f"{name}_from_uniform", labels)
            for name, values in apart.items()
            if name != "uniform"
        ]
        values = {f"future_attention_{name}": np.nanmean(mass, 1) for name, mass in future.items()}
        impossible = torch.full((1, self.n_tokens), -torch.inf).softmax(-1)
        values["nan_when_all_scores_are_minus_inf"] = np.full(n, impossible.isnan().double().mean())
        return {
            "head_scores": pl.concat(scores),
            "model_scores": model_scores(values, {}, labels),
        }

    def _read(
        self, model: Model, base: Trace, call: LayerCall, changed: tuple[int, str]
    ) -> tuple[Float[Tensor, "batch head pos d_head"], Float[Tensor, " batch"]]:
        """What the heads of one layer read, and their mean attention on future keys."""
        read: list[Tensor] = []
        layer, variant = changed
        ahead = torch.zeros(len(base.tokens))

        def watch(where: Where, pattern: Tensor) -> None:
            if where.layer == layer:
                ahead[where.rows] = pattern.triu(1).sum(-1).mean((1, 2)).cpu()

        def keep(where: Where, z: Tensor) -> Tensor:
            if where.layer == layer:
                read.append(z.cpu())
                raise EnoughError
            return z

        edits = dict(self._edits(layer, variant, len(base.tokens)))
        change = edits.get(Site.Z)
        edits[Site.Z] = keep if change is None else lambda where, z: keep(where, change(where, z))
        here = Taps(edits=edits, watch=watch)
        with torch.inference_mode(), suppress(EnoughError):
            if walks(model):
                through(model, layer, call, base.resid_pre[layer], here)
            else:
                hidden_states(model, base.tokens, here)
        return read[0], ahead

    def _edits(self, layer: int, variant: str, n_rows: int) -> dict[Site, Edit]:
        """The variant, at all heads of one layer."""
        if variant in {"zero", "uniform"}:
            heads = tuple(Head(layer, head) for head in range(self.card.heads_by_layer[layer]))
            one = Intervention(method=Method(variant), heads=heads, positions=None)
            return dict(taps([one], NOTHING, n_rows).edits)

        def only_here(change: Edit) -> Edit:
            return lambda where, tensor: change(where, tensor) if where.layer == layer else tensor

        def constant(_where: Where, scores: Tensor) -> Tensor:
            hidden = torch.finfo(scores.dtype).min
            return torch.where(scores > hidden / 2, 0.0, hidden)

        def nothing(_where: Where, tensor: Tensor) -> Tensor:
            return torch.zeros_like(tensor)

        return {
            "q_zero": {Site.Q: only_here(nothing)},
            "constant_scores": {Site.SCORES: only_here(constant)},
            "unmasked_scores": {Site.SCORES: only_here(nothing)},
        }[variant]
