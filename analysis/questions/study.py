"""A study: everything that one room asks of a model, and the claims that come of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import polars as pl

from analysis.models.load import Model
from analysis.text.tokens import NO_TOKENIZER

from .asked import Asked, Profile, with_own
from .experiment import Experiment, Question
from .verdicts.judgement import Evidence

S = TypeVar("S", bound="Study[Any]")
Z = TypeVar("Z")
"""Sizes of a study alone; None where it has none."""
Recall = Callable[[Question], Evidence]
"""Answers a question, from a store or by computing it."""


@dataclass(frozen=True)
class Study(ABC, Generic[Z]):
    """One question about a model, at a reader's sizes."""

    SIZES: ClassVar[Mapping[Profile, Any]] = {}
    """How much of what this study alone measures, for each profile."""
    FIGURES: ClassVar[Mapping[str, str]] = {}
    """The cell that shows each claim, `<notebook>#<cell>`, by its name or a pattern of names; the
    first that fits."""

    asked: Asked

    @classmethod
    def hindrance(cls, asked: Asked) -> str:
        """Why a model has nothing that could be asked about; empty where it has."""
        del asked
        return ""

    @classmethod
    def of(cls: type[S], asked: Asked) -> S | None:
        """The study of a model, or None where something hinders it."""
        return None if cls.hindrance(asked) else cls(asked)

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Rows of `absences` that are sure before anything is measured.

        Args:
            model: The loaded model.

        Raises:
            UserError: Nothing of it can be asked.
        """
        del model
        return []

    @property
    def sizes(self) -> Z:
        """Those of the profile, or a reader's own."""
        room = type(self).__module__.split(".")[-2]
        return with_own(self.SIZES[self.asked.profile], self.asked.own, room)

    @abstractmethod
    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Ask everything.

        Args:
            recall: Answers a question.

        Yields:
            Answers with the table `claims`.
        """

    def expected(self) -> Iterator[Experiment]:
        """What `findings` asks once the answers are there that it depends on.

        Usual heads stand for those that the answers will single out: what that takes is estimated
        before anything is known. None, where nothing depends on an answer.
        """
        yield from ()


@dataclass(frozen=True)
class TextStudy(Study[Z]):
    """A study of a model that reads text."""

    @classmethod
    def hindrance(cls, asked: Asked) -> str:
        """A model without a tokenizer reads none."""
        return NO_TOKENIZER if asked.vocabulary.tokenizer is None else ""
