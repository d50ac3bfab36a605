"""Models that a training passes: its weights at log-spaced steps, each a folder to load."""

import copy
import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedModel

from analysis.models.files import checkpoint
from analysis.outputs import check_own_folder, claim, remove_own_folder

from .tokenizer import BOS

KEPT = "kept"
"""Folder of a run: one folder a kept step, named for it."""
_SPACED = (0, 32, 64, *(round(2 ** (half / 2)) for half in range(14, 29)))
_FORMING = range(1_550, 2_150, 50)
"""Where heads form in the recipe: the end of its first phase, and what follows."""
KEEP_AT = tuple(sorted({*_SPACED, *_FORMING}))
"""Steps done when weights are kept: a half octave apart from 128 to 16,384, closer where heads
form."""
FILES = (
    *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
    "tokenizer_config.json",
)
"""Files of a folder that weights are written to."""
_ASIDE = "aside"


def write_weights(folder: Path, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Write weights, in bfloat16 precision, and a tokenizer: what `load_model` takes.

    Args:
        folder: Where to.
        model: It stays as it is.
        tokenizer: Of the run.

    Raises:
        UserError: The disk refuses.
    """
    with checkpoint.disk_errors(folder):
        copy.deepcopy(model).bfloat16().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS}
    write_json(folder / "tokenizer_config.json", settings)


def write_json(path: Path, content: object) -> None:
    """Write readable JSON.

    Args:
        path: Of the file.
        content: What `json` can write.
    """
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def claim_kept(out: Path) -> None:
    """Make the folder of kept weights, or find that it is the run's own.

    Args:
        out: Folder of the run.

    Raises:
        UserError: Something else lies there.
    """
    names = (_ASIDE, *map(str, KEEP_AT))
    claim(out / KEPT, names)
    for name in names:
        check_own_folder(out / KEPT / name, FILES)


def keep(out: Path, step: int, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Keep weights: aside, then by renaming; the step's own of before are replaced.

    Args:
        out: Folder of the run.
        step: Steps done.
        model: It stays as it is.
        tokenizer: Of the run.

    Raises:
        UserError: The disk refuses, or something else lies there.
    """
    aside, folder = out / KEPT / _ASIDE, out / KEPT / str(step)
    remove_own_folder(aside, FILES)
    write_weights(aside, model, tokenizer)
    remove_own_folder(folder, FILES)
    aside.rename(folder)


def kept_models(out: Path) -> dict[int, Path]:
    """Folders of the models that a run has kept, by the steps done, in order.

    Args:
        out: Folder of the run.
    """
    folders = {step: out / KEPT / str(step) for step in KEEP_AT}
    return {step: folder for step, folder in folders.items() if folder.is_dir()}


def forget_later(out: Path, step: int) -> None:
    """Drop what was kept after a step: it comes again.

    Args:
        out: Folder of the run.
        step: Steps done in the checkpoint that the run goes on from.

    Raises:
        UserError: Something else lies there.
    """
    for later in KEEP_AT:
        if later > step:
            remove_own_folder(out / KEPT / str(later), FILES)
