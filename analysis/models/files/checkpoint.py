"""Checkpoints: written aside and renamed, so that a kill at any moment leaves a whole one."""

import hashlib
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from analysis.errors import UserError
from analysis.files import check_regular
from analysis.outputs import aside_of

LARGEST = 2**40
"""Bytes of a checkpoint: it is mapped, not read at once."""
_DIGEST = "sha256"
"""Where a checkpoint's metadata hold the hash of all the rest."""


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors aside, then rename.

    Args:
        path: Of the checkpoint.
        tensors: By name.
        metadata: Text beside them.

    Raises:
        UserError: The disk refuses, or something else lies there; a checkpoint that is there
            stays.
    """
    aside = aside_of(path)
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    try:
        with disk_errors(path):
            save_file(whole, aside, {**metadata, _DIGEST: _digest(whole, metadata)})
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turn what safetensors says of a full or closed disk into one line.

    Args:
        path: What the block writes.

    Raises:
        UserError: The disk refuses.
    """
    try:
        yield
    except SafetensorError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"expected to write {path}, got {reason}; free some space, then go on with --resume"
        ) from None


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of everything in a checkpoint, since safetensors notices no changed byte."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
    check_regular([path], LARGEST)
    try:
        with safe_open(path, "pt", device=device) as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from None
    promised = metadata.pop(_DIGEST, None)  # absent in files of before
    if promised is not None and promised != _digest(tensors, metadata):
        raise _damaged(path, "changed bytes")
    return tensors, metadata


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"expected a whole checkpoint, {path} is damaged ({reason}); "
        "restore it, or start afresh without --resume in another folder"
    )


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
