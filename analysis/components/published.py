"""Decompositions from folders: published runs, and those that `headbook decompose` writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import UserError, reason
from analysis.models.files import published
from analysis.models.load import Model

from .decomposed import Components, Decomposition
from .importance import (
    MLP,
    Affine,
    Attention,
    Block,
    GlobalMLP,
    GlobalTransformer,
    ImportanceFunction,
    Layerwise,
    Transformer,
)


def published_decomposition(model: Model, folder: Path) -> tuple[Decomposition, ImportanceFunction]:
    """The components and the causal-importance function of a published run.

    Args:
        model: Its target, as `load_model` reads it from the same folder.
        folder: Of the run.

    Returns:
        Both, on the model's device.

    Raises:
        UserError: Something is missing, named as the run would name it.
    """
    parts = published.parts(folder)
    if not parts.components:
        raise UserError(
            f"expected `_components.<layer>.U` and `.V` in {published.newest_weights(folder)}, "
            "found none; give the run of a decomposition"
        )
    components = {name: components_of(name, pair) for name, pair in parts.components.items()}
    names = [name for name, _ in model.net.named_modules()]
    order = sorted(components, key=names.index) if set(components) <= set(names) else components
    decomposition = Decomposition.of(model, {name: components[name] for name in order})
    config = published.run_config(folder).get("ci_config") or {}
    function = importance_function(parts.importance, config)
    for part in (*decomposition.components.values(), function):
        nn.Module.to(part, model.device)
    return decomposition, function


def components_of(name: str, pair: Mapping[str, Tensor]) -> Components:
    """Components of a layer out of their two factors.

    Raises:
        UserError: One is missing, or they are no matrices that fit each other.
    """
    for factor in ("U", "V"):
        if factor not in pair:
            raise UserError(
                f"expected `_components.{name.replace('.', '-')}.{factor}`, found only "
                f"{', '.join(pair)}; copy the whole checkpoint"
            )
    V, U = pair["V"], pair["U"]
    if not all(map(_is_plain, (V, U))) or (V.ndim, U.ndim) != (2, 2) or V.shape[1] != U.shape[0]:
        raise UserError(
            f"expected V (d_in, component) and U (component, d_out) of {name}, found "
            f"{tuple(V.shape)} and {tuple(U.shape)}; copy the whole checkpoint"
        )
    return Components(V=V, U=U)


def importance_function(
    state: Mapping[str, Tensor], config: Mapping[str, Any]
) -> ImportanceFunction:
    """A causal-importance function out of its tensors; sizes and kind follow from them.

    Args:
        state: Tensors by name, without leading underscores.
        config: `ci_config` of the run; only the heads and the base of rotary positions of a
            transformer are read.

    Returns:
        The function.

    Raises:
        UserError: A tensor or an entry of the configuration is missing.
    """
    odd = sorted(name for name, tensor in state.items() if not _is_plain(tensor))
    if odd:
        raise UserError(
            f"expected real numbers in {odd[0]}, found others; copy the whole run folder"
        )
    try:
        if any(name.startswith("ci_fns.") for name in state):
            return Layerwise(_layerwise(state))
        if "global_ci_fn.input_projector.W" in state:
            attention = config["simple_transformer_ci_cfg"]["attn_config"]
            return GlobalTransformer(_transformer(state, attention))
        return GlobalMLP(_maps(state, "global_ci_fn.layers"))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"expected {reason(error)} for the causal-importance function, found none in the run; "
            "copy its weights and configuration again, or use a run with MLPs or a transformer"
        ) from None


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds real numbers, all of them."""
    strided = tensor.layout is torch.strided and not tensor.is_meta
    return strided and tensor.is_floating_point()


def _layerwise(state: Mapping[str, Tensor]) -> dict[str, MLP]:
    layers = sorted({name.split(".")[1] for name in state if name.startswith("ci_fns.")})
    return {
        layer.replace("-", "."): MLP(_maps(state, f"ci_fns.{layer}.layers")) for layer in layers
    }


def _transformer(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Transformer:
    prefix = "global_ci_fn.blocks"
    indices = {int(n.split(".")[2]) for n in state if n.startswith(prefix)}
    blocks: list[Block] = []
    for i in range(len(indices)):
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        weights = {name: state[f"{prefix}.{i}.attn.{name}.weight"] for name in names}
        attention = Attention(weights, int(config["n_heads"]), float(config["rope_base"]))
        blocks.append(Block(attention, MLP(_maps(state, f"{prefix}.{i}.mlp")).layers))
    ends = (_affine(state, f"global_ci_fn.{end}") for end in ("input_projector", "output_head"))
    first, last = ends
    return Transformer(first, blocks, last)


def _maps(state: Mapping[str, Tensor], prefix: str) -> list[Affine]:
    """Affine maps 0, 2, 4, ..., with activations between them."""
    indices = {int(n[len(prefix) + 1 :].split(".")[0]) for n in state if n.startswith(f"{prefix}.")}
    return [_affine(state, f"{prefix}.{index}") for index in sorted(indices | {0})]


def _affine(state: Mapping[str, Tensor], prefix: str) -> Affine:
    return Affine(state[f"{prefix}.W"], state[f"{prefix}.b"])
