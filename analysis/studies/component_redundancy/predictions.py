"""What a model predicts after short prompts, with a pair of components ablated or whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Taps
from analysis.components.ablation import Ablation, Arm, Mode, parse_parts, worst_arms
from analysis.components.decomposed import Masks, masked
from analysis.components.stacking import stacks
from analysis.interventions.passes.sweep import on_device
from analysis.models.load import Model, hidden_states, unembed
from analysis.questions.work import Work
from analysis.studies.predictions.measures import TARGET, Outcome, Place, prediction_rows
from analysis.studies.predictions.question import AT_T, METRICS, PredictionTables
from analysis.text.tokens import Tokens

from .conditions import ABLATED, NOWHERE, PUBLISHED, RECONSTRUCTION, AblatedComponents


@dataclass(frozen=True, kw_only=True)
class ComponentPredictions(AblatedComponents, PredictionTables):
    """Which tokens rise and fall when components are taken away at t and t - 1?

    Predictions are averaged over draws of masks as probabilities, and logits are the logarithms
    of these. `head` is the head that components are cut from besides.
    """

    version: ClassVar[int] = 4

    def work(self) -> Work:
        """Every prompt under each mask, and what an adversary searches."""
        n_tokens = sum(tokens.ids.size for tokens in self.data())
        whole = Mode(self.mode) is Mode.DETERMINISTIC
        read = Work(layers=self.card.n_layers * n_tokens * (self.n_masked + (not whole)))
        logits = Work(logits=len(self.data()) * self.n_masked)
        return read + logits + self.searched_work(n_tokens, 3)

    @cached_property
    def _known(self) -> dict[str, dict[str, Float[Tensor, " d_vocab"]]]:
        """What `predictions` gave of each prompt, computed for all of one length together."""
        return {}

    @cached_property
    def _alike(self) -> dict[int, Int[np.ndarray, "row pos"]]:
        """Prompts of one length together, by their length."""
        lengths = sorted({tokens.ids.size for tokens in self.data()})
        return {
            n: np.concatenate([each.ids for each in self.data() if each.ids.size == n])
            for n in lengths
        }

    @cached_property
    def _worst(self) -> dict[int, list[Arm]]:
        """What an adversary finds for prompts of each length; nothing in other modes."""
        if Mode(self.mode) is not Mode.ADVERSARIAL:
            return {}
        conditions: list[Ablation] = []
        for n_pos, ids in self._alike.items():
            tokens = on_device(self.made[0].model, ids)
            found = self.importances(tokens, n_pos)
            wheres = (NOWHERE, None, self.head)
            conditions += [self.ablation(tokens, found, where, self.seed) for where in wheres]
        arms = worst_arms(conditions)
        return {n_pos: arms[3 * i : 3 * i + 3] for i, n_pos in enumerate(self._alike)}

    def _table(self, model: Model, tokens: Tokens) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of `predictions` and of `ablation_effects` of one prompt."""
        if tokens.text not in self._known:
            n_pos = tokens.ids.size
            found = self.predictions(self._alike[n_pos], self._worst.get(n_pos, ()))
            alike = [other for other in self.data() if other.ids.size == n_pos]
            for row, other in enumerate(alike):
                self._known[other.text] = {name: each[row] for name, each in found.items()}
        log_p = self._known[tokens.text]
        outcomes = [
            Outcome(condition=name, baseline=self.baseline_of(name), logits=each)
            for name, each in log_p.items()
        ]
        place = Place(
            model=self.card.model,
            vocabulary=self.vocabulary,
            tokens=tokens,
            position=tokens.ids.size - 1,
        )
        effects = [
            {"condition": name, **differences(log_p[self.baseline_of(name)], each)}
            for name, each in log_p.items()
            if name != TARGET
        ]
        about = {"model": self.card.model, "text": tokens.text, "sequence": 0, "scope": AT_T}
        rows = pl.DataFrame(effects).with_columns(
            *(pl.lit(value).alias(name) for name, value in about.items()),
            loss_change=pl.lit(None, pl.Float64),
        )
        return prediction_rows(outcomes, place, self.top_k), rows

    def predictions(
        self, ids: Int[np.ndarray, "row pos"], worst: Sequence[Arm]
    ) -> dict[str, Float[Tensor, "row d_vocab"]]:
        """What is predicted after prompts of one length under every condition.

        Args:
            ids: Token ids; an adversary chooses masks for every token, and does its worst to all
                rows together.
            worst: What an adversary found for them, as `side_by_side` takes it.

        Returns:
            Logarithms of probabilities, averaged over draws before, by condition.
        """
        decomposition, _ = self.made
        tokens = on_device(decomposition.model, ids)
        importances = self.importances(tokens, tokens.shape[1])
        conditions = self.side_by_side(tokens, importances, self.head, self.seed, worst)
        with torch.inference_mode():
            every = {name: self._logits(tokens, draws) for name, draws in conditions.items()}
        return {
            name: each.log_softmax(-1).logsumexp(0) - math.log(len(each))
            for name, each in every.items()
        }

    def _logits(
        self, tokens: Int[Tensor, "row pos"], draws: Sequence[Masks]
    ) -> Float[Tensor, "draw row d_vocab"]:
        """What is predicted after the last position, under every draw of masks."""
        decomposition, _ = self.made
        last: list[Tensor] = []
        for masks, ids in stacks(draws, tokens):
            with masked(decomposition, masks):
                last.append(hidden_states(decomposition.model, ids, Taps())[:, -1])
        every = unembed(decomposition.model, torch.cat(last)).double()
        return every.unflatten(0, (len(draws), -1))

    def _condition_rows(self) -> pl.DataFrame:
        """Rows of `ablations`."""
        names = [TARGET, RECONSTRUCTION]
        names += [] if self.baseline == TARGET else [self.baseline]
        parts = parse_parts(self.components, self.made[0])
        places = ",".join(dict.fromkeys("t" if part.lag == 0 else "t-1" for part in parts))
        sites = ",".join(dict.fromkeys(part.site.value for part in parts))
        rows = [{"condition": name, "site": "", "heads": "", "positions": "none"} for name in names]
        every = ",".join(f"L{self._head.layer}H{i}" for i in range(self.card.n_heads))
        wheres = {ABLATED: every, f"{ABLATED} in {self.head}": self.head}
        if Mode(self.mode) is Mode.STOCHASTIC:
            wheres[PUBLISHED] = every
        rows += [
            {"condition": name, "site": sites, "heads": heads, "positions": places}
            for name, heads in wheres.items()
        ]
        return pl.DataFrame(rows).with_columns(
            model=pl.lit(self.card.model),
            text=pl.lit(None, pl.String),
            family=pl.lit("component table"),
            method=pl.lit(self.mode),
            size=pl.col("heads").str.count_matches("H").cast(pl.Int32),
            receiver=pl.lit(None, pl.String),
            scope=pl.lit("prefill"),
            baseline=pl.Series([self.baseline_of(str(row["condition"])) for row in rows]),
            draw=pl.lit(None, pl.Int32),
        )


def differences(
    base: Float[Tensor, " d_vocab"], other: Float[Tensor, " d_vocab"]
) -> dict[str, float]:
    """How one prediction differs from another.

    Args:
        base: Logarithms of probabilities.
        other: The same of what is compared.

    Returns:
        The columns of `ablation_effects` that need no next token.
    """
    middle = torch.logaddexp(base, other) - math.log(2)
    top = base.argmax()
    to_middle = base.exp() * (base - middle) + other.exp() * (other - middle)
    values = (
        (base.exp() * (base - other)).sum(),
        (other.exp() * (other - base)).sum(),
        to_middle.sum() / 2,
        (other.max() > other[top]).double(),
        other[top] - base[top],
    )
    return {name: float(value) for name, value in zip(METRICS, values, strict=True)}
