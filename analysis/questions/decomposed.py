"""What experiments on parameter components share: which decomposition is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.components.decomposed import Decomposition
from analysis.components.folder import folder_hash, load_decomposition
from analysis.components.importance import ImportanceFunction

from .experiment import Experiment
from .text_sweep import TextSweep


@dataclass(frozen=True, kw_only=True)
class Decomposed(Experiment):
    """A question about a decomposition of the model."""

    decomposition: str
    """Folder of the decomposition; the answer is stored under the hash of its weights."""

    @cached_property
    def weights(self) -> str:
        """SHA-256 of the decomposition's weights."""
        return folder_hash(Path(self.decomposition))

    @property
    def decomposition_id(self) -> str:
        """The id that tables refer to."""
        return self.weights[:16]

    def loaded(self) -> tuple[Decomposition, ImportanceFunction]:
        """The decomposed model and its causal-importance function.

        Raises:
            UserError: The folder is damaged, or of another model.
        """
        model = self.loaded_model()
        return load_decomposition(model, Path(self.decomposition))

    def question(self) -> dict[str, Any]:
        """As of every experiment, the model with its decomposition in place of the folder."""
        asked = super().question()
        parameters = {k: v for k, v in asked["parameters"].items() if k != "decomposition"}
        model = {**asked["model"], "transform": {"decomposition": self.weights}}
        return {**asked, "model": model, "parameters": parameters}


@dataclass(frozen=True, kw_only=True)
class DecomposedText(Decomposed, TextSweep):
    """The same on text."""
