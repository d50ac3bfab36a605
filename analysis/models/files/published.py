"""Folders of published parameter-decomposition runs: which model was decomposed, and its weights.

A folder holds `final_config.yaml`, or `run_meta.yaml` in newer runs, and `model_<step>.pth`; the
sizes of the target are in the `model_config.yaml` of the run that trained it, which lies beside.
"""

import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from analysis.errors import UserError, reason
from analysis.files import reading
from analysis.settings import yaml_mapping

CONFIG = "final_config.yaml"
NEWER_CONFIG = "run_meta.yaml"
_JAX = ("launch_config.yaml", "ckpts")
"""What runs of the generation in JAX hold."""
TARGET_CONFIG = "model_config.yaml"

_COMPONENT = re.compile(
    r"_components\.(?P<dashed>[^.]+)\.(?P<factor>[UV])"
    r"|(?:target_model\.)?(?P<path>.+)\.components\.(?P<old>[UV])"
)
_STEP = re.compile(r"model_[0-9]{1,18}\.pth")
_SIZES = {
    "vocab_size": "vocab_size",
    "n_embd": "hidden_size",
    "n_intermediate": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_ctx": "max_position_embeddings",
}


def is_published(folder: Path) -> bool:
    """Whether a folder is such a run.

    Raises:
        UserError: It is one of the generation in JAX.
    """
    if (folder / CONFIG).exists() or (folder / NEWER_CONFIG).exists():
        return True
    if all((folder / name).exists() for name in _JAX):
        raise UserError(
            f"expected a decomposition run with model_<step>.pth, {folder} is one in JAX "
            f"({' and '.join(_JAX)}), which cannot be read; use a run of the PyTorch code"
        )
    return False


def run_config(folder: Path) -> dict[str, Any]:
    """What a run's configuration says, under the names of `final_config.yaml`.

    Args:
        folder: Of the run.

    Returns:
        The configuration; of a nested one, of either file name, only `ci_config` and
        `pretrained_model_name`.

    Raises:
        UserError: It is missing or not a mapping.
    """
    path = folder / (CONFIG if (folder / CONFIG).exists() else NEWER_CONFIG)
    read = yaml_mapping(path)
    if "pd" not in read:
        return read
    spec = _part(_part(read, "target", path), "spec", path)
    return {
        "ci_config": _part(_part(read, "pd", path), "ci_config", path),
        "pretrained_model_name": spec.get("run_path"),
    }


