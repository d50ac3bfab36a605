"""What a causal model is made of, found by running it once: what is called, on what, and when.

Names tell little: the same part has a dozen of them, and one name means several parts. So layers,
norms, attention and what it writes through are known by what goes in and comes out.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from analysis.errors import UserError

from .stock import ran

_INTERFACE, _SOFTMAX = "ALL_ATTENTION_FUNCTIONS", "oftmax("
"""What the source of an attention module has, if it asks the interface or computes by itself."""


@dataclass(frozen=True)
class Block:
    """A decoder layer."""

    module: nn.Module
    attention: nn.Module | None
    """None where the layer does not attend."""
    projection: nn.Module | None
    """W_O: the last product of the attention, whose output is what heads write together."""
    before: nn.Module | None
    """The norm that the attention reads through; None if it reads the residual stream itself."""
    after: nn.Module | None
    """What changes what attention writes before it is added; None if it is added as it is."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model."""

    blocks: tuple[Block, ...]
    final_norm: nn.Module
    unembedding: nn.Linear
    mixing: frozenset[nn.Module]
    """Parts of layers that are given the residual stream beside what they read."""


@dataclass(frozen=True, eq=False)
class _Call:
    module: nn.Module
    given: Tensor | None
    others: tuple[Tensor, ...]
    """Further tensors that it was given, of the same shape."""
    answered: Tensor | None


def anatomy(net: nn.Module, tokens: Int[Tensor, "row pos"], architecture: str) -> Anatomy:
    """Find the parts of a model.

    Args:
        net: A causal model in evaluation mode, with attention of its own.
        tokens: What to run it on; everything that is called on them is kept for a while.
        architecture: What an error calls it.

    Returns:
        Its parts.

    Raises:
        UserError: It cannot be run, or has no such parts; the error says which.
    """

    def refusal(expected: str, got: str) -> UserError:
        return UserError(f"expected {expected}, {architecture} {got}; choose another architecture")

    head: Any = getattr(net, "get_output_embeddings")()  # noqa: B009 - of any PreTrainedModel
    if not isinstance(head, nn.Linear):
        raise refusal("logits that are one product with an unembedding", "has no such product")
    started, calls = _watched(net, tokens, architecture)
    stacks = [list(m.children()) for m in net.modules() if _is_stack(m, started)]
    if not stacks:
        raise refusal(
            "a list of layers that are called once each, in order, and of which some attend",
            "has none",
        )
    layers = max(stacks, key=len)
    inside = {part for layer in layers for part in layer.modules()}
    holding = {part for part in net.modules() if not inside.isdisjoint(part.modules())}
    read = next((call.given for call in calls if call.module is head), None)
    norms = [call.module for call in calls if _multiple(call.answered, read)]
    # Layers that end with a norm have it inside.
    norm = next((part for part in norms if part not in holding), next(iter(norms), None))
    if norm is None:
        raise refusal("an unembedding that reads a normed residual stream", "reads something else")
    through = next(call.given for call in calls if call.module is norm)
    if read is None or through is None or through.shape != read.shape:
        got = "has several side by side, or another width where its unembedding reads"
        raise refusal("a residual stream of d_model numbers", got)
    blocks = tuple(_block(layer, calls) for layer in layers)
    for i, block in enumerate(blocks):
        if block.attention is None and len(attending(block.module)) > 1:
            raise refusal("one attention in a layer", f"has several in layer {i}")
        if block.attention is not None and block.projection is None:
            raise refusal(
                "attention whose heads write through one product with weights of their own",
                f"does not write so in layer {i}",
            )
    written = [id(b.projection.weight) for b in blocks if b.projection is not None]
    if not written:
        raise refusal("layers that attend each time", "exchanges their attention when it is run")
    if len(set(written)) < len(written):
        raise refusal("attention of its own in each layer that attends", "shares one among layers")
    mixing = frozenset(call.module for call in calls if call.others and call.module in inside)
    return Anatomy(blocks, norm, head, mixing)


def asks_interface(block: Block) -> bool:
    """Whether a layer's attention asks transformers for the function that computes it."""
    return block.attention is not None and _INTERFACE in _source(type(block.attention))


def attending(layer: nn.Module) -> list[nn.Module]:
    """The modules of a layer that attend, by the source of their classes; innermost ones."""
    parts = list(layer.modules())
    by_interface = [part for part in parts if _INTERFACE in _source(type(part))]
    by_softmax = [part for part in parts if _SOFTMAX in _source(type(part)) and _projects(part)]
    found = by_interface or by_softmax
    return [part for part in found if not set(found).intersection(list(part.modules())[1:])]


