"""What one intervention on one head changes in a prompt that a reader typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attention import Taps, Where
from analysis.errors import UserError
from analysis.interventions import (
    NOTHING,
    Condition,
    Intervention,
    Method,
    Metrics,
    Needs,
    Pooling,
    StandIns,
    check,
    means,
    read_z,
    taps,
)
from analysis.interventions.heads import parse_heads
from analysis.interventions.passes.predictions import differences, predictions
from analysis.interventions.passes.sweep import on_device
from analysis.models.load import Model, hidden_states, unembed
from analysis.progress import Report
from analysis.questions.effect_rows import condition_rows
from analysis.questions.experiment import Experiment
from analysis.questions.rows import Labels
from analysis.questions.work import Work, passes
from analysis.text.prompts import Prompt, check_length, prompt_tokens
from analysis.text.sources import text_rows
from analysis.text.tokens import Tokens

from .measures import TARGET, Outcome, Place, prediction_rows, prompt_rows


@dataclass(frozen=True, kw_only=True)
class PromptProbe(Experiment):
    """Where does a prompt's continuation change when one head is replaced?"""

    version: ClassVar[int] = 2

    text: str
    """The prompt; its tokens are what the answer is stored under."""
    bos: bool
    """Whether it starts with the tokenizer's BOS; positions count it."""
    position: int
    """Position t: what is predicted after it."""
    head: str
    """Such as `L1H2`."""
    method: str
    """A value of `Method`. The donor is one window of the generated text, as long as the
    prompt."""
    positions: tuple[int, ...] | None
    """Of queries or keys, as the method says; None for all."""
    pooling: str
    """A value of `Pooling`: over what the means are taken, for methods that use them."""
    n_reference: int
    """Windows of the generated text, as long as the prompt, that means are taken over."""
    top_k: int = 20
    """Tokens kept that rose most, and as many that fell most."""

    def work(self) -> Work:
        """As it is, and replaced."""
        return passes(self.card, *self.data()) * 2

    @cached_property
    def tokens(self) -> Tokens:
        """The prompt."""
        tokens = prompt_tokens(Prompt("typed", self.text), self.vocabulary, self.bos)
        check_length(tokens.ids.size, self.card.n_ctx, self.card.name)
        return tokens

    @cached_property
    def reference(self) -> Tokens | None:
        """Windows of generated text, for methods that put in something of another text."""
        needs, n_tokens = Method(self.method).needs, self.tokens.ids.size
        if needs is Needs.NOTHING:
            return None
        n_rows = 1 if needs is Needs.DONORS else self.n_reference
        shape = n_rows, n_tokens
        return text_rows("reference", self.vocabulary, shape, bos=self.bos, seed=self.seed, room=2)

    def data(self) -> Sequence[Tokens]:
        """The prompt, and the windows that stand in."""
        return [self.tokens] if self.reference is None else [self.tokens, self.reference]

    @cached_property
    def condition(self) -> Condition:
        """What is done.

        Raises:
            UserError: The model has no such head, or the prompt no such position.
        """
        head, n_pos = parse_heads([self.head], self.card)[0], self.tokens.ids.size
        one = Intervention(method=Method(self.method), heads=(head,), positions=self.positions)
        check((one,), self.card, n_pos)
        if not 0 <= self.position < n_pos:
            raise UserError(
                f"expected a position t from 0 to {n_pos - 1}, the last of the prompt, got "
                f"{self.position}; choose one inside it"
            )
        place = "" if self.positions is None else f" @{','.join(map(str, self.positions))}"
        name = f"{self.method}{place} {self.head}"
        return Condition(name=name, family="single", interventions=(one,))

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Run the prompt as it is and under the intervention.

        Returns:
            `prompts`, `patterns` of the head (`ablated` ones only where they differ),
            `predictions` at t, `ablations`, and `ablation_effects` at every position.
        """
        done = self.condition.interventions
        model = self.loaded_model()
        ids = on_device(model, self.tokens.ids)
        with torch.inference_mode():
            tapping = taps(done, self._stand_ins(model), 1)
            base, pattern = self._pass(model, ids, Taps())
            report(1, 2, "as it is")
            hidden, ablated = self._pass(model, ids, tapping)
            report(2, 2, self.condition.name)
            logits = unembed(model, torch.stack([base, hidden])[:, self.position])
            effects = self._effects(model, ids[0], base, hidden)
        names = (TARGET, self.condition.name)
        outcomes = [
            Outcome(condition=name, baseline=TARGET, logits=row)
            for name, row in zip(names, logits, strict=True)
        ]
        place = Place(
            model=self.card.model,
            vocabulary=self.vocabulary,
            tokens=self.tokens,
            position=self.position,
        )
        labels = Labels(card=self.card, tokens=self.tokens, data="typed", seed=self.seed)
        target = Condition(name=TARGET, family="target", interventions=())
        changed = [] if torch.allclose(pattern, ablated) else [self._pattern("ablated", ablated)]
        return {
            "prompts": prompt_rows(self.tokens, self.vocabulary),
            "patterns": pl.concat([self._pattern("example", pattern), *changed]),
            "predictions": prediction_rows(outcomes, place, self.top_k),
            "ablations": condition_rows([target, self.condition], labels).with_columns(
                baseline=pl.lit(TARGET)
            ),
            "ablation_effects": effects,
        }

    def _stand_ins(self, model: Model) -> StandIns:
        """What the method puts in."""
        if self.reference is None:
            return NOTHING
        if Method(self.method).needs is Needs.DONORS:
            return StandIns(means=None, donors=read_z(model, on_device(model, self.reference.ids)))
        average = means(model, self.reference.ids, Pooling(self.pooling))
        return StandIns(means=average, donors=None)

    def _pass(
        self, model: Model, ids: Tensor, tapping: Taps
    ) -> tuple[Float[Tensor, "pos d_model"], Float[Tensor, "query key"]]:
        """What the unembedding reads, and the head's pattern."""
        ((layer, head),) = parse_heads([self.head], self.card)
        kept: list[Tensor] = []

        def watch(where: Where, pattern: Tensor) -> None:
            if where.layer == layer:
                kept.append(pattern[0, head].cpu())

        return hidden_states(model, ids, replace(tapping, watch=watch))[0], kept[0]

    def _pattern(self, kind: str, pattern: Float[Tensor, "query key"]) -> pl.DataFrame:
        """Rows of `patterns`, on and below the diagonal."""
        ((layer, head),) = parse_heads([self.head], self.card)
        query, key = np.tril_indices(len(pattern))
        about = {"model": self.card.model, "text": self.tokens.text, "kind": kind}
        return pl.DataFrame(
            {"query": query, "key": key, "weight": pattern.numpy()[query, key]}
        ).with_columns(**{k: pl.lit(v) for k, v in about.items()}, layer=layer, head=head)

    def _effects(
        self,
        model: Model,
        ids: Tensor,
        base: Float[Tensor, "pos d_model"],
        hidden: Float[Tensor, "pos d_model"],
    ) -> pl.DataFrame:
        """Rows of `ablation_effects`; the loss of the last position is unknown."""
        compared = predictions(model, base, ids.roll(-1))
        found = differences(model, compared, hidden[None], Metrics.FULL)
        rows = pl.DataFrame({name: each[0].double().cpu().numpy() for name, each in found.items()})
        return rows.with_row_index("at").select(
            model=pl.lit(self.card.model),
            text=pl.lit(self.tokens.text),
            condition=pl.lit(self.condition.name),
            sequence=pl.lit(0, pl.Int32),
            scope=pl.format("at {}", "at"),
            **{name: pl.col(name) for name in found if name != "loss_change"},
            loss_change=pl.when(pl.col("at") < len(rows) - 1).then("loss_change"),
        )
