"""Which query component and which key component make a previous-token head look one back?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attention import Site
from analysis.components.ablation import Part
from analysis.components.decomposed import Components, Decomposition, logits, reading
from analysis.components.geometry import (
    Rotation,
    contributions,
    head_norms,
    head_vectors,
    projections,
)
from analysis.errors import UserError
from analysis.interventions import Head
from analysis.interventions.heads import parse_heads
from analysis.interventions.passes.sweep import on_device
from analysis.models.files.card import ModelCard
from analysis.progress import Report, stage
from analysis.questions.decomposed import DecomposedText
from analysis.questions.text_sweep import batch_rows
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.work import Work, passes
from analysis.text.tokens import Tokens

LAG = 1
"""The key's token is so far before the query's."""
N_LISTED = 20
"""Pairs that are kept, those that add most."""
LARGEST, MATCHED, OUTSIDE = "mean_contribution", "matched_norm", "matched_norm_outside"
"""Pairs by what they add, and random pairs with weights as large as the first one's: of all
components, among which those of the same mechanism recur, and of those in none of the pairs that
are kept."""


@dataclass(frozen=True, kw_only=True)
class PairChoice(DecomposedText):
    """Which pairs of components add most to a head's score from t to t - 1?

    What a pair adds, `a_q(t) a_k(t-1) W(1)`, is averaged over all tokens of the reference rows,
    and the pair with the largest mean is chosen; the other rows, which everything is measured on,
    show how much of it is the luck of the choice.
    """

    version: ClassVar[int] = 3

    head: str
    """The head, as `L1H4`."""
    n_matched: int
    """Random pairs of either kind beside the chosen one, whose components are of the same weights,
    at most."""

    @cached_property
    def place(self) -> Head:
        """The head.

        Raises:
            UserError: The model has no such head.
        """
        return parse_heads([self.head], self.card)[0]

    @cached_property
    def layers(self) -> tuple[str, str]:
        """Names of the weights of queries and keys.

        Raises:
            UserError: They are not decomposed.
        """
        decomposition, _ = self.loaded()
        found, layer = projections(decomposition), self.place.layer
        if not {(layer, "q"), (layer, "k")} <= found.keys():
            raise UserError(
                f"expected components of the queries and keys of layer {layer}, decomposed are "
                f"only {', '.join(decomposition.components)}; decompose those too"
            )
        return found[layer, "q"], found[layer, "k"]

    def work(self) -> Work:
        """A pass over both halves, with logits."""
        size = sum(tokens.ids.size for tokens in self.data())
        return passes(self.card, *self.data()) + Work(logits=size)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Rank the pairs, and draw random ones.

        Returns:
            `component_pairs`: of both halves of the text, `mean_contribution`, the pairs that add
            most, the largest first; `matched_norm`, random pairs of components whose weights are
            about as large as those of the first; and `matched_norm_outside`, such pairs without
            the components of any pair that adds most.
        """
        decomposition, _ = self.loaded()
        halves = {
            tokens.text: self._added(decomposition, tokens, stage(report, "tokens", i, 2))
            for i, tokens in enumerate((self.reference, self.tokens))
        }
        chosen_on = halves[self.reference.text]
        order = chosen_on.flatten().argsort(descending=True, stable=True)[:N_LISTED]
        largest = [divmod(int(i), chosen_on.shape[1]) for i in order]
        query, key = (decomposition.components[name] for name in self.layers)
        norms = _norms(query, Site.Q, self.card), _norms(key, Site.K, self.card)
        near = partial(matched_pairs, largest[0], norms, count=self.n_matched, seed=self.seed)
        pairs = {
            LARGEST: largest,
            MATCHED: near(without=largest[:1]),
            OUTSIDE: near(without=largest),
        }
        rows = [
            (text, measure, i, j, float(added[i, j]))
            for measure, some in pairs.items()
            for i, j in some
            for text, added in halves.items()
        ]
        return {"component_pairs": self._rows(rows)}

    def _added(
        self, decomposition: Decomposition, tokens: Tokens, report: Report
    ) -> Float[Tensor, "query key"]:
        """Mean over tokens of what every pair adds to the score."""
        model = decomposition.model
        query, key = (decomposition.components[name] for name in self.layers)
        total, n = torch.zeros(query.n, key.n, dtype=torch.double, device=model.device), 0
        step = batch_rows(tokens.ids.shape[1], model.device.type)
        for start in range(0, len(tokens.ids), step):
            rows = on_device(model, tokens.ids[start : start + step])
            with torch.no_grad(), reading(model, self.layers) as inputs:
                logits(decomposition, rows, {})
                a_q = query.activations(inputs[self.layers[0]])[:, LAG:].flatten(0, 1)
                a_k = key.activations(inputs[self.layers[1]])[:, :-LAG].flatten(0, 1)
            total += (a_q.T @ a_k).double()
            n += len(a_q)
            report(min(start + step, len(tokens.ids)), len(tokens.ids), "tokens")
        return (total / n * self._unit(decomposition, query, key)).cpu()

    def _unit(
        self, decomposition: Decomposition, query: Components, key: Components
    ) -> Float[Tensor, "query key"]:
        """What every pair adds where both activations are 1."""
        head = self.place.head
        kv_head = head * self.card.n_kv_heads // self.card.n_heads
        q = head_vectors(query, Site.Q, self.card)[:, head]
        k = head_vectors(key, Site.K, self.card)[:, kv_head]
        lag = torch.tensor([LAG], device=q.device)
        return contributions(q, k, lag, Rotation.of(decomposition))[0]

    def _rows(self, rows: list[tuple[str, str, int, int, float]]) -> pl.DataFrame:
        columns = {
            "text": pl.String,
            "measure": pl.String,
            "first_component": pl.Int32,
            "second_component": pl.Int32,
            "value": pl.Float64,
        }
        return pl.DataFrame(rows, schema=columns, orient="row").with_columns(
            model=pl.lit(self.card.model),
            decomposition=pl.lit(self.decomposition_id),
            layer=pl.lit(self.place.layer, pl.Int16),
            first=pl.lit("q"),
            second=pl.lit("k"),
            head=pl.lit(self.head),
            lag=pl.lit(LAG, pl.Int32),
        )

    def chosen(self, answer: Evidence) -> str:
        """The pair that adds most, as `h.1.attn.q_proj:12,h.1.attn.k_proj:7`."""
        return self._named(answer, LARGEST)[0]

    def matched(self, answer: Evidence) -> tuple[str, ...]:
        """The random pairs of all components."""
        return tuple(self._named(answer, MATCHED))

    def outside(self, answer: Evidence) -> tuple[str, ...]:
        """The random pairs outside the mechanism; none where too few components are left."""
        return tuple(self._named(answer, OUTSIDE))

    def _named(self, answer: Evidence, measure: str) -> list[str]:
        rows = answer["component_pairs"].filter(text=self.reference.text, measure=measure)
        ordered = rows.sort("value", descending=True) if measure == LARGEST else rows
        query, key = self.layers
        pairs = ordered.select("first_component", "second_component").iter_rows()
        return [f"{Part(query, i)},{Part(key, j)}" for i, j in pairs]


