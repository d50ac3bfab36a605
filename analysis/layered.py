"""What layers hold, as one tensor: layers may differ in heads and widths, or not attend at all."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def layered(found: Mapping[int, Tensor], n_layers: int, fill: float, dim: int = 0) -> Tensor:
    """Stack what layers hold.

    Args:
        found: By layer, tensors of one number of axes; at least one.
        n_layers: Of the model.
        fill: What stands where a layer has nothing, or less along an axis than another layer.
        dim: The place of the axis of layers.

    Returns:
        One tensor with an axis of layers.
    """
    sizes = [max(sizes) for sizes in zip(*(tensor.shape for tensor in found.values()), strict=True)]
    empty = next(iter(found.values())).new_empty([0] * len(sizes))
    return torch.stack([_padded(found.get(i, empty), sizes, fill) for i in range(n_layers)], dim)


def _padded(tensor: Tensor, sizes: list[int], fill: float) -> Tensor:
    missing = [size - have for size, have in zip(sizes, tensor.shape, strict=True)]
    if not any(missing):
        return tensor
    return F.pad(tensor, [n for size in reversed(missing) for n in (0, size)], value=fill)
