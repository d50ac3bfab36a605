"""GGUF files: what they say of a model, read by the package gguf and by transformers.

Nothing here imports either before a file is met.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from math import isclose, prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.errors import UserError, reason
from analysis.files import reading

SUFFIX = ".gguf"
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "embedding_length": ("hidden_size", "n_embd"),
    "block_count": ("num_hidden_layers", "n_layer"),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.layer_norm_epsilon": ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "rope.freq_base": ("rope_theta",),
    "rope.dimension_count": ("rotary width",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
}
"""Settings of a file, and what a configuration calls them: the values are compared."""
_IN_SHAPES = {
    *("context_length", "vocab_size", "feed_forward_length", "expert_feed_forward_length"),
    *("expert_shared_feed_forward_length", "rope.scaling.finetuned"),
}
"""Settings that change no number, or that weights of other shapes contradict."""


def file_of(place: Path) -> Path | None:
    """The GGUF file that a model's place means: itself, or the only one in a folder without others.

    Raises:
        UserError: There are several, or parts of one.
    """
    if place.suffix == SUFFIX and place.is_file():
        found = [place]
    elif (place / "config.json").exists():
        return None
    else:
        found = sorted(path for path in place.glob(f"*{SUFFIX}") if path.is_file())
    if found and _PART.search(found[0].name):
        raise UserError(
            f"expected one whole GGUF file, {found[0]} is a part of several; join them with "
            "llama-gguf-split --merge"
        )
    if len(found) > 1:
        raise UserError(
            f"expected one GGUF file in {place}, found {found[0].name} and {len(found) - 1} more; "
            "give the path of the file"
        )
    return found[0] if found else None


def config(path: Path) -> dict[str, Any]:
    """The configuration that transformers makes of a file, held against the file.

    Args:
        path: Of the file.

    Returns:
        As `config.json` would have it, with every default.

    Raises:
        UserError: A package is missing; the file is damaged; or it says something that transformers
            would not read, so that the numbers would be others.
    """
    return _read(path.parent.resolve() / path.name, path.stat().st_mtime_ns, path.stat().st_size)[0]


def n_params(path: Path) -> int:
    """Elements of all tensors in a file.

    Raises:
        UserError: As `config`.
    """
    return _read(path.parent.resolve() / path.name, path.stat().st_mtime_ns, path.stat().st_size)[1]


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int, _size: int) -> tuple[dict[str, Any], int]:
    """The configuration and the number of elements, once as long as the file stays as it is."""
    with reading(path) as file:
        if file.read(4) != b"GGUF":
            raise UserError(f"expected a GGUF file, {path} is none; copy it again")
    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"expected the packages gguf and accelerate, to read {path}, found no "
            f"{' and no '.join(missing)}; pip install 'headbook[gguf]'"
        )
    from transformers import AutoConfig  # noqa: PLC0415 - slow to import, rarely needed
    from transformers.integrations.gguf.reader import read_gguf_metadata  # noqa: PLC0415
    from transformers.models.auto.modeling_auto import (  # noqa: PLC0415
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    )

    try:  # the reader that ends where the file ends comes first
        fields = read_gguf_metadata(str(path))[0]
        sizes = [prod(tensor.shape) for tensor in _tensors(path).values()]
        told = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        made: dict[str, Any] = json.loads(told.to_json_string(use_diff=False))
    except Exception as error:  # damaged files raise errors of many kinds
        raise UserError(
            f"expected a GGUF file that transformers reads, {path} is not ({reason(error)}); use "
            "the folder that the file was made of"
        ) from None
    _check_read(path, fields, made)
    named = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(str(made.get("model_type")))
    made["architectures"] = [named or str(made.get("model_type"))]
    return made, sum(sizes)


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    begin: int
    end: int


def _tensors(path: Path) -> dict[str, _Tensor]:
    """Shapes and places of the tensors in a file.

    Raises:
        ValueError: The file ends before they do.
    """
    from transformers.integrations.gguf.reader import GgufHeader  # noqa: PLC0415 - has torch

    header = GgufHeader.from_file(str(path))
    found: dict[str, _Tensor] = {}
    for tensor in header.tensors:
        begin = header.data_start + tensor.offset
        found[tensor.name] = _Tensor(tensor.shape, begin, begin + tensor.nbytes)
    if max((tensor.end for tensor in found.values()), default=0) > path.stat().st_size:
        raise ValueError("it is cut short")
    return found


def _check_read(path: Path, fields: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Refuse a file with a setting that the configuration does not have."""
    prefix = f"{fields.get('general.architecture')}."
    for field, value in fields.items():
        name = field.removeprefix(prefix)
        if name == field or name in _IN_SHAPES or value in (0, "", "none", None):
            continue
        known = next((said for ours in _NAMES.get(name, ()) if (said := _said(made, ours))), [])
        if not any(_is_same(value, one) for one in known):
            has = f"reads it as {known[0]}" if known else "does not read it"
            raise UserError(
                f"expected settings that transformers reads, {path} has {field} = {value}, and "
                f"transformers {has}; use the folder that the file was made of"
            )


def _said(made: Mapping[str, Any], name: str) -> list[Any]:
    """What a configuration says under a name; of rotary positions, for every kind of layer."""
    rope = made.get("rope_parameters") or {}
    ropes = [one for one in rope.values() if isinstance(one, dict)] or [rope]
    if name == "rope_theta":
        return [one.get(name) for one in ropes]
    if name == "rotary width":
        heads = made.get("num_attention_heads")
        width = made.get("head_dim") or (made["hidden_size"] // heads if heads else None)
        shares = [one.get("partial_rotary_factor", 1.0) for one in ropes]
        return [int(width * share) for share in shares] if width else []
    return [made[name]] if made.get(name) is not None else []


def _is_same(value: Any, said: Any) -> bool:
    if isinstance(value, (int, float)) and isinstance(said, (int, float)):
        return isclose(value, said, rel_tol=1e-6)
    return value == said


def same_tensors(path: Path, *names: str) -> bool:
    """Whether tensors of a file are there and have the same bytes."""
    found = _tensors(path)
    data = np.memmap(path, np.uint8, "r")
    held = [data[found[name].begin : found[name].end] for name in names if name in found]
    return len(held) == len(names) and all(np.array_equal(held[0], one) for one in held)
