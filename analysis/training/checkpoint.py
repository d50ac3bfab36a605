"""Checkpoints: written aside and renamed, so that a kill at any moment leaves a whole one."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from analysis.errors import UserError


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors aside, then rename.

    Args:
        path: Of the checkpoint.
        tensors: By name.
        metadata: Text beside them.
    """
    aside = path.with_suffix(".tmp")
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(whole, aside, dict(metadata))
    aside.replace(path)


def read(path: Path, device: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a checkpoint.

    Args:
        path: Of the checkpoint.
        device: Where to put the tensors.

    Returns:
        What `write` was given.

    Raises:
        UserError: The file is damaged; it is left as it is.
    """
    try:
        with safe_open(path, "pt", device=device) as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"expected a whole checkpoint, {path} is damaged ({error}); "
            "restore it, or start afresh without --resume in another folder"
        ) from None


def adam_state(
    module: nn.Module, optimizer: torch.optim.Optimizer, prefix: str = ""
) -> dict[str, Tensor]:
    """Weights of a module and what Adam remembers of each."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        state = optimizer.state[parameter]
        tensors[f"{prefix}weight/{name}"] = parameter
        tensors[f"{prefix}mean/{name}"] = state["exp_avg"]
        tensors[f"{prefix}square/{name}"] = state["exp_avg_sq"]
    return tensors


def restore_adam(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    step: int,
    prefix: str = "",
) -> None:
    """Put weights, and what Adam remembers, back where `adam_state` took them.

    Args:
        module: Its parameters are overwritten.
        optimizer: Adam over these parameters.
        tensors: What `adam_state` returned.
        step: How many steps Adam had done.
        prefix: As given to `adam_state`.
    """
    for name, parameter in module.named_parameters():
        parameter.data.copy_(tensors[f"{prefix}weight/{name}"])
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step), device=parameter.device),
            "exp_avg": tensors[f"{prefix}mean/{name}"],
            "exp_avg_sq": tensors[f"{prefix}square/{name}"],
        }
