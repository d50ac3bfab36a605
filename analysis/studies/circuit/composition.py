"""How much of what one head reads can be what an earlier head writes, by their weights alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attention import Site
from analysis.errors import UserError
from analysis.interventions import Head
from analysis.interventions.heads import every_name
from analysis.models.load import Model, check_plain, check_shares
from analysis.models.projections import (
    Projection,
    check_linear,
    folded,
    projections,
    projections_of,
    surroundings,
    written_weights,
)
from analysis.progress import Report
from analysis.questions.experiment import Experiment
from analysis.questions.rows import absence
from analysis.text.tokens import Tokens

KINDS = {Site.Q: "q_composition", Site.K: "k_composition", Site.V: "v_composition"}
"""By the input of the later head that reads the earlier one."""


@dataclass(frozen=True)
class Factors:
    """The small factors of every head's circuits in one layer, norms around it folded in.

    Values may be of another width than queries and keys.
    """

    read: dict[Site, Float[Tensor, "head d_model _"]]
    """W_Q, W_K and W_V."""
    root: dict[Site, Float[Tensor, "head _ _"]]
    """R with R^T R = W^T W for each of them: ||W M|| = ||R M|| for every M."""
    write: Float[Tensor, "head _ d_model"]
    """W_O."""
    root_write: Float[Tensor, "head _ _"]
    """R with ||M W_O|| = ||M R^T|| for every M."""


@dataclass(frozen=True, kw_only=True)
class Composition(Experiment):
    """Whose output do a head's queries, keys and values read, by the weights alone?

    For an earlier head with W_OV = W_V W_O and a later one with W_QK = W_Q W_K^T, both acting on
    rows, the compositions are the Frobenius norms of W_OV W_QK^T (keys), W_OV W_QK (queries) and
    W_OV W_OV' (values), over the product of the two norms. The gains of the norms before and behind
    attention, and the mean that a LayerNorm subtracts, are folded into W_Q, W_K and W_V, and into
    W_O; their scales cancel.
    Weights are those before RoPE and before a norm of queries and keys: position-free.
    """

    version: ClassVar[int] = 3

    def data(self) -> Sequence[Tokens]:
        """No tokens: weights alone."""
        return ()

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure every pair of heads in different layers.

        Returns:
            `head_pairs`: value in [0, 1], z-score and rank among all pairs of the same kind; a
            model of one layer has none. `absences` of kinds in which a head has no weights.

        Raises:
            UserError: The architecture names its projections otherwise.

        Source:
            Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
        """
        model = self.loaded_model()
        attend = self.card.attending
        layers: dict[int, Factors] = {}
        silent = ""
        gaps: list[pl.DataFrame] = []
        try:
            check_weights(model)
            every = projections_of(model, attend)
            for layer in attend:
                layers[layer] = factored(model, layer, every[layer])
                report(len(layers), len(attend), "")
            silent = _silent(layers)
        except UserError as error:
            layers, gaps = {}, self._without(str(error))
        frames: list[pl.DataFrame] = []
        for site, kind in KINDS.items():
            rows = _rows(layers, site, kind, self.card.model)
            known = rows.filter(pl.col("value").is_not_nan())
            frames.append(known)
            if n_lost := rows.height - known.height:
                lost = f"{n_lost} of {rows.height} pairs"
                reason = f"{lost} hold a head whose weights are 0: 0 / 0{silent}"
                gaps.append(absence(self.card, kind, "weights", reason))
        found = {"head_pairs": pl.concat(frames)}
        return {**found, "absences": pl.concat(gaps)} if gaps else found

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Every kind, where heads are no product of weights."""
        try:
            check_weights(model)
        except UserError as error:
            return self._without(str(error))
        return []

    def _without(self, reason: str) -> list[pl.DataFrame]:
        return [absence(self.card, kind, "weights", reason) for kind in KINDS.values()]


def check_weights(model: Model) -> None:
    """Make sure that heads read and write the residual stream by products with weights.

    Raises:
        UserError: Something else stands before or behind them, or between them.
    """
    check_plain(model)
    check_linear(model)
    check_shares(model)


def _silent(layers: Mapping[int, Factors]) -> str:
    """Which heads write nothing, in words: their W_V W_O is 0."""
    heads = [
        Head(layer, head)
        for layer, each in layers.items()
        for head, size in enumerate(_norm(each.root[Site.V] @ each.root_write.transpose(1, 2)))
        if size == 0
    ]
    verb = "writes" if len(heads) == 1 else "write"
    return f"; {every_name(heads)} {verb} nothing" if heads else ""


def factors(model: Model, layer: int) -> Factors:
    """Read and factor the weights of one layer's heads."""
    return factored(model, layer, projections(model, layer))


