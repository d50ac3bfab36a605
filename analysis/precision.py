"""What a model computes in: blocks in float32 or bfloat16, logits in float32 either way."""

from enum import Enum
from typing import Any

import torch
from torch import nn


class Precision(Enum):
    """The dtype of the blocks."""

    FLOAT32 = "float32"
    """As everything is measured where nothing else is said."""

    BFLOAT16 = "bfloat16"
    """Half the memory, and faster where the machine has it; effects of single heads can be some
    percent off."""


def native_bfloat16() -> bool:
    """Whether a CPU multiplies in bfloat16 itself; where not, blocks are 5 to 9 times slower.

    Returns:
        True too where torch does not know the CPU.
    """
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict[str, Any])()
    return not known or any(has for name, has in known.items() if "bf16" in name)


def narrow(net: nn.Module, final_norm: nn.Module, unembedding: nn.Module) -> None:
    """Let the blocks of a model compute in bfloat16, its final norm and unembedding in float32.

    Parameters alone are narrowed: the frequencies of RoPE are buffers, and angles in bfloat16
    would be off by whole turns. An embedding that is tied to the unembedding gets its own copy.

    Args:
        net: The model, changed in place.
        final_norm: Its last norm.
        unembedding: What makes logits.
    """
    ends = {*final_norm.modules(), *unembedding.modules()}
    narrowed: dict[int, nn.Parameter] = {}
    for module in net.modules():
        if module in ends:
            continue
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in narrowed:
                values = weight.detach().bfloat16()
                narrowed[id(weight)] = nn.Parameter(values, requires_grad=False)
            module.register_parameter(name, narrowed[id(weight)])
    final_norm.register_forward_pre_hook(_widened)


def _widened(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.float() if isinstance(x, torch.Tensor) else x for x in inputs)


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in at least float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
