"""What components are by their weights: per-head norms, spread, and query-key contributions."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Site, Taps, Where
from analysis.errors import UserError
from analysis.models.files.card import ModelCard
from analysis.models.load import hidden_states

from .ablation import SITES
from .decomposed import Components, Decomposition, reading

PROJECTIONS = {name[0]: site for name, site in SITES.items()}
"""What the weights of attention compute, by their letters: q, k, v and o."""
N_PROBED = 24
"""Tokens on which a model's rotation is made sure of: offsets beyond those that are shown."""
MASKED = -1e30
"""Scores below this are of keys that a query does not see."""


def projections(decomposition: Decomposition) -> dict[tuple[int, str], str]:
    """Names of decomposed weights of attention.

    Args:
        decomposition: The decomposed model.

    Returns:
        By layer and letter (q, k, v, o), in that order; other layers, as of an MLP, are left out.
    """
    model = decomposition.model
    names = {id(model.net.get_submodule(name)): name for name in decomposition.components}
    parts = (
        (layer, letter, getattr(attention, name, None))
        for layer, attention in enumerate(model.attentions)
        for name, letter in zip(SITES, PROJECTIONS, strict=True)
    )
    return {(layer, letter): names[id(p)] for layer, letter, p in parts if id(p) in names}


def n_heads(site: Site, card: ModelCard) -> int:
    """How many heads share a weight of attention: key-value heads for k and v."""
    return card.n_kv_heads if site in {Site.K, Site.V} else card.n_heads


def weight_norms(
    weight: Float[Tensor, "d_out d_in"], site: Site, card: ModelCard
) -> Float[Tensor, " head"]:
    """Frobenius norm of a weight in the rows, or for o in the columns, of each head."""
    rows = weight.T if site is Site.Z else weight
    return rows.reshape(n_heads(site, card), -1).norm(dim=1)


def head_vectors(
    parts: Components, site: Site, card: ModelCard
) -> Float[Tensor, "component head d_head"]:
    """What each component writes to each head (q), or to each key-value head (k, v).

    Args:
        parts: Components of a weight of attention.
        site: Which weight.
        card: The model's sizes.

    Returns:
        U, split by head; of o, V, whose rows the heads feed.
    """
    factor = parts.V.T if site is Site.Z else parts.U
    return factor.detach().reshape(parts.n, n_heads(site, card), -1)


def head_norms(parts: Components, site: Site, card: ModelCard) -> Float[Tensor, "component head"]:
    """Frobenius norm of every component's weight in the rows, or for o columns, of each head.

    Args:
        parts: Components of a weight of attention.
        site: Which weight.
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
    def of(cls, decomposition: Decomposition) -> "Rotation":
        """Of a model whose queries and keys turn over whole heads at plain frequencies.

        Raises:
            UserError: On a few tokens, the scores of a decomposed layer are others.
        """
        card, device = decomposition.model.card, decomposition.model.device
        config: dict[str, Any] = dict(card.config)
        rope: dict[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
        base = config.get("rope_theta") or rope.get("rope_theta") or 10_000.0
        half = torch.arange(card.d_head // 2, device=device)
        adjacent = bool(config.get("rope_adjacent_pairs"))
        first = 2 * half if adjacent else half
        second = first + 1 if adjacent else half + card.d_head // 2
        found = cls(first, second, float(base) ** (-2 * half.double() / card.d_head))
        if not _explains(found, decomposition):
            raise UserError(
                "expected scores of queries and keys that turn over whole heads at plain "
                f"frequencies, {card.architecture} computes others; what components add to its "
                "scores is not defined"
            )
        return found


def _explains(rotation: Rotation, decomposition: Decomposition) -> bool:
    """Whether a rotation makes the model's scores out of what q_proj and k_proj write."""
    model, names = decomposition.model, projections(decomposition)
    n_pos = min(N_PROBED, model.card.n_ctx)
    place = torch.arange(n_pos, device=model.device)
    scores = dict[int, Tensor]()

    def keep(where: Where, tensor: Tensor) -> Tensor:
        scores[where.layer] = tensor[0]
        return tensor

    with torch.no_grad(), reading(model, names.values()) as inputs:
        hidden_states(model, place[None] % model.card.vocab, Taps(edits={Site.SCORES: keep}))
        written = {
            key: model.net.get_submodule(name)(inputs[name])[0].unflatten(
                -1, (-1, model.card.d_head)
            )
            for key, name in names.items()
            if key[1] in "qk"
        }
    for layer, true in scores.items():
        if {(layer, "q"), (layer, "k")} <= written.keys():
            every = pair_contributions(written[layer, "q"], written[layer, "k"], place, rotation)
            ours = every[:, (place[:, None] - place).clamp(min=0), place[:, None], place]
            seen = true > MASKED
            if (ours - true)[seen].abs().max() > 1e-3 * true[seen].abs().max():
                return False
    return True


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
    query: Float[Tensor, "query head d_head"],
    key: Float[Tensor, "key kv_head d_head"],
    offsets: Int[Tensor, " offset"],
    rotation: Rotation,
) -> Float[Tensor, "head offset query key"]:
    """What every pair adds to every head's scores.

    Args:
        query: What components of q_proj write, by head: `head_vectors` times an activation. The
            mean activation where a component fires must keep its sign: without it, a
            contribution can mean its opposite.
        key: The same of k_proj, by key-value head.
        offsets: Query position minus key position.
        rotation: The model's.

    Returns:
        In units of the score before the softmax; key-value heads mapped to the query heads that
        read them.
    """
    copies = query.shape[1] // key.shape[1]
    by_query_head = [
        contributions(query[:, head], key[:, head // copies], offsets, rotation)
        for head in range(query.shape[1])
    ]
    return torch.stack(by_query_head)
