"""What a model would answer if it had to name one of the records, beside what it says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import polars as pl

from analysis.progress import Report
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.work import Work
from analysis.studies.retrieval.answering.choices import choices
from analysis.studies.retrieval.answering.items import Example, with_example
from analysis.studies.retrieval.answering.prompts import Prompt, prompts
from analysis.text.english import Split

from .questions import Asking, FileQuestions, RecordQuestions


@dataclass(frozen=True, kw_only=True)
class Choosing(Asking):
    """Questions that are answered freely, and by choice among what the records say."""

    def work(self) -> Work:
        """Every record's answer is read behind the question."""
        return self.asked_work(max(1 + len(asked.item.wrong) for asked in self.prompts))

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Ask.

        Returns:
            `retrieval_items`, the greedy answers; and `retrieval_choices`.
        """
        found = choices(self.loaded_model(), self.prompts, self.vocabulary, report)
        rows = [
            {"sequence": at, "item": asked.item.id, "candidate": i, "answer": said, "log_p": log_p}
            for at, (asked, one) in enumerate(zip(self.prompts, found, strict=True))
            for i, (said, log_p) in enumerate(zip(one.answers, one.log_p, strict=True))
        ]
        types = {"sequence": pl.Int32, "candidate": pl.Int32}
        about = {"model": self.card.model, "text": self.tokens.text, "example": self.example}
        return {
            "retrieval_items": self.item_rows([one.said for one in found]),
            "retrieval_choices": pl.DataFrame(rows, schema_overrides=types).with_columns(
                **{name: pl.lit(value) for name, value in about.items()}
            ),
        }

    @property
    def example(self) -> str:
        """A value of `Example`."""
        return Example.NONE.value


@dataclass(frozen=True, kw_only=True)
class RecordChoices(RecordQuestions, Choosing):
    """Which record's answer does a model find most probable, on the items for tests?"""

    version: ClassVar[int] = 1

    begins_with: str
    """A value of `Example`: what stands before every context, beyond `n_tokens`."""

    @property
    def split_name(self) -> str:
        """The items that heads are tested on."""
        return Split.TEST.value

    @property
    def example(self) -> str:
        """A value of `Example`."""
        return self.begins_with

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """The questions, one fact after the other."""
        items = [asked.item for asked in super().prompts]
        shown = [with_example(item, Example(self.begins_with)) for item in items]
        return prompts(shown, self.vocabulary, bos=self.bos)


@dataclass(frozen=True, kw_only=True)
class FileChoices(FileQuestions, Choosing):
    """Which of the answers that a user's questions name does a model find most probable?"""

    version: ClassVar[int] = 1


def preferred(answer: Evidence) -> pl.DataFrame:
    """Whether the right answer is more probable than any other that the records give.

    Args:
        answer: Of `RecordChoices` or `FileChoices`.

    Returns:
        Columns `sequence`, `right`, and `chance`, 1 over the number of answers; no rows for
        questions that name no other answer.
    """
    right = pl.col("candidate") == 0
    best, other = (pl.col("log_p").filter(part).max() for part in (right, ~right))
    each = (
        answer["retrieval_choices"]
        .group_by("sequence")
        .agg(right=best > other, chance=1 / pl.len())
    )
    return each.drop_nulls().sort("sequence")