def _part(read: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    part = read.get(name)
    if not isinstance(part, dict):
        raise UserError(f"expected a mapping as {name} in {path}, found none; copy the file again")
    return part


def newest_weights(folder: Path) -> Path:
    """`model_<step>.pth` of the highest step.

    Raises:
        UserError: There is none.
    """
    found = {int(p.stem[6:]): p for p in folder.glob("model_*.pth") if _is_weights(p)}
    if not found:
        raise UserError(
            f"expected model_<step>.pth in {folder}, found none; copy the run's last checkpoint"
        )
    return found[max(found)]


def _is_weights(path: Path) -> bool:
    return _STEP.fullmatch(path.name) is not None and path.is_file()


@lru_cache
def _file_hash(path: Path, _size: int, _changed: int) -> str:
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read once as long as it stays as it is."""
    stat = path.stat()
    return _file_hash(path.resolve(), stat.st_size, stat.st_mtime_ns)


def weights_hash(folder: Path) -> str:
    """SHA-256 of the newest weights' file."""
    return file_hash(newest_weights(folder))


def target_config(folder: Path) -> dict[str, Any]:
    """The target's `config.json`, from the `model_config.yaml` of the run that trained it.

    Args:
        folder: Of the decomposition's run.

    Returns:
        The configuration of a `LlamaSimpleMLPForCausalLM`.

    Raises:
        UserError: The file is missing, or says something else than that architecture can be.
    """
    path = _target_config_path(folder)
    read = yaml_mapping(path)
    missing = sorted(_SIZES.keys() - read.keys())
    if missing:
        raise UserError(
            f"expected {', '.join(missing)} in {path}, found none; copy the file of the run that "
            "trained the target"
        )
    sizes = {ours: _size(read, theirs, path) for theirs, ours in _SIZES.items()}
    n_heads = sizes["num_attention_heads"]
    rotary = read.get("rotary_dim", sizes["hidden_size"] // n_heads)
    if rotary != sizes["hidden_size"] // n_heads or read.get("attn_bias") or read.get("mlp_bias"):
        raise UserError(
            f"expected rotary positions over whole heads and no biases, {path} has rotary_dim "
            f"{rotary} and biases {bool(read.get('attn_bias'))}, {bool(read.get('mlp_bias'))}; "
            "such a target cannot be read"
        )
    grouped = read.get("use_grouped_query_attention", True)
    return {
        "architectures": ["LlamaSimpleMLPForCausalLM"],
        "model_type": "llama_simple_mlp",
        **sizes,
        "num_key_value_heads": _size(read, "n_key_value_heads", path) if grouped else n_heads,
        "rms_norm_eps": _real(read, "rms_norm_eps", 1e-6, path),
        "rope_theta": _real(read, "rotary_base", 10000.0, path),
        "rope_adjacent_pairs": bool(read.get("rotary_adjacent_pairs", False)),
        "bos_token_id": None,
    }


def _size(read: Mapping[str, Any], name: str, path: Path) -> int:
    value = read.get(name)
    if type(value) is not int or not 1 <= value <= 2**31 - 1:
        raise UserError(
            f"expected a whole number of at least 1 as {name} in {path}, got {value!r}; "
            "copy the file again"
        )
    return value


def _real(read: Mapping[str, Any], name: str, default: float, path: Path) -> float:
    """A positive number, which YAML reads as text where it is written as 1e-6."""
    try:
        value = float(read.get(name, default))
    except (TypeError, ValueError, OverflowError):
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(
            f"expected a positive number as {name} in {path}, got {read[name]!r}; "
            "copy the file again"
        )
    return value


def n_params(config: Mapping[str, Any]) -> int:
    """Parameters of a target with such a configuration; the unembedding is the embedding."""
    d_model, n_kv = config["hidden_size"], config["num_key_value_heads"]
    d_kv = d_model // config["num_attention_heads"] * n_kv
    layer = 2 * d_model * (d_model + d_kv + config["intermediate_size"] + 1)
    return d_model * (config["vocab_size"] + 1) + config["num_hidden_layers"] * layer


def _target_config_path(folder: Path) -> Path:
    """Where the target's sizes are: with the weights that the run names, or in its own folder."""
    name = run_config(folder).get("pretrained_model_name") or run_config(folder).get(
        "pretrained_model_path"
    )
    places = [folder]
    if isinstance(name, str) and not name.startswith(("wandb:", "http")):
        places = [*_beside(folder, name), folder]
    for place in places:
        if _is_file(place / TARGET_CONFIG):
            return place / TARGET_CONFIG
    looked = " or ".join(str(place) for place in dict.fromkeys(places))
    raise UserError(
        f"expected {TARGET_CONFIG} of the run that trained the target ({name}), found none in "
        f"{looked}; copy that file there"
    )


def _beside(folder: Path, name: str) -> list[Path]:
    """Folders in a run's own one where the target's weights of that name may be."""
    weights, inside = folder / name, folder.resolve()
    try:
        near = (
            [weights.parent.parent, weights.parent] if inside in weights.resolve().parents else []
        )
        return [place for place in near if place.resolve().is_relative_to(inside)]
    except ValueError:  # no name that a file can have
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # longer than a name can be
        return False


@dataclass(frozen=True)
class Parts:
    """The tensors of a run under today's names."""

    target: dict[str, Any]
    """State of the target model."""
    components: dict[str, dict[str, Any]]
    """`U` and `V` by layer."""
    importance: dict[str, Any]
    """State of the causal-importance function, without leading underscores."""


def parts(folder: Path) -> Parts:
    """Read the newest weights without running any code, and sort them out.

    Args:
        folder: Of the run.

    Returns:
        The tensors; older names are translated.

    Raises:
        UserError: The file is damaged, or holds anything but tensors.
    """
    import torch  # noqa: PLC0415 - slow, and not needed to name a model

    path = newest_weights(folder)
    if _is_packed(path):
        raise UserError(f"expected tensors as torch saves them, {path} is packed; save it again")
    try:
        read: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of many kinds
        raise UserError(
            f"expected a dictionary of tensors, {path} is damaged or holds something else "
            f"({reason(error)}); copy it again"
        ) from None
    if not isinstance(read, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in read.items()
    ):
        raise UserError(f"expected a dictionary of tensors, {path} holds other values; check it")
    return sorted_out(read)


def _is_packed(path: Path) -> bool:
    """Whether it is an archive that is larger in memory than on the disk; torch packs nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist())
    except Exception:  # no archive, or a damaged one: torch says so
        return False


def sorted_out(state: Mapping[str, Any]) -> Parts:
    """Which part each tensor belongs to, by its name of whatever age."""
    found = Parts({}, {}, {})
    for name, tensor in state.items():
        plain = name.replace("patched_model.", "target_model.")
        if match := _COMPONENT.fullmatch(plain):
            layer = (match["dashed"] or "").replace("-", ".") or match["path"]
            found.components.setdefault(layer, {})[match["factor"] or match["old"]] = tensor
        elif plain.startswith("target_model."):
            plain = plain.removeprefix("target_model.").replace(".original.", ".")
            found.target[plain] = tensor
        else:
            bare = plain.removeprefix("ci_fn.").replace("_gates.", "_ci_fns.")
            found.importance[re.sub(r"(^|\.)_", r"\1", bare)] = tensor
    return found