def factored(model: Model, layer: int, parts: Mapping[Site, Projection]) -> Factors:
    """Factor the weights of one layer's heads."""
    norm = surroundings(model, layer).before
    read = {site: folded(part.W, norm).double() for site, part in parts.items()}
    write = written_weights(model, layer).detach().double()
    return Factors(
        read, {site: _root(W) for site, W in read.items()}, write, _root(write.transpose(1, 2))
    )


def compositions(
    earlier: Factors, later: Factors, site: Site
) -> Float[Tensor, "earlier_head later_head"]:
    """The composition of every head of one layer with every head of a later one.

    Only products of d_head x d_head matrices are formed, but for W_O W_Q, W_O W_K or W_O W_V.

    Args:
        earlier: Heads that write.
        later: Heads that read.
        site: With their queries, keys or values.

    Returns:
        In [0, 1]: 1 if all that the earlier head writes lies where the later one reads most; NaN
        where either has no weights.
    """
    middle = torch.einsum("adm,bme->abde", earlier.write, later.read[site])
    through = torch.einsum("acd,abde->abce", earlier.root[Site.V], middle)
    if site is Site.V:
        both = torch.einsum("abce,bfe->abcf", through, later.root_write)
        own = _norm(later.root[Site.V] @ later.root_write.transpose(1, 2))
    else:
        other = Site.K if site is Site.Q else Site.Q
        both = torch.einsum("abce,bfe->abcf", through, later.root[other])
        own = _norm(later.root[Site.Q] @ later.root[Site.K].transpose(1, 2))
    written = _norm(earlier.root[Site.V] @ earlier.root_write.transpose(1, 2))
    return _norm(both) / (written[:, None] * own)


def _root(weight: Float[Tensor, "head rows d_head"]) -> Float[Tensor, "head d_head d_head"]:
    """R with R^T R = W^T W, also where W is not of full rank."""
    values, vectors = torch.linalg.eigh(weight.transpose(1, 2) @ weight)
    return values.clamp(min=0).sqrt()[..., None] * vectors.transpose(1, 2)


def _norm(matrix: Tensor) -> Tensor:
    return matrix.square().sum((-1, -2)).sqrt()


def _rows(layers: Mapping[int, Factors], site: Site, kind: str, model: str) -> pl.DataFrame:
    """Rows of `head_pairs` of one kind."""
    columns: list[np.ndarray] = []
    pairs = ((b, a) for a, b in combinations(layers, 2))
    for later, earlier in sorted(pairs):
        found = compositions(layers[earlier], layers[later], site).cpu().numpy()
        heads = np.indices(found.shape).reshape(2, -1)
        ones = np.ones(found.size)
        columns.append(np.stack([earlier * ones, heads[0], later * ones, heads[1], found.flat]))
    columns = columns or [np.empty((5, 0))]
    from_layer, from_head, to_layer, to_head, value = np.concatenate(columns, axis=1)
    known = value[~np.isnan(value)]
    spread = known.std() if known.size else 0.0
    z = (value - known.mean()) / spread if spread > 0 else np.full(len(value), np.nan)
    frame = pl.DataFrame(
        {
            "model": model,
            "kind": kind,
            "from_layer": from_layer,
            "from_head": from_head,
            "to_layer": to_layer,
            "to_head": to_head,
            "value": value,
            "z": z,
            "rank": (-value).argsort().argsort() + 1,
            "n": known.size,
        }
    )
    places = pl.col("from_layer", "from_head", "to_layer", "to_head")
    counts = pl.col("rank", "n")
    typed = frame.with_columns(places.cast(pl.Int16), counts.cast(pl.Int32))
    return typed.with_columns(pl.col("z").fill_nan(None))
