"""Files of weights: what is in them, read from their headers alone."""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from analysis.errors import UserError
from analysis.files import reading
from analysis.settings import json_object

SHARDS = "model.safetensors.index.json"
LARGEST_INDEX = 64 * 2**20
"""Bytes of it that are read."""


def weight_files(folder: Path) -> list[Path]:
    """Files of weights, sorted; nothing else that has such a name."""
    return [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]


def tensors(folder: Path) -> Iterator[tuple[str, int, tuple[Path, int, int]]]:
    """For every tensor: name, type and shape; number of elements; where its bytes are.

    Raises:
        UserError: A file is no safetensors file.
    """
    for path in weight_files(folder):
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
            begin, end = (8 + length + offset for offset in info["data_offsets"])
            label = f"{tensor} {info['dtype']} {info['shape']}"
            yield label, prod(info["shape"]), (path, begin, end)


def check_shards(folder: Path) -> None:
    """Refuse shards that are not of this folder: they would be loaded, but not hashed.

    Raises:
        UserError: The index of shards names files elsewhere, or is none.
    """
    if not (folder / SHARDS).exists():
        return
    known = {path.name for path in weight_files(folder)}
    try:
        places = json_object(folder / SHARDS, LARGEST_INDEX)["weight_map"].values()
        absent = sorted(set(places) - known)
    except (TypeError, KeyError, AttributeError):
        raise UserError(
            f"expected the files of all weights in {folder / SHARDS}, found something else; "
            "copy it again"
        ) from None
    if absent:
        raise UserError(
            f"expected all shards in {folder}, found no {absent[0]!r} there; copy the whole folder"
        )
