"""Models changed by a LoRA adapter: its products are added to their weights."""

import re
from collections import Counter
from collections.abc import Mapping
from math import sqrt
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from analysis.errors import UserError

from .files import adapters

_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<path>.+)\.lora_(?P<kind>embedding_)?(?P<factor>[AB])(\.weight)?")


@torch.no_grad()
def merge(net: nn.Module, folder: Path) -> None:
    """Add an adapter to a model's weights: W + alpha / r B A, or alpha / sqrt(r).

    Args:
        net: The base, in float32; its weights are overwritten.
        folder: Of the adapter: every tensor in it is used.

    Raises:
        UserError: A tensor fits no weight of the base, or one that is tied to another.

    Source:
        Hu et al. 2021, "LoRA"; Kalajdzievski 2023, "A Rank Stabilization Scaling Factor" (the
        root).
    """
    said = adapters.settings(folder)
    factors: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for name, tensor in load_file(folder / adapters.WEIGHTS_FILE).items():
        plain = name.removeprefix(_PREFIX)
        if match := _FACTOR.fullmatch(plain):
            factors.setdefault(match["path"], {})[match["factor"]] = tensor.float()
        else:
            whole[plain.replace(".base_layer.", ".")] = tensor.float()
    weights = _weights(net)
    for name, tensor in whole.items():
        weight = _fitting(weights, name, tensor.shape, folder)
        weight.copy_(tensor)
    for path, pair in factors.items():
        shapes = {factor: tuple(tensor.shape) for factor, tensor in sorted(pair.items())}
        rank = shapes.get("A", (0,))[0]
        if (
            [len(shape) for shape in shapes.values()] != [2, 2]
            or shapes["B"][1] != rank
            or not rank
        ):
            raise UserError(
                f"expected lora_A (r, d_in) and lora_B (d_out, r) of {path} in {folder}, found "
                f"{shapes}; copy it again"
            )
        product = pair["B"] @ pair["A"]
        try:
            stored_in_out = isinstance(net.get_submodule(path), (Conv1D, nn.Embedding))
        except AttributeError:
            stored_in_out = False
        delta = product.T if stored_in_out else product
        weight = _fitting(weights, f"{path}.weight", delta.shape, folder)
        weight += delta * (said["alpha"] / (sqrt(rank) if said["root"] else rank))
    if not factors:
        raise UserError(f"expected lora_A and lora_B in {folder}, found none; copy it again")


def _weights(net: nn.Module) -> dict[str, Tensor]:
    """Weights that belong to one module alone, by name."""
    named = list(net.named_parameters(remove_duplicate=False))
    shared = Counter(id(weight) for _, weight in named)
    return {name: weight for name, weight in named if shared[id(weight)] == 1}


def _fitting(weights: Mapping[str, Tensor], name: str, shape: torch.Size, folder: Path) -> Tensor:
    weight = weights.get(name)
    if weight is None or weight.shape != shape:
        found = "none of its own" if weight is None else tuple(weight.shape)
        raise UserError(
            f"expected a weight {name} {tuple(shape)} in the base of {folder}, found {found}; "
            "merge the adapter into its base with peft (merge_and_unload) and save that"
        )
    return weight
