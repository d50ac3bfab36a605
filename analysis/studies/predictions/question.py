"""What a model predicts after short prompts, and under which ablations it predicts otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, Metrics, endings, opening
from analysis.interventions.heads import parse_heads
from analysis.interventions.passes.endings import first_position
from analysis.interventions.passes.predictions import differences, predictions
from analysis.models.load import Model, unembed
from analysis.progress import Report
from analysis.questions.effect_rows import condition_rows
from analysis.questions.experiment import Experiment
from analysis.questions.rows import Labels, absence, interval_columns
from analysis.questions.work import NO_WORK, Work
from analysis.statistics.resampling import bootstrap
from analysis.text.prompts import PROMPTS, prompt_tokens
from analysis.text.sources import text_rows
from analysis.text.tokens import Tokens

from .conditions import TableCondition, table_conditions
from .measures import Outcome, Place, prediction_rows, prompt_rows

SAMPLE = "text"
"""The category of samples of text; others are those of `PROMPTS`."""
SCOPES = {"prompts": "at t of prompts", "text": "at t of text"}
"""Over what effects are averaged: the crafted prompts, or the samples of text."""
AT_T = "at t"
METRICS = ("kl_base_ablated", "kl_ablated_base", "js", "top1_changed", "logit_change")
"""Without the loss: what follows a prompt is not part of it."""


@dataclass(frozen=True, kw_only=True)
class PredictionTables(Experiment):
    """Which tokens rise and fall when a head, or the values before t, are taken away?"""

    version: ClassVar[int] = 2

    head: str
    """Such as `L1H2`: its layer's values are zeroed too."""
    text: str
    """What `read_source` takes: samples are cut from it."""
    bos: bool
    """Whether every prompt starts with the tokenizer's BOS; positions count it."""
    n_samples: int
    """Samples of text beside the crafted prompts."""
    n_tokens: int
    """Length of the windows that samples are cut from, at a random position t."""
    top_k: int = 20
    """Tokens kept that rose most, and as many that fell most."""

    def work(self) -> Work:
        """Every prompt, and each condition from the first position and layer that any touches."""
        found, n = NO_WORK, self.card.n_layers
        for tokens in self.data():
            n_pos = tokens.ids.size
            _, *others = (
                one.condition for one in table_conditions(self._head, n_pos - 1, self.card)
            )
            touched = n_pos - first_position(others, n_pos)
            behind = n - min(one.first_layer for one in others)
            rows = 2 * n * n_pos + len(others) * touched * behind
            logits, compared = 4 + 2 * len(others), len(others)
            found += Work(layers=rows, logits=logits, compared=compared, calls=2 * n + behind)
        return found

    @cached_property
    def _head(self) -> Head:
        return parse_heads([self.head], self.card)[0]

    @cached_property
    def _prompts(self) -> list[tuple[str, Tokens]]:
        """Every prompt and sample once, with its category; some may be too long."""
        every = [(p.category, prompt_tokens(p, self.vocabulary, self.bos)) for p in PROMPTS]
        every += [(SAMPLE, tokens) for tokens in self._samples()]
        return list({tokens.text: (category, tokens) for category, tokens in every}.values())

    def _samples(self) -> list[Tokens]:
        if not 3 <= self.n_tokens <= self.card.n_ctx:
            raise UserError(
                f"expected samples of 3 to {self.card.n_ctx} tokens, got {self.n_tokens}; "
                "choose a length in that range"
            )
        shape = self.n_samples, self.n_tokens
        rows = text_rows(self.text, self.vocabulary, shape, bos=self.bos, seed=self.seed, room=2)
        rng = Random(self.seed)
        ends = [rng.randrange(2, self.n_tokens) for _ in rows.ids]
        return [
            replace(rows, ids=ids[None, : t + 1], name=f"sample {i} of {rows.name}")
            for i, (ids, t) in enumerate(zip(rows.ids, ends, strict=True))
        ]

    @cached_property
    def asked(self) -> list[tuple[str, Tokens]]:
        """Category and tokens of what fits the model's context."""
        n_ctx = self.card.n_ctx
        return [(name, tokens) for name, tokens in self._prompts if tokens.ids.size <= n_ctx]

    def data(self) -> Sequence[Tokens]:
        """One row of tokens a prompt, since their lengths differ."""
        return [tokens for _, tokens in self.asked]

    def categories(self) -> dict[str, str]:
        """By id of a text, what kind of prompt it is."""
        return {tokens.text: category for category, tokens in self.asked}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Predict after every prompt under every condition.

        Returns:
            `predictions`, `prompts`, `ablations`, `ablation_effects`, `ablation_means` and, where
            prompts do not fit the context, `absences`.
        """
        model = self.loaded_model()
        found: list[tuple[pl.DataFrame, pl.DataFrame]] = []
        for i, (_, tokens) in enumerate(self.asked):
            found.append(self._table(model, tokens))
            report(i + 1, len(self.asked), "prompts")
        effects = pl.concat(rows for _, rows in found)
        frames = {
            "predictions": pl.concat(rows for rows, _ in found),
            "prompts": pl.concat(prompt_rows(tokens, self.vocabulary) for tokens in self.data()),
            "ablations": self._condition_rows(),
            "ablation_effects": effects,
            "ablation_means": self._means(effects),
        }
        gaps = self.gaps(model)
        return {**frames, "absences": pl.concat(gaps)} if gaps else frames

    def _table(self, model: Model, tokens: Tokens) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of `predictions` and of `ablation_effects` of one prompt."""
        t = tokens.ids.size - 1
        target, *others = table_conditions(self._head, t, self.card)
        start = opening(model, torch.from_numpy(tokens.ids.astype(np.int64)).to(model.device))
        changed = endings(start, [other.condition for other in others], NOTHING).hidden
        hidden = torch.cat([start.endings.hidden, changed])[:, 0]
        conditions = (target, *others)
        with torch.inference_mode():
            outcomes = [
                Outcome(condition=one.condition.name, baseline=one.baseline, logits=logits)
                for one, logits in zip(conditions, unembed(model, hidden), strict=True)
            ]
            effects = _effects(model, hidden, conditions)
        place = Place(model=self.card.model, vocabulary=self.vocabulary, tokens=tokens, position=t)
        about = {"model": self.card.model, "text": tokens.text, "sequence": 0, "scope": AT_T}
        rows = pl.DataFrame(effects).with_columns(
            *(pl.lit(value).alias(name) for name, value in about.items()),
            loss_change=pl.lit(None, pl.Float64),
        )
        return prediction_rows(outcomes, place, self.top_k), rows

    def _condition_rows(self) -> pl.DataFrame:
        """Rows of `ablations`, positions relative to t since prompts differ in length."""
        longest = max(tokens.ids.size for tokens in self.data())
        every = table_conditions(self._head, longest - 1, self.card)
        labels = Labels(card=self.card, tokens=None, data="prompts", seed=self.seed)
        return condition_rows([one.condition for one in every], labels).with_columns(
            positions=pl.Series([one.where for one in every]),
            baseline=pl.Series([one.baseline for one in every]),
        )

    def _means(self, effects: pl.DataFrame) -> pl.DataFrame:
        """Rows of `ablation_means`: over the crafted prompts, and over the samples."""
        sample = pl.col("text").replace_strict(self.categories()) == SAMPLE
        scope = pl.when(sample).then(pl.lit(SCOPES["text"])).otherwise(pl.lit(SCOPES["prompts"]))
        scoped = effects.with_columns(scope=scope)
        frames: list[pl.DataFrame] = []
        for (name, condition), rows in scoped.group_by("scope", "condition", maintain_order=True):
            found = interval_columns(bootstrap(rows.select(METRICS).to_numpy(), self.seed))
            about = {"condition": pl.lit(condition), "scope": pl.lit(name)}
            frames.append(found.with_columns(**about, metric=pl.Series(METRICS)))
        subject = {"model": pl.lit(self.card.model), "text": pl.lit(None, pl.String)}
        return pl.concat(frames).with_columns(**subject)

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Prompts that the model cannot hold."""
        n_ctx = self.card.n_ctx
        return [
            absence(
                self.card,
                "prediction_table",
                tokens.name,
                f"The prompt has {tokens.ids.size} tokens and the model's context {n_ctx}.",
            )
            for _, tokens in self._prompts
            if tokens.ids.size > n_ctx
        ]


def _effects(
    model: Model,
    hidden: Float[Tensor, "condition d_model"],
    conditions: Sequence[TableCondition],
) -> list[dict[str, Any]]:
    """How every prediction but the target's, the first, differs from that of its baseline."""
    places = {one.condition.name: i for i, one in enumerate(conditions)}
    unknown = torch.zeros(1, dtype=torch.long, device=hidden.device)
    bases = {
        name: predictions(model, hidden[places[name]][None], unknown)
        for name in {one.baseline for one in conditions}
    }
    rows: list[dict[str, Any]] = []
    for one, changed in zip(conditions[1:], hidden[1:], strict=True):
        found = differences(model, bases[one.baseline], changed[None, None], Metrics.FULL)
        values = {metric: found[metric].item() for metric in METRICS}
        rows.append({"condition": one.condition.name, **values})
    return rows
