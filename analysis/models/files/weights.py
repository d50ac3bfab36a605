"""Files of weights: which of a folder's are loaded, and what their headers say is in them."""

import json
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from analysis.errors import UserError
from analysis.files import reading
from analysis.settings import json_object

SINGLE = "model.safetensors"
SHARDS = "model.safetensors.index.json"
LARGEST_INDEX = 64 * 2**20
"""Bytes of it that are read."""
_DISTRIBUTED = "shard-?????-model-?????-of-?????.safetensors"
_PACKED = ("F8_", "F6_", "F4")
"""Numbers that mean nothing without scales that lie beside them."""
_FLOATS = ("F", "BF")
"""What types of weights begin with; buffers may be whole numbers."""


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads, sorted: the single one, else those that the index names.

    Raises:
        UserError: The index names files elsewhere, or is none.
    """
    if any(folder.glob(_DISTRIBUTED)):  # of which transformers would read every file in the folder
        raise UserError(
            f"expected {SINGLE} or {SHARDS} in {folder}, found shards of a distributed training; "
            "load and save the model with transformers"
        )
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    return _shards(folder) if (folder / SHARDS).exists() else []


def notes(folder: Path) -> list[str]:
    """What whoever asks is told of a folder's weights: files that are not read, digits that go."""
    read = weight_files(folder)
    beside = sorted(path.name for path in folder.glob("*.safetensors") if path not in read)
    beside += sorted(path.name for path in folder.glob("*.gguf"))
    said: list[str] = []
    if beside:
        first = SINGLE if read == [folder / SINGLE] else SHARDS
        more = f" and {len(beside) - 1} more" if len(beside) > 1 else ""
        said.append(f"{first} is what is read of {folder}; {beside[0]}{more} beside it is not")
    moved = largest_rounding(read)
    if moved is not None:
        said.append(
            f"float64 weights of {folder} are computed with as float32, which moves none by more "
            f"than {moved:.1g} of its tensor's largest"
        )
    return said


def largest_rounding(files: Iterable[Path]) -> float | None:
    """How far reading float64 weights as float32 moves any, as a share of its tensor's largest.

    Returns:
        The share, infinite where a weight is beyond float32; None without float64 weights.
    """
    shares: list[float] = []
    for label, size, (path, begin, _) in tensors(files):
        if label.split(" ")[1] == "F64" and size:
            wide = np.memmap(path, "<f8", "r", begin, (size,))
            with np.errstate(over="ignore"):
                moved = np.abs(wide - wide.astype(np.float32)).max()
            largest = np.abs(wide).max()
            shares.append(float(moved / largest) if largest else 0.0)
    return max(shares, default=None)


def tensors(files: Iterable[Path]) -> Iterator[tuple[str, int, tuple[Path, int, int]]]:
    """For every tensor: name, type and shape; number of elements; where its bytes are.

    Raises:
        UserError: A file is no safetensors file, or holds numbers that only a format can read.
    """
    for path in files:
        try:
            with safe_open(path, "np"):  # compares the header with itself and with the file's size
                pass
        except (SafetensorError, OSError):
            raise UserError(
                f"expected a safetensors file, {path} is damaged; copy it again"
            ) from None
        with reading(path) as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for tensor, info in header.items():
            is_weight, kind = tensor.endswith(".weight"), info["dtype"]
            if kind.startswith(_PACKED) or (is_weight and not kind.startswith(_FLOATS)):
                raise UserError(
                    f"expected float weights, {tensor} in {path} is {kind}, which needs "
                    "scales of its format; use the model's weights in bfloat16 or a GGUF file"
                )
            begin, end = (8 + length + offset for offset in info["data_offsets"])
            label = f"{tensor} {kind} {info['shape']}"
            yield label, prod(info["shape"]), (path, begin, end)


def _shards(folder: Path) -> list[Path]:
    """The files that an index names: others would be loaded, but not hashed."""
    known = {path.name for path in folder.glob("*.safetensors") if path.is_file()}
    try:
        places = set(json_object(folder / SHARDS, LARGEST_INDEX)["weight_map"].values())
        absent = sorted(places - known)
    except (TypeError, KeyError, AttributeError):
        raise UserError(
            f"expected the files of all weights in {folder / SHARDS}, found something else; "
            "copy it again"
        ) from None
    if absent:
        raise UserError(
            f"expected all shards in {folder}, found no {absent[0]!r} there; copy the whole folder"
        )
    return sorted(folder / name for name in places)
