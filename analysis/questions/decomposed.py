"""What is asked of parameter components: which decomposition, of whose weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from analysis.components.decomposed import Decomposition
from analysis.components.folder import default_folder, folder_hash, load_decomposition
from analysis.components.importance import ImportanceFunction
from analysis.precision import Precision

from .asked import Asked
from .experiment import Experiment
from .study import TextStudy, Z
from .text_sweep import TextSweep

S = TypeVar("S", bound="DecomposedStudy[Any]")


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


@dataclass(frozen=True)
class DecomposedStudy(TextStudy[Z]):
    """A study of the components of a model that has a decomposition."""

    decomposition: str
    """Its folder."""

    @classmethod
    def hindrance(cls, asked: Asked) -> str:
        """A model has no decomposition, or no tokenizer, or computes in another precision.

        Components are of weights in float32.
        """
        if default_folder(asked.card) is None:
            return "the model has no decomposition"
        if asked.dtype != Precision.FLOAT32.value:
            return f"components are of weights in float32, not {asked.dtype}"
        return super().hindrance(asked)

    @classmethod
    def of(cls: type[S], asked: Asked) -> S | None:
        """With the model's own decomposition."""
        return None if cls.hindrance(asked) else cls(asked, str(default_folder(asked.card)))

    def text_rows(self, n_sequences: int, n_tokens: int) -> dict[str, Any]:
        """Rows of the text, as experiments on components take them."""
        rows = self.asked.text_rows(n_sequences, n_tokens)
        return {**rows, "decomposition": self.decomposition}
