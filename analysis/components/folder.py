"""The folder of a decomposition of ours: `components.safetensors` and `decomposition.json`.

Tensors carry the published names, so that one loader reads both kinds of folder.
"""

import copy
import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from analysis.errors import UserError
from analysis.models.files import checkpoint, published
from analysis.models.files.card import ModelCard
from analysis.models.load import Model
from analysis.outputs import write_text
from analysis.settings import json_object

from .decomposed import Components, Decomposition
from .importance import ImportanceFunction
from .published import components_of, importance_function, published_decomposition

WEIGHTS, MADE = "components.safetensors", "decomposition.json"


def default_folder(card: ModelCard) -> Path | None:
    """Where a model's own decomposition is: in `decomposition` of its folder, or that run.

    Returns:
        The folder, or None where the model has none.
    """
    if published.is_published(card.folder):
        return card.folder
    beside = card.folder / "decomposition"
    return beside if (beside / WEIGHTS).exists() else None


def folder_hash(folder: Path) -> str:
    """SHA-256 of what a folder's numbers depend on: its tensors' file."""
    if published.is_published(folder):
        return published.weights_hash(folder)
    path = folder / WEIGHTS
    if not path.exists():
        raise UserError(
            f"expected {WEIGHTS} (ours) or {published.CONFIG} (a published run) in {folder}, "
            "found neither; make one with headbook decompose"
        )
    return published.file_hash(path)


def narrowed(
    decomposition: Decomposition, function: ImportanceFunction
) -> tuple[Decomposition, ImportanceFunction]:
    """Copies with the precision that folders store: bfloat16, as float32 numbers."""
    components = {
        name: Components(
            V=parts.V.detach().bfloat16().float(), U=parts.U.detach().bfloat16().float()
        )
        for name, parts in decomposition.components.items()
    }
    copied = copy.deepcopy(function).bfloat16().float()
    return Decomposition.of(decomposition.model, components), copied


def save(
    folder: Path, decomposition: Decomposition, function: ImportanceFunction, made: dict[str, Any]
) -> None:
    """Write a decomposition.

    Args:
        folder: Where to.
        decomposition: The components.
        function: Their causal-importance function.
        made: What they were made of and what they were measured to be; JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, parts in decomposition.components.items():
        for factor, tensor in (("V", parts.V), ("U", parts.U)):
            tensors[f"_components.{name.replace('.', '-')}.{factor}"] = tensor
    tensors |= {f"ci_fn.{name}": tensor for name, tensor in function.state_dict().items()}
    stored = {name: tensor.cpu().bfloat16() for name, tensor in tensors.items()}
    write_text(folder / MADE, json.dumps(made, indent=1) + "\n")
    checkpoint.write(folder / WEIGHTS, stored, {})  # last, and at once: with it the folder counts


def load_decomposition(model: Model, folder: Path) -> tuple[Decomposition, ImportanceFunction]:
    """Read a decomposition of either kind.

    Args:
        model: The model that was decomposed.
        folder: A published run, or one that `headbook decompose` wrote.

    Returns:
        Components and causal-importance function, on the model's device, in float32.

    Raises:
        UserError: A file is missing or damaged, or belongs to another model.
    """
    folder_hash(folder)
    if published.is_published(folder):
        return published_decomposition(model, folder)
    target = made(folder).get("model")
    if target != model.card.model:
        raise UserError(
            f"expected a decomposition of {model.card.name} ({model.card.model}), {folder} is one "
            f"of another model ({target}); decompose this one with headbook decompose"
        )
    tensors, _ = checkpoint.read(folder / WEIGHTS, str(model.device))
    parts = published.sorted_out(
        {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    )
    if any(set(pair) != {"V", "U"} for pair in parts.components.values()) or not parts.components:
        raise UserError(
            f"expected V and U of every layer in {folder / WEIGHTS}, some are missing; copy the "
            "whole folder"
        )
    components = {name: components_of(name, pair) for name, pair in parts.components.items()}
    function = importance_function(parts.importance, {})
    for part in (*components.values(), function):
        nn.Module.to(part, model.device)
    return Decomposition.of(model, components), function


def made(folder: Path) -> dict[str, Any]:
    """What a decomposition of ours was made of, and its figures.

    Raises:
        UserError: The file is missing or damaged.
    """
    return json_object(folder / MADE)