def matched_pairs(
    chosen: tuple[int, int],
    norms: tuple[Float[Tensor, " query"], Float[Tensor, " key"]],
    *,
    without: Sequence[tuple[int, int]],
    count: int,
    seed: int,
) -> list[tuple[int, int]]:
    """Random pairs of components that are about as large as two chosen ones.

    Args:
        chosen: A query and a key component.
        norms: Frobenius norm of every query and every key component's weight.
        without: Pairs whose query and key components are left out.
        count: How many pairs.
        seed: Of who is paired with whom.

    Returns:
        Pairs of the `count` other query components, and of the `count` other key components, that
        are nearest in norm; fewer where there are not so many.
    """
    nearest: list[list[int]] = []
    for one, norm, left_out in zip(chosen, norms, zip(*without, strict=True), strict=True):
        order = (norm - norm[one]).abs().argsort(stable=True).tolist()
        nearest.append([i for i in order if i not in {one, *left_out}][:count])
    rng = np.random.default_rng(seed)
    queries, keys = (rng.permutation(each).tolist() for each in nearest)
    return list(zip(queries, keys, strict=False))


def _norms(parts: Components, site: Site, card: ModelCard) -> Float[Tensor, " component"]:
    """Frobenius norm of every component's weight."""
    return head_norms(parts, site, card).norm(dim=1).cpu()
