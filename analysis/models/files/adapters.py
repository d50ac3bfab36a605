"""Folders of LoRA adapters: which model they change, and the settings that say by how much.

Nothing here imports torch; `lora` merges the two.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.settings import json_object, short

from .weights import SHARDS, SINGLE

SETTINGS_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_BASE = "base_model_name_or_path"
_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Where training may have begun: others begin by changing the weights of the base."""
_TRAINING = {
    *("auto_mapping", "corda_config", "eva_config", "exclude_modules", "fan_in_fan_out"),
    *("inference_mode", "layers_pattern", "layers_to_transform", "lora_dropout", "loftq_config"),
    *("megatron_core", "modules_to_save", "peft_version", "qalora_group_size", "rank_pattern"),
    *("target_modules", "task_type", "ensure_weight_tying", "bias"),
}
"""What the tensors themselves tell, or what matters to training alone."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / SETTINGS_FILE).exists()


def settings(folder: Path) -> dict[str, Any]:
    """What an adapter's folder says, once that is known to be plain LoRA.

    Args:
        folder: Of the adapter.

    Returns:
        `base`, the name of the model it changes; `alpha`; `root`,
        whether alpha is divided by the root of the rank.

    Raises:
        UserError: It is another kind of adapter, or something is missing.
    """
    path = folder / SETTINGS_FILE
    read = json_object(path)
    whole = [name for name in (SINGLE, SHARDS) if (folder / name).exists()]
    if whole or not (folder / WEIGHTS_FILE).is_file():
        found = f"{whole[0]}, a whole model's weights, beside it" if whole else "none"
        raise UserError(
            f"expected {WEIGHTS_FILE} beside {path}, found {found}; keep a model and an adapter in "
            "folders of their own, with weights as safetensors"
        )
    if read.get("peft_type") != "LORA":
        raise _refusal(path, "peft_type", read.get("peft_type"))
    if read.get("init_lora_weights", True) not in _STARTS:
        raise _refusal(path, "init_lora_weights", read["init_lora_weights"])
    if read.get("revision") not in (None, "", "main"):
        raise _refusal(path, "revision", read["revision"])
    named = {_BASE, "peft_type", "r", "lora_alpha", "use_rslora", "init_lora_weights", "revision"}
    for name, value in read.items():
        if value and name not in named | _TRAINING:
            raise _refusal(path, name, value)
    base, alpha, root = read.get(_BASE), read.get("lora_alpha"), read.get("use_rslora") or False
    if not isinstance(base, str) or not base:
        raise UserError(
            f"expected the base model's name as {_BASE} in {path}, got "
            f"{short(base)}; write it there"
        )
    if not isinstance(alpha, (int, float)) or not isinstance(root, bool):
        raise UserError(
            f"expected a number as lora_alpha and true or false as use_rslora in {path}, got "
            f"{short(alpha)} and {short(root)}; copy the file again"
        )
    return {"base": base, "alpha": float(alpha), "root": root}


def _refusal(path: Path, name: str, value: object) -> UserError:
    return UserError(
        f"expected plain LoRA, {path} has {name} {short(value)}; where peft can merge it into "
        "its base (merge_and_unload), save that"
    )


def merged_hash(base: str, adapter: str, said: Mapping[str, Any]) -> str:
    """SHA-256 that names weights changed by an adapter.

    Args:
        base: What names the base's weights.
        adapter: SHA-256 of the adapter's tensors.
        said: Its settings; where the base was found does not count.
    """
    parts = {"base": base, "adapter": adapter, "alpha": said["alpha"], "root": said["root"]}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
