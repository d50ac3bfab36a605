"""Which model is meant: where its files are, its sizes, and the hash that names it.

Nothing here loads weights or imports torch, so a stored answer is found in milliseconds.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from analysis.errors import UserError
from analysis.files import check_regular, reading
from analysis.settings import SETTINGS, json_object

from . import published
from .layout import heads_by_layer
from .weights import check_shards, tensors, weight_files

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
"""The folder of the model that ships with the project."""

_VOLATILE = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache"}
_BUFFERS = (
    *(".attn.bias", ".attn.masked_bias"),
    *(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
)
_POSITIONS = ("max_position_embeddings", "n_positions", "seq_length")
_NO_LIMIT = 2048
"""Context of a model that names none, since its positions are slopes."""
_SIZES = {
    "n_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "n_heads": ("num_attention_heads", "n_head", "num_heads"),
    "d_model": ("hidden_size", "n_embd"),
    "vocab": ("vocab_size",),
}
_READ_BESIDE = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
"""What transformers reads beside `config.json`."""
_ADAPTER = "adapter_config.json"
"""It names another model by its path, whose weights would be loaded and not be hashed."""
_LARGEST = 2**31 - 1
"""Of a size."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A model's identity and sizes."""

    name: str
    folder: Path
    revision: str
    """Commit of a hub model, empty for a folder."""
    weights: str
    """SHA-256 over the sorted tensors, or the hub's commit."""
    config: Mapping[str, Any]
    """`config.json` without what does not change the numbers."""
    architecture: str
    n_layers: int
    n_heads: int
    """In the layer that has most."""
    n_kv_heads: int
    d_model: int
    d_head: int
    n_ctx: int
    n_params: int
    vocab: int
    heads_by_layer: tuple[int, ...]
    """How many heads each layer has; 0 for one that does not attend."""

    @property
    def model(self) -> str:
        """The id that tables refer to: 16 hex characters of weights and config."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def identity(self) -> dict[str, Any]:
        """What a key hashes of the model."""
        return {"weights": self.weights, "config": dict(self.config), "transform": None}

    def row(self) -> pl.DataFrame:
        """The model's row of the table `models`."""
        fields = asdict(self)
        for absent in ("folder", "config", "n_ctx", "heads_by_layer"):
            del fields[absent]
        return pl.DataFrame({"model": self.model, **fields})


def read_card(name: str) -> ModelCard:
    """Find a model and read what it is.

    Args:
        name: `reference`, a folder, or a Hugging Face id.

    Returns:
        The card; no weights are loaded.

    Raises:
        UserError: There is no such model, or it cannot be loaded safely, or is not causal.
    """
    folder, revision = _folder(name)
    config = _config(folder)
    _check_safe(folder, config)
    sizes = {size: _first(config, keys, folder) for size, keys in _SIZES.items()}
    n_heads = sizes["n_heads"]
    derived = {"head_dim": sizes["d_model"] // n_heads, "num_key_value_heads": n_heads}
    told = {**derived, **{key: config[key] for key in derived if config.get(key)}}
    n_params = _n_params(folder, config)
    if max(sizes.values()) > n_params:
        raise UserError(
            f"expected sizes that fit the {n_params} weights in {folder}, config.json has {sizes}; "
            "copy the folder again"
        )
    return ModelCard(
        name=name if name == "reference" or revision else _plain_name(folder),
        folder=folder,
        revision=revision,
        weights=revision or weights_hash(folder),
        config={k: v for k, v in sorted(config.items()) if k not in _VOLATILE},
        architecture=str(config["architectures"][0]),
        n_kv_heads=_first(told, ("num_key_value_heads",), folder),
        d_head=_first(told, ("head_dim",), folder),
        n_params=n_params,
        heads_by_layer=heads_by_layer(folder, config, sizes["n_layers"], n_heads),
        n_ctx=next((config[k] for k in _POSITIONS if _is_size(config.get(k))), _NO_LIMIT),
        **sizes,
    )


def _plain_name(folder: Path) -> str:
    """A folder's name as pages show it: what Markdown or HTML could read as more is a dash."""
    return re.sub(r"[^\w.+ -]+|_(?=_)", "-", folder.resolve().name).strip() or "-"


def weights_hash(folder: Path) -> str:
    """What names the weights of a folder, of whichever kind it is."""
    if published.is_published(folder):
        return published.weights_hash(folder)
    return tensors_hash(folder)


def _n_params(folder: Path, config: Mapping[str, Any]) -> int:
    """Elements of all weights, tied ones once."""
    if published.is_published(folder):
        return published.n_params(config)
    return sum(size for label, size, _ in tensors(folder) if not _is_buffer(label))


def _is_buffer(label: str) -> bool:
    """Whether a tensor is a mask or a frequency that old checkpoints of GPT-2 and NeoX hold."""
    return label.split(" ", 1)[0].endswith(_BUFFERS)


def tensors_hash(folder: Path) -> str:
    """SHA-256 over names, types, shapes and bytes of a folder's tensors, sorted by name."""
    stats = [(path.name, path.stat()) for path in weight_files(folder)]
    files = tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)
    return _tensors_hash(folder.resolve(), files)


