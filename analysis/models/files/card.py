"""Which model is meant: where its files are, its sizes, and the hash that names it.

Nothing here loads weights or imports torch, so a stored answer is found in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from analysis.errors import UserError
from analysis.files import check_regular, reading
from analysis.settings import SETTINGS, json_object

from . import adapters, gguf, published, weights
from .sizes import check_values, sizes_of

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
"""The folder of the model that ships with the project."""

_VOLATILE = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache"}
_BUFFERS = (
    *(".attn.bias", ".attn.masked_bias"),
    *(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
)
_READ_BESIDE = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
"""What transformers reads beside `config.json`."""


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
    base: ModelCard | None
    """The model that an adapter in `folder` changes."""

    @property
    def attending(self) -> tuple[int, ...]:
        """The layers that attend."""
        return tuple(i for i, n_heads in enumerate(self.heads_by_layer) if n_heads)

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
        for absent in ("folder", "config", "n_ctx", "heads_by_layer", "base"):
            del fields[absent]
        return pl.DataFrame({"model": self.model, **fields})

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever asks is told of the files, a line each; no part of what they are."""
        if self.base is not None:
            return (f"{self.name}: a LoRA adapter, merged into its base", *self.base.notes)
        is_plain = gguf.file_of(self.folder) is None and not published.is_published(self.folder)
        return tuple(weights.notes(self.folder)) if is_plain else ()


def read_card(name: str) -> ModelCard:
    """Find a model and read what it is.

    Args:
        name: `reference`, a folder, a GGUF file, or a Hugging Face id.

    Returns:
        The card; no weights are loaded.

    Raises:
        UserError: There is no such model, or it cannot be loaded safely, or is not causal.
    """
    folder, revision = _folder(name)
    if adapters.is_adapter(folder):
        return _adapted(name, folder, revision)
    config = settings_of(folder)
    _check_safe(folder, config)
    n_params = _n_params(folder, config)
    return ModelCard(
        name=name if name == "reference" or revision else _plain_name(folder),
        folder=folder,
        revision=revision,
        weights=revision or weights_hash(folder),
        config={k: v for k, v in sorted(config.items()) if k not in _VOLATILE},
        architecture=str(config["architectures"][0]),
        n_params=n_params,
        base=None,
        **sizes_of(config, folder, n_params),
    )


def _adapted(name: str, folder: Path, revision: str) -> ModelCard:
    """The card of a base with an adapter: named after both, hashed over both."""
    said = adapters.settings(folder)
    if adapters.is_adapter(_folder(said["base"])[0]):
        raise UserError(
            f"expected an adapter of a whole model, {folder} changes {said['base']}, an adapter "
            "itself; merge that one into its base with peft (merge_and_unload) and save it"
        )
    base = read_card(said["base"])
    mine = _hash_of([folder / adapters.WEIGHTS_FILE])
    return replace(
        base,
        name=f"{base.name} + {name if revision else _plain_name(folder)}",
        folder=folder,
        revision=revision,
        weights=adapters.merged_hash(base.weights, mine, said),
        base=base,
    )


def tokenizer_folder(folder: Path) -> Path:
    """Where the tokenizer of a model is: an adapter that has none has that of its base."""
    own = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
    if adapters.is_adapter(folder) and not any((folder / name).exists() for name in own):
        return _folder(adapters.settings(folder)["base"])[0]
    return folder


def settings_of(folder: Path) -> dict[str, Any]:
    """A model's configuration, wherever it is said.

    Args:
        folder: The model's folder or GGUF file.

    Returns:
        As `config.json` has it; empty where nothing says it.

    Raises:
        UserError: It is damaged.
    """
    if adapters.is_adapter(folder):
        return settings_of(_folder(adapters.settings(folder)["base"])[0])
    if published.is_published(folder):
        return published.target_config(folder)
    if (file := gguf.file_of(folder)) is not None:
        return gguf.config(file)
    path = folder / "config.json"
    return json_object(path) if path.exists() else {}


def _plain_name(folder: Path) -> str:
    """A folder's name as pages show it: what Markdown or HTML could read as more is a dash."""
    return re.sub(r"[^\w.+ -]+|_(?=_)", "-", folder.resolve().name).strip() or "-"


def weights_hash(folder: Path) -> str:
    """What names the weights of a folder or GGUF file, of whichever kind it is."""
    if published.is_published(folder):
        return published.weights_hash(folder)
    file = gguf.file_of(folder)
    return tensors_hash(folder) if file is None else published.file_hash(file)


def _n_params(folder: Path, config: Mapping[str, Any]) -> int:
    """Elements of all weights, tied ones once."""
    if published.is_published(folder):
        return published.n_params(config)
    if (file := gguf.file_of(folder)) is not None:
        return gguf.n_params(file)
    found = weights.tensors(weights.weight_files(folder))
    return sum(size for label, size, _ in found if not _is_buffer(label))


def _is_buffer(label: str) -> bool:
    """Whether a tensor is a mask or a frequency that old checkpoints of GPT-2 and NeoX hold."""
    return label.split(" ", 1)[0].endswith(_BUFFERS)


def tensors_hash(folder: Path) -> str:
    """SHA-256 over names, types, shapes and bytes of a folder's tensors, sorted by name."""
    return _hash_of(weights.weight_files(folder))


def _hash_of(files: Iterable[Path]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors in files, sorted by name."""
    paths = tuple(path.parent.resolve() / path.name for path in files)
    stats = [path.stat() for path in paths]
    return _tensors_hash(paths, tuple((s.st_size, s.st_mtime_ns, s.st_ino) for s in stats))


@lru_cache
def _tensors_hash(paths: tuple[Path, ...], _files: tuple[tuple[int, int, int], ...]) -> str:
    """The hash, read once as long as the files stay as they are."""
    digest = hashlib.sha256()
    for header, _, (path, start, end) in sorted(weights.tensors(paths), key=lambda t: t[0]):
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
        if Path(name).is_dir() or (name.endswith(gguf.SUFFIX) and Path(name).is_file()):
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


def _check_safe(folder: Path, config: Mapping[str, Any]) -> None:
    if not config and not (folder / "config.json").exists():
        raise UserError(
            f"expected config.json and *.safetensors, found no config.json in {folder}; "
            "give a folder written by save_pretrained"
        )
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
    if published.is_published(folder) or gguf.file_of(folder) is not None:
        return
    check_values(config, folder)
    check_regular((folder / name for name in _READ_BESIDE), SETTINGS)
    if not weights.weight_files(folder):
        pickles = sorted(p.name for p in [*folder.glob("*.bin"), *folder.glob("*.pt*")])
        found = f"only {', '.join(pickles)} (pickles are never loaded)" if pickles else "none"
        raise UserError(
            f"expected weights in {folder}/*.safetensors, found {found}; "
            "save the model with save_pretrained(safe_serialization=True)"
        )