@lru_cache
def _source(kind: type[nn.Module]) -> str:
    """The source of a class without what it inherits from torch."""
    own = [base for base in kind.__mro__ if not base.__module__.startswith(("torch.", "builtins"))]
    found: list[str] = []
    for base in own:
        try:
            found.append(inspect.getsource(base))
        except (OSError, TypeError):
            continue
    return "".join(found)


def _projects(module: nn.Module) -> bool:
    """Whether a module holds the products that attention needs; a router of experts has one."""
    return sum(_is_product(part) for part in module.modules()) > 1


def _is_product(module: nn.Module) -> bool:
    own = dict(module.named_parameters(recurse=False))
    return "weight" in own and own["weight"].ndim == 2 and not isinstance(module, nn.Embedding)


def _is_stack(module: nn.Module, started: Sequence[nn.Module]) -> bool:
    """Whether this is a list of layers: called once each, in order, none being attention itself."""
    if not isinstance(module, nn.ModuleList) or not len(module):
        return False
    parts = list(module)
    found = [attending(part) for part in parts]
    once = [part for part in started if part in set(parts)]
    return (
        once == parts and any(found) and not any(p in f for p, f in zip(parts, found, strict=True))
    )


def _watched(
    net: nn.Module, tokens: Int[Tensor, "row pos"], architecture: str
) -> tuple[list[nn.Module], list[_Call]]:
    """Modules in the order in which they were called, and calls in which they answered."""
    started: list[nn.Module] = []
    calls: list[_Call] = []

    def start(module: nn.Module, _args: Any, _kwargs: Any) -> None:
        started.append(module)

    def end(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given = given_stream(args, kwargs)
        others = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor) and t is not given]
        alike = tuple(t for t in others if isinstance(given, Tensor) and t.shape == given.shape)
        calls.append(_Call(module, _copied(given), alike, _copied(first(output))))

    with ExitStack() as hooks, torch.no_grad():
        for module in net.modules():
            hooks.callback(module.register_forward_pre_hook(start, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(end, with_kwargs=True).remove)
        ran(lambda: net(tokens, use_cache=False).logits, architecture)
    return started, calls


def given_stream(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a layer or an attention module reads."""
    return args[0] if args else kwargs.get("hidden_states")


def first(output: Any) -> Any:
    """What a module returns, or the first of several things."""
    return output[0] if isinstance(output, (tuple, list)) and output else output


def with_first(output: Any, value: Tensor) -> Any:
    """What a module returns, with something else as the first of several things."""
    return type(output)((value, *output[1:])) if isinstance(output, (tuple, list)) else value


def _copied(value: Any) -> Tensor | None:
    return value.clone() if isinstance(value, Tensor) else None


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape and torch.equal(a, b)


def _multiple(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether one is the other, but for one factor, in every coordinate by its own size."""
    if a is None or b is None or a.shape != b.shape:
        return False
    factor = (a * b).sum() / a.square().sum()
    size = b.abs().flatten(0, -2).amax(0)  # one may be so large that it hides all others
    return bool(((a * factor - b).abs() <= 1e-4 * b.abs() + 1e-5 * size).all())


def _block(layer: nn.Module, calls: Sequence[_Call]) -> Block:
    """The parts of a layer."""
    inside = set(layer.modules())
    called = [call for call in calls if call.module in inside and call.module is not layer]
    found = [part for part in attending(layer) if any(c.module is part for c in called)]
    if len(found) != 1:
        return Block(layer, None, None, None, None)
    attention = found[0]
    own, *again = (call for call in called if call.module is attention)
    within = set(attention.modules())
    wide = None if own.answered is None else own.answered.shape[-1]
    written = [
        call
        for call in called
        if _is_product(call.module)
        and call.answered is not None
        and not _same(call.given, own.given)  # that makes queries, keys or values
        and call.answered.shape[-1] == wide
    ]
    inside_attention = [call for call in written if call.module in within]
    # BERT's attention answers z, and what it writes through stands beside it.
    products = inside_attention or [c for c in written if _flat_same(c.given, own.answered)][:1]
    if not products or again:
        return Block(layer, attention, None, None, None)
    wrote = products[-1]
    outside = [
        call
        for call in called
        if call.module not in within and attention not in set(call.module.modules())
    ]
    place = called.index(own)
    read = [c.module for c in outside if called.index(c) < place and _same(c.answered, own.given)]
    after = [
        call.module
        for call in outside
        if called.index(call) > place
        and _flat_same(call.given, wrote.answered)
        and not _same(call.given, call.answered)
    ]
    return Block(
        layer, attention, wrote.module, read[0] if read else None, after[0] if after else None
    )


def _flat_same(a: Tensor | None, b: Tensor | None) -> bool:
    return (
        a is not None
        and b is not None
        and a.numel() == b.numel()
        and torch.equal(a.flatten(), b.flatten())
    )
