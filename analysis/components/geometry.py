"""What components are by their weights: per-head norms, spread, and query-key contributions."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Site
from analysis.errors import UserError
from analysis.models.card import ModelCard
from analysis.models.load import Model

from .decomposed import Components


def head_vectors(
    parts: Components, site: Site, card: ModelCard
) -> Float[Tensor, "component head d_head"]:
    """What each component writes to each head (q), or to each key-value head (k, v).

    Args:
        parts: Components of a projection of queries, keys or values.
        site: Q, K or V.
        card: The model's sizes.

    Returns:
        U, split by head; for o_proj, V, whose columns the heads feed.
    """
    heads = card.n_kv_heads if site in {Site.K, Site.V} else card.n_heads
    factor = parts.V.T if site is Site.Z else parts.U
    return factor.detach().reshape(parts.n, heads, -1)


def head_norms(parts: Components, site: Site, card: ModelCard) -> Float[Tensor, "component head"]:
    """Frobenius norm of every component's weight in the rows, or for o columns, of each head.

    Args:
        parts: Components of a projection.
        site: Which projection.
        card: The model's sizes.

    Returns:
        Norm of `V_c U_c` restricted to a head: the product of the factors' norms.
    """
    other = parts.U if site is Site.Z else parts.V.T
    return head_vectors(parts, site, card).norm(dim=-1) * other.detach().norm(dim=-1)[:, None]


def head_spread(norms: Float[Tensor, "component head"]) -> Float[Tensor, " component"]:
    """Entropy of how a component's squared norm is spread over heads.

    Args:
        norms: Per-head norms.

    Returns:
        Nats: 0 for one head, ln(n_heads) for all alike.
    """
    share = norms.square() / norms.square().sum(-1, keepdim=True).clamp(min=1e-30)
    return torch.special.entr(share).sum(-1)


@dataclass(frozen=True)
class Rotation:
    """Rotary positions: which coordinates of a head turn together, and how fast."""

    first: Int[Tensor, " pair"]
    second: Int[Tensor, " pair"]
    frequency: Float[Tensor, " pair"]
    """Radians a position."""

    @classmethod
    def of(cls, model: Model) -> "Rotation":
        """Of a model whose queries and keys turn over whole heads at plain frequencies.

        Raises:
            UserError: Its positions are other ones.
        """
        config: dict[str, Any] = dict(model.card.config)
        rope: dict[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
        base = config.get("rope_theta") or rope.get("rope_theta")
        kind = rope.get("rope_type", "default")
        normed = any(hasattr(model.attentions[0], name) for name in ("q_norm", "k_norm"))
        partial = config.get("partial_rotary_factor", rope.get("partial_rotary_factor", 1.0))
        if base is None or kind != "default" or normed or partial != 1.0:
            raise UserError(
                "expected rotary positions over whole heads, at plain frequencies and without "
                f"norms of queries and keys, {model.card.architecture} has others; contributions "
                "of components to scores are not defined there"
            )
        d_head, device = model.card.d_head, model.device
        half = torch.arange(d_head // 2, device=device)
        adjacent = bool(config.get("rope_adjacent_pairs"))
        first = 2 * half if adjacent else half
        second = first + 1 if adjacent else half + d_head // 2
        frequency = float(base) ** (-2 * half.double() / d_head)
        return cls(first, second, frequency)


def contributions(
    q: Float[Tensor, "query d_head"],
    k: Float[Tensor, "key d_head"],
    offsets: Int[Tensor, " offset"],
    rotation: Rotation,
) -> Float[Tensor, "offset query key"]:
    """Scaled scores between vectors before rotation, as a function of how far apart they are.

    Args:
        q: What query components write to a head.
        k: What key components write to the head's keys.
        offsets: Query position minus key position.
        rotation: The model's.

    Returns:
        `sum_i (A_i cos(offset theta_i) + B_i sin(offset theta_i)) / sqrt(d_head)`, where
        `A = q1 k1 + q2 k2` and `B = q1 k2 - q2 k1` over the pairs that turn together.
    """
    q1, q2 = q[:, rotation.first], q[:, rotation.second]
    k1, k2 = k[:, rotation.first], k[:, rotation.second]
    angle = offsets.double()[:, None] * rotation.frequency
    cos, sin = angle.cos().to(q.dtype)[:, None], angle.sin().to(q.dtype)[:, None]
    # only the difference of positions matters, so it is the query alone that is turned
    turned_1, turned_2 = q1 * cos - q2 * sin, q2 * cos + q1 * sin
    return (turned_1 @ k1.T + turned_2 @ k2.T) * q.shape[-1] ** -0.5


def pair_contributions(
    query: tuple[Components, Float[Tensor, " component"]],
    key: tuple[Components, Float[Tensor, " component"]],
    offsets: Int[Tensor, " offset"],
    model: Model,
) -> Float[Tensor, "head offset query key"]:
    """What every pair of components adds to a head's scores, as strongly as they usually fire.

    Args:
        query: Components of q_proj, and the mean activation of each where it fires, signed.
        key: The same of k_proj. Without the sign a contribution can mean its opposite.
        offsets: Query position minus key position.
        model: The decomposed model.

    Returns:
        In units of the score before the softmax; key-value heads mapped to the query heads that
        read them.
    """
    card, rotation = model.card, Rotation.of(model)
    q = head_vectors(query[0], Site.Q, card) * query[1][:, None, None]
    k = head_vectors(key[0], Site.K, card) * key[1][:, None, None]
    copies = card.n_heads // card.n_kv_heads
    return torch.stack(
        [
            contributions(q[:, head], k[:, head // copies], offsets, rotation)
            for head in range(card.n_heads)
        ]
    )