@lru_cache
def _tensors_hash(folder: Path, _files: tuple[tuple[str, int, int, int], ...]) -> str:
    """The hash, read once as long as the files stay as they are."""
    digest = hashlib.sha256()
    for header, _, (path, start, end) in sorted(tensors(folder), key=lambda t: t[0]):
        digest.update(header.encode())
        with reading(path) as file:
            file.seek(start)
            left = end - start
            while left > 0:
                block = file.read(min(left, 2**22))
                if not block:
                    raise UserError(f"expected whole weights, {path} is cut short; copy it again")
                digest.update(block)
                left -= len(block)
    return digest.hexdigest()


def _folder(name: str) -> tuple[Path, str]:
    """Where a model's files are, and its commit if a hub has it."""
    if name == "reference":
        return REFERENCE, ""
    try:
        if Path(name).is_dir():
            return Path(name), ""
    except OSError:  # longer than a name can be
        pass
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise UserError(
            f"expected `reference`, a folder or a Hugging Face id, found no folder {name!r}; "
            "check the path"
        )
    from huggingface_hub import (  # noqa: PLC0415 - slow to import, rarely needed
        snapshot_download,
    )

    try:
        wanted = ["*.json", "*.safetensors", "*.model", "*.txt"]
        folder = Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise UserError(
            f"expected `reference`, a folder or a Hugging Face id, could not get {name!r} "
            f"({type(error).__name__}); check the name, the network or the offline cache"
        ) from None
    return folder, folder.name


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if published.is_published(folder):
        return published.target_config(folder)
    if not path.exists():
        raise UserError(
            f"expected config.json and *.safetensors, found no config.json in {folder}; "
            "give a folder written by save_pretrained"
        )
    return json_object(path)


def _check_safe(folder: Path, config: Mapping[str, Any]) -> None:
    if "auto_map" in config:
        raise UserError(
            f"expected an architecture of transformers, {folder} asks to run code of its own, "
            "which is never done; use a version without remote code"
        )
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not str(named[0]).isidentifier():
        raise UserError(
            f"expected `architectures` in {folder / 'config.json'}, found none; "
            "write the folder with save_pretrained of a causal language model"
        )
    if published.is_published(folder):
        return
    check_regular((folder / name for name in _READ_BESIDE), SETTINGS)
    if (folder / _ADAPTER).exists():
        raise UserError(
            f"expected a whole model, {folder / _ADAPTER} makes of it an adapter of another one; "
            "merge the two and save them together"
        )
    if not weight_files(folder):
        pickles = sorted(p.name for p in [*folder.glob("*.bin"), *folder.glob("*.pt*")])
        found = f"only {', '.join(pickles)} (pickles are never loaded)" if pickles else "none"
        raise UserError(
            f"expected weights in {folder}/*.safetensors, found {found}; "
            "save the model with save_pretrained(safe_serialization=True)"
        )
    check_shards(folder)


def _first(config: Mapping[str, Any], keys: tuple[str, ...], folder: Path) -> int:
    for key in keys:
        if _is_size(config.get(key)):
            return config[key]
    raise UserError(
        f"expected one of {', '.join(keys)} in {folder / 'config.json'}, a whole number of at "
        "least 1, found none; only causal language models with attention heads can be read"
    )


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST
