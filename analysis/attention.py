"""The one attention function that instruments every architecture.

transformers calls attention through a registry, and hands on the keyword arguments of
`model(...)`. So one registered function sees every layer's `q k v` after RoPE, can replace what
flows through it, and can stream patterns to a watcher without keeping them. Nothing is patched
and no hook stays behind: what a call observes or changes is in its `taps` argument alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.precision import wide

NAME = "headbook"
"""The registered attention implementation: `model.set_attn_implementation(NAME)`."""

CHUNK_ELEMENTS = 2**22
"""Patterns exist for this many elements at a time (16 MiB in float32)."""


class Site(Enum):
    """Where in a layer's attention something is replaced. Heads are always query heads."""

    Q = "q"
    """Queries after RoPE (batch, head, query, d_head)."""

    K = "k"
    """Keys after RoPE, one copy for each query head (batch, head, key, d_head)."""

    V = "v"
    """Values, one copy for each query head (batch, head, key, d_head)."""

    SCORES = "scores"
    """Scaled scores under the causal mask (batch, head, query, key); masked ones are very low."""

    PATTERN = "pattern"
    """Attention after the softmax (batch, head, query, key)."""

    Z = "z"
    """What W_O reads of each head (batch, head, query, d_head)."""


@dataclass(frozen=True)
class Where:
    """Which layer, and which rows of the batch, a tap is looking at."""

    layer: int
    rows: slice


_USED = {"taps", "s_aux", "sinks", "position_bias", "indices", "block_indices"}
_ELSEWHERE = {"position_ids", "cache_position", "position_embeddings"}
"""Tensors that other parts of the model have used already, or that say again what a mask says."""


class EnoughError(Exception):
    """Ends a call of the model once what was wanted of it is known."""


Edit = Callable[[Where, Tensor], Tensor]
"""Returns what stands in for the tensor; returning it as it came changes nothing."""


@dataclass(frozen=True, kw_only=True)
class Taps:
    """What one call of a model observes and replaces."""

    edits: Mapping[Site, Edit] = field(default_factory=dict[Site, Edit])
    """Called once for each layer and chunk of rows."""

    watch: Callable[[Where, Tensor], None] | None = None
    """Sees the pattern (batch, head, query, key) after all edits, a chunk of rows at a time."""

    prefix: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict[int, Any])
    """By layer, keys and values (batch, head, key, d_head) of positions before those that the
    model is called on; keys after RoPE, one copy for each query head."""

    @property
    def explicit(self) -> bool:
        """Whether the pattern must be computed at all."""
        return self.watch is not None or not {Site.SCORES, Site.PATTERN}.isdisjoint(self.edits)

    def edit(self, site: Site, where: Where, tensor: Tensor) -> Tensor:
        """The tensor, or what replaces it at this site."""
        if site not in self.edits:
            return tensor
        return self.edits[site](where, wide(tensor)).to(tensor.dtype)


@dataclass(frozen=True)
class Terms:
    """What a layer adds to plain scaled dot products."""

    scaling: float
    mask: Float[Tensor, "batch_or_one head_or_one query key"] | None
    softcap: float | None = None
    bias: Float[Tensor, "bias_batch head query key"] | None = None
    """Of positions, added to the scaled dot products (Inkling)."""
    sinks: Float[Tensor, "sink_batch head sink_query 1"] | None = None
    """Logits of a key that holds nothing: learned (GPT-OSS), or the query's own (Inkling 2)."""

    def of(self, rows: slice) -> "Terms":
        """The terms of some rows of the batch."""

        def some(term: Tensor | None) -> Tensor | None:
            return term if term is None or term.shape[0] == 1 else term[rows]

        return Terms(self.scaling, some(self.mask), self.softcap, some(self.bias), some(self.sinks))

    @property
    def plain(self) -> bool:
        """Whether the fused kernel knows everything that the layer adds."""
        return self.softcap is None and self.bias is None and self.sinks is None


