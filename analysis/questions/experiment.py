"""What every question shares, and those that a model is run for: experiments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import polars as pl

from analysis.models.files.card import ModelCard, read_card
from analysis.models.load import Model, load_model
from analysis.precision import Precision
from analysis.progress import Report
from analysis.text.tokens import Tokens, Vocabulary

from .work import Work, scored


@dataclass(frozen=True, kw_only=True)
class Question(ABC):
    """A question about one model, whose fields are everything that its answer depends on."""

    version: ClassVar[int]
    """Raised by hand when the same question gets another answer."""

    seed: int
    """Of everything that is drawn: tokens, prompts, resamples."""

    def units(self) -> Sequence[Question]:
        """The parts that are stored on their own: this one."""
        return [self]

    @abstractmethod
    def question(self) -> dict[str, Any]:
        """What the answer is stored under: model, tokens, parameters, dtype and seed."""

    @abstractmethod
    def subjects(self) -> dict[str, pl.DataFrame]:
        """The rows of `models` and `texts` that the answer is about."""

    @abstractmethod
    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compute the answer.

        Args:
            report: Told the progress.

        Returns:
            Tidy frames by table name.
        """


@dataclass(frozen=True, kw_only=True)
class Experiment(Question):
    """A question that a model is run for, or its weights read."""

    model: str
    """What `load_model` takes."""
    device: str = "cpu"
    """Where to compute; the answer is stored under the same key whatever it is."""
    dtype: str = "float32"
    """A value of `Precision`: what the blocks compute in."""
    config_bos: bool = False
    """As in `Vocabulary`; the answer is stored under its tokens."""
    no_bos: bool = False
    """Whether sequences start without a BOS though there is one; likewise."""

    @cached_property
    def card(self) -> ModelCard:
        """Which model that is."""
        return read_card(self.model)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The model's tokenizer."""
        return Vocabulary(self.card.folder, self.card.vocab, self.config_bos, self.no_bos)

    def loaded_model(self) -> Model:
        """The model, in its precision, on its device."""
        return load_model(self.model, self.device, Precision(self.dtype))

    def work(self) -> Work:
        """What is run of the model: a pass over all data, whose patterns are scored."""
        return scored(self.card, *self.data())

    @property
    def together(self) -> Hashable:
        """What units share that are best computed by one process, one after the other; or None."""
        return None

    @abstractmethod
    def data(self) -> Sequence[Tokens]:
        """The rows of tokens that the model is run on, in order."""

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Rows of `absences` that are sure before anything is measured; `run` leaves them too.

        Args:
            model: The loaded model.
        """
        del model
        return []

    def units(self) -> Sequence[Experiment]:
        """The parts that are stored on their own: this one."""
        return [self]

    def question(self) -> dict[str, Any]:
        """What the answer is stored under: model, tokens, parameters, dtype and seed."""
        apart = {"model", "seed", "text", "device", "dtype", "config_bos", "no_bos"}
        return {
            "model": self.card.identity,
            "tokens": [tokens.sha256 for tokens in self.data()],
            "parameters": {
                field.name: getattr(self, field.name)
                for field in fields(self)
                if field.name not in apart
            },
            "dtype": self.dtype,
            "seed": self.seed,
        }

    def subjects(self) -> dict[str, pl.DataFrame]:
        """The rows of `models` and `texts` that the answer is about."""
        rows = [tokens.row() for tokens in self.data()]
        texts = pl.concat(rows).unique("text", maintain_order=True) if rows else None
        model = {"models": self.card.row()}
        return model if texts is None else {**model, "texts": texts}
