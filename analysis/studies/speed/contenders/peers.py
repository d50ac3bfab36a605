"""The same tasks by other libraries, each in its best form, behind functions of tensors.

A: one hooked forward pass a head, without cache, in inference mode; logits are compared in place,
one sequence at a time. S: all patterns of a batch of sequences, without logits of all positions.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from analysis.interventions import Head
from analysis.models.load import Model

from .models import attention_paths, stock
from .plainly import batch_by_batch, head_by_head
from .tasks import Run, Task

_INSTALL = 'not installed: pip install "headbook[bench]"'


class UnavailableError(Exception):
    """A contender that cannot take part, and why."""


def head_slice(model: Model, head: Head) -> slice:
    """Which coordinates of the output projection's input a head writes to."""
    width = model.card.d_head
    return slice(head.head * width, (head.head + 1) * width)


def plain_hooks(task: Task, model: Model) -> Run:
    """Plain transformers: hooks on o_proj's input for A, output_attentions for S."""
    if task is Task.S:
        net: Any = stock(model, "eager")

        def patterns(tokens: Tensor) -> Sequence[Tensor]:
            asked = {"use_cache": False, "logits_to_keep": 1}
            return net(tokens, output_attentions=True, **asked).attentions

        return batch_by_batch(model, patterns)
    fused: Any = stock(model, "sdpa")
    projections = [fused.get_submodule(f"{path}.o_proj") for path in attention_paths(model)]

    def forward(tokens: Tensor, head: Head | None) -> Tensor:
        if head is None:
            return fused(tokens, use_cache=False).logits
        at = head_slice(model, head)

        def zero(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            args[0][..., at] = 0

        handle = projections[head.layer].register_forward_pre_hook(zero)
        try:
            return fused(tokens, use_cache=False).logits
        finally:
            handle.remove()

    return head_by_head(model, forward)


def transformer_lens(task: Task, model: Model) -> Run:
    """TransformerLens: run_with_hooks on hook_z for A, run_with_cache of patterns for S.

    Raises:
        UnavailableError: It is not installed, or does not know the architecture.
    """
    try:
        from transformer_lens.model_bridge.sources import (  # noqa: PLC0415 - optional
            build_bridge_from_module,
        )
    except ImportError:
        raise UnavailableError(_INSTALL) from None
    net = stock(model, "eager")
    try:
        bridge: Any = build_bridge_from_module(net, model.card.architecture, hf_config=net.config)
    except ValueError as error:
        raise UnavailableError(f"not supported: {str(error).splitlines()[0][:80]}") from None
    if task is Task.S:
        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.card.n_layers)]

        def patterns(tokens: Tensor) -> Sequence[Tensor]:
            asked = {"return_type": None, "use_cache": False, "logits_to_keep": 1}
            _, cache = bridge.run_with_cache(tokens, names_filter=names, **asked)
            return [cache[name] for name in names]

        return batch_by_batch(model, patterns)

    def forward(tokens: Tensor, head: Head | None) -> Tensor:
        if head is None:
            return bridge(tokens, use_cache=False)

        def zero(z: Tensor, hook: Any) -> Tensor:
            del hook
            z[:, :, head.head] = 0
            return z

        hooks = [(f"blocks.{head.layer}.attn.hook_z", zero)]
        return bridge.run_with_hooks(tokens, fwd_hooks=hooks, use_cache=False)

    return head_by_head(model, forward)


def nnsight(task: Task, model: Model) -> Run:
    """Nnsight: a trace that edits o_proj's input for A, or saves attention's patterns for S.

    Raises:
        UnavailableError: It is not installed.
    """
    library: Any = _nnsight()
    net: Any = library.NNsight(stock(model, "eager" if task is Task.S else "sdpa"))
    paths = attention_paths(model)

    def patterns(tokens: Tensor) -> Sequence[Tensor]:
        with net.trace(tokens, use_cache=False, logits_to_keep=1):
            found = library.save([])
            for path in paths:
                found.append(net.get(path).output[1])
        return found

    def base(tokens: Tensor) -> Tensor:
        with net.trace(tokens, use_cache=False):
            logits = library.save(net.output.logits)
        return logits  # noqa: RET504 - a trace hands on what is assigned in it

    def ablated(tokens: Tensor, path: str, at: slice) -> Tensor:
        with net.trace(tokens, use_cache=False):
            net.get(path).input[..., at] = 0
            logits = library.save(net.output.logits)
        return logits  # noqa: RET504 - a trace hands on what is assigned in it

    def forward(tokens: Tensor, head: Head | None) -> Tensor:
        if head is None:
            return base(tokens)
        return ablated(tokens, f"{paths[head.layer]}.o_proj", head_slice(model, head))

    return batch_by_batch(model, patterns) if task is Task.S else head_by_head(model, forward)


def _nnsight() -> Any:
    """The library, kept from giving every object of the process a method `save`."""
    given = os.environ.get("NNSIGHT_CONFIG")
    with TemporaryDirectory() as folder:
        config = Path(folder) / "nnsight.yaml"
        config.write_text("APP:\n  PYMOUNT: false\n", encoding="utf-8")
        os.environ["NNSIGHT_CONFIG"] = str(config)
        try:
            import nnsight as library  # noqa: PLC0415 - optional
        except ImportError:
            raise UnavailableError(_INSTALL) from None
        finally:
            del os.environ["NNSIGHT_CONFIG"]
            os.environ.update({} if given is None else {"NNSIGHT_CONFIG": given})
    return library


Peer = Callable[[Task, Model], Run]

PEERS: dict[str, tuple[Peer, str]] = {
    "plain hooks": (plain_hooks, "transformers"),
    "TransformerLens": (transformer_lens, "transformer-lens"),
    "nnsight": (nnsight, "nnsight"),
}
"""By name: what prepares it, and the package whose version counts."""