def attention(
    module: nn.Module,
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch kv_head key d_head"],
    value: Float[Tensor, "batch kv_head key d_value"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch query head d_value"], None]:
    """Attention as every layer of a switched model calls it.

    Args:
        module: The layer's attention module; its `layer_idx` names the layer.
        query: Queries after RoPE.
        key: Keys after RoPE; query head h reads kv head `h // (n_heads / n_kv_heads)`.
        value: Values.
        attention_mask: Additive mask, 0 or very low.
        scaling: Factor of the scores; 1 / sqrt(d_head) by default.
        **kwargs: `taps` (ours), `softcap`, and terms and choices of keys that some architectures
            hand over; what else is no tensor is in the mask already.

    Returns:
        `z` with heads before their width, and no pattern: watch it instead.

    Raises:
        ValueError: The layer hands over a tensor that would not be used.
    """
    unused = [name for name, value in kwargs.items() if isinstance(value, Tensor)]
    if unused := sorted(set(unused) - _USED - _ELSEWHERE):
        raise ValueError(f"expected no tensors but {sorted(_USED)}, got {', '.join(unused)}")
    taps: Taps = kwargs.get("taps") or Taps()
    everything = Where(int(module.layer_idx), slice(0, query.shape[0]))  # pyright: ignore[reportArgumentType]
    n_groups = query.shape[1] // key.shape[1]
    query = taps.edit(Site.Q, everything, query)
    earlier = taps.prefix.get(everything.layer)
    if n_groups > 1 and (earlier or not {Site.K, Site.V}.isdisjoint(taps.edits)):
        key, value = (t.repeat_interleave(n_groups, dim=1) for t in (key, value))
        n_groups = 1
    if earlier:
        key, value = (
            torch.cat((before.to(now.dtype), now), dim=2)
            for before, now in zip(earlier, (key, value), strict=True)
        )
    key, value = taps.edit(Site.K, everything, key), taps.edit(Site.V, everything, value)
    sinks: Tensor | None = kwargs.get("s_aux", kwargs.get("sinks"))
    terms = Terms(
        query.shape[-1] ** -0.5 if scaling is None else scaling,
        _chosen(module, attention_mask, key, kwargs),
        kwargs.get("softcap"),
        kwargs.get("position_bias"),
        sinks if sinks is None or sinks.ndim == 4 else sinks.view(1, -1, 1, 1),
    )
    if terms.plain and not taps.explicit:
        z = F.scaled_dot_product_attention(
            query, key, value, terms.mask, scale=terms.scaling, enable_gqa=n_groups > 1
        )
    else:
        z = _explicit(query, key, value, terms, (taps, everything.layer))
    late: _LateZ | None = getattr(module, _LATE, None)
    if late is None:
        z = taps.edit(Site.Z, everything, z)
    else:
        late.pending = (taps, everything, z.shape[1])
    return z.transpose(1, 2).contiguous(), None


def _chosen(
    module: nn.Module, mask: Tensor | None, key: Tensor, kwargs: dict[str, Any]
) -> Tensor | None:
    """The mask, with keys hidden that a layer's index did not choose for a query.

    Sparse layers hide them by themselves from the implementations of transformers alone.
    """
    indices, blocks = kwargs.get("indices"), kwargs.get("block_indices")
    if blocks is not None:
        module_mask: Any = module.get_submodule("indexer").build_block_mask
        at = kwargs.get("position_ids")
        at = torch.arange(blocks.shape[2], device=key.device) if at is None else at
        at = at.expand(len(blocks), -1)
        return module_mask(blocks, mask, key.shape[-2], key.dtype, key.device, at)
    if mask is None or indices is None:
        return None if mask is None else mask[..., : key.shape[-2]]
    hidden = torch.ones(*indices.shape[:2], key.shape[-2], dtype=torch.bool, device=key.device)
    hidden = hidden.scatter(-1, indices.long(), value=False)[:, None]
    return mask[..., : key.shape[-2]].masked_fill(hidden, torch.finfo(mask.dtype).min)


_LATE = "headbook_late_z"


class _LateZ:
    """Edits z where W_O reads it: behind what stands between, such as a gate or a norm."""

    def __init__(self) -> None:
        self.pending: tuple[Taps, Where, int] | None = None

    def __call__(self, _projection: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self.pending is None:
            return args
        (taps, where, n_heads), self.pending = self.pending, None
        n_rows = where.rows.stop
        by_head = args[0].reshape(n_rows, -1, n_heads, args[0].shape[-1] // n_heads)
        edited = taps.edit(Site.Z, where, by_head.transpose(1, 2)).transpose(1, 2)
        return (edited.reshape(args[0].shape), *args[1:])


def edit_z_late(attention: nn.Module, projection: nn.Module) -> None:
    """Let z of a layer be what its output projection reads, gates and norms before it applied.

    Args:
        attention: The layer's attention module, which calls the attention function.
        projection: What it writes through.
    """
    if not hasattr(attention, _LATE):
        late = _LateZ()
        setattr(attention, _LATE, late)
        projection.register_forward_pre_hook(late)


def _explicit(
    query: Tensor, key: Tensor, value: Tensor, terms: Terms, tapped: tuple[Taps, int]
) -> Tensor:
    """The slow path: patterns are computed, watched and dropped, a chunk of rows at a time."""
    taps, layer = tapped
    batch, n_heads, n_query, _ = query.shape
    n_groups = n_heads // key.shape[1]
    step = max(1, CHUNK_ELEMENTS // (n_heads * n_query * key.shape[-2]))
    chunks: list[Tensor] = []
    for start in range(0, batch, step):
        where = Where(layer, slice(start, min(start + step, batch)))
        q, k, v = query[where.rows], key[where.rows], value[where.rows]
        if n_groups > 1:
            k, v = (t.repeat_interleave(n_groups, dim=1) for t in (k, v))
        scores = taps.edit(Site.SCORES, where, attention_scores(q, k, terms.of(where.rows)))
        pattern = taps.edit(Site.PATTERN, where, _softmax(scores, terms.sinks).to(v.dtype))
        if taps.watch is not None:
            taps.watch(where, pattern)
        chunks.append(pattern @ v)
    return torch.cat(chunks)


def attention_scores(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch head key d_head"],
    terms: Terms,
) -> Float[Tensor, "batch head query key"]:
    """Scaled dot products, capped where the layer caps them, under its mask."""
    scores = (q @ k.transpose(-1, -2)).mul_(terms.scaling)
    if terms.bias is not None:
        scores = scores + terms.bias
    if terms.softcap is not None:
        scores = torch.tanh(scores / terms.softcap) * terms.softcap
    if terms.mask is None:
        return scores
    same = terms.mask.dtype == scores.dtype
    return scores.add_(terms.mask) if same else scores + terms.mask


def _softmax(
    scores: Float[Tensor, "batch head query key"],
    sinks: Float[Tensor, "sink_batch head sink_query 1"] | None,
) -> Float[Tensor, "batch head query key"]:
    """Softmax over keys in at least float32; a sink takes its share and is dropped."""
    dtype = torch.promote_types(scores.dtype, torch.float32)
    if sinks is None:
        return scores.softmax(-1, dtype=dtype)
    column = sinks.expand(*scores.shape[:-1], 1).to(scores.dtype)
    return torch.cat([scores, column], dim=-1).softmax(-1, dtype=dtype)[..., :-1]


def rotate(
    x: Float[Tensor, "batch head pos d_head"],
    angle: Float[Tensor, "batch_or_one pos half"],
    *,
    adjacent: bool,
) -> Float[Tensor, "batch head pos d_head"]:
    """Rotate queries or keys by their position's angles (RoPE over the whole head).

    Args:
        x: Queries or keys.
        angle: Radians for each pair of coordinates.
        adjacent: Whether coordinate 2i pairs with 2i + 1; otherwise i pairs with i + d_head / 2.

    Returns:
        The rotated vectors, of the same norms.

    Source:
        Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding".
    """
    cos, sin = angle.cos()[:, None].to(x.dtype), angle.sin()[:, None].to(x.dtype)
    if adjacent:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
