"""Questions about facts in a context, and what the model as it is answers."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.errors import UserError
from analysis.files import regular_bytes
from analysis.questions.experiment import Experiment
from analysis.questions.rows import absence
from analysis.questions.work import Work
from analysis.studies.retrieval.answering.baseline import Baseline
from analysis.studies.retrieval.answering.items import MAX_NEW, record_items
from analysis.studies.retrieval.answering.prompts import Prompt, prompt
from analysis.text.english import Split
from analysis.text.records import FACTS
from analysis.text.tokens import Tokens

from .jsonl import LARGEST, Refused, fitting, read_items

FROM_FILE = "file"
"""The split of a user's own items."""


@dataclass(frozen=True, kw_only=True)
class Asking(Experiment):
    """An experiment that asks questions whose answers stand in their contexts."""

    bos: bool
    """Whether every prompt starts with the tokenizer's BOS."""

    @property
    @abstractmethod
    def split_name(self) -> str:
        """A value of `Split`, or `file`."""

    @cached_property
    @abstractmethod
    def prompts(self) -> tuple[Prompt, ...]:
        """The questions."""

    @cached_property
    def tokens(self) -> Tokens:
        """The prompts, filled on the right to one length; their answers and spans are targets."""
        longest = max(len(asked.ids) for asked in self.prompts)
        rows = [
            [*asked.ids, *[asked.ids[-1]] * (longest - len(asked.ids))] for asked in self.prompts
        ]
        targets = [
            place
            for asked in self.prompts
            for part in ((len(asked.ids),), asked.needle, asked.answer, asked.wrong or ())
            for place in part
        ]
        return Tokens(
            np.array(rows, dtype=np.int32),
            f"{self.split_name} questions",
            self.source,
            self.bos,
            self.vocabulary.hash,
            tuple(targets),
        )

    @property
    def source(self) -> str:
        """Where the questions come from."""
        return f"records, seed {self.seed}"

    def data(self) -> Sequence[Tokens]:
        """The prompts."""
        return [self.tokens]

    def asked_work(self, n_follow: int) -> Work:
        """Every context once, and behind it some tokens for each thing that is asked.

        Args:
            n_follow: How often a question is read with something behind it, beside the answer.
        """
        follow = (len(one.ids) - one.query[0] + len(one.answer) for one in self.prompts)
        n_tokens = sum(len(one.ids) + MAX_NEW for one in self.prompts) + n_follow * sum(follow)
        return Work(layers=self.card.n_layers * n_tokens, logits=MAX_NEW * len(self.prompts))

    def item_rows(self, answers: Sequence[Baseline]) -> pl.DataFrame:
        """Rows of `retrieval_items`, one a question."""
        rows = [
            {
                "model": self.card.model,
                "text": self.tokens.text,
                "sequence": sequence,
                "split": self.split_name,
                "item": asked.item.id,
                "fact": asked.item.fact,
                "n_tokens": len(asked.ids),
                "n_records": 1 + len(asked.item.wrong),
                "depth": asked.item.depth,
                "answer": asked.item.answer,
                "generated": said.generated,
                "correct": said.correct,
                "log_p": said.log_p,
                "logit_difference": said.logit_difference,
                "answer_rank": said.answer_rank,
            }
            for sequence, (asked, said) in enumerate(zip(self.prompts, answers, strict=True))
        ]
        return pl.DataFrame(rows, schema_overrides=_TYPES)


_TYPES = {
    **dict.fromkeys(("sequence", "n_tokens", "n_records", "answer_rank"), pl.Int32),
    "logit_difference": pl.Float64,
}


@dataclass(frozen=True, kw_only=True)
class RecordQuestions(Asking):
    """Questions about all facts of generated records."""

    n_tokens: int
    """Length of every prompt, with the BOS, up to and with `Answer:`."""
    n_records: int
    """Records in a context: chance is 1 / n_records."""
    n_items: int
    """Questions about each fact."""

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """The questions, one fact after the other."""
        found = [
            record_items(
                self.vocabulary,
                split=Split(self.split_name),
                fact=fact,
                n_tokens=self.n_tokens,
                n_records=self.n_records,
                n_items=self.n_items,
                seed=self.seed,
                bos=self.bos,
            )
            for fact in FACTS
        ]
        return tuple(
            prompt(item, self.vocabulary, bos=self.bos) for items in found for item in items
        )


@dataclass(frozen=True, kw_only=True)
class FileQuestions(Asking):
    """A user's own questions."""

    file: str
    """A `.jsonl` file, as `analysis.studies.retrieval.jsonl.read_items` takes it."""

    @property
    def split_name(self) -> str:
        """`file`: nothing tells training and test apart."""
        return FROM_FILE

    @cached_property
    def _read(self) -> tuple[tuple[Prompt, ...], tuple[Refused, ...]]:
        items, refused = read_items(Path(self.file))
        prompts, misfits = fitting(items, self.vocabulary, n_ctx=self.card.n_ctx, bos=self.bos)
        every = (*refused, *misfits)
        if not prompts:
            first = f", the first: {every[0]}" if every else ""
            raise UserError(
                f"expected at least 1 item in {self.file}, all {len(every)} were refused{first}; "
                "mend them"
            )
        return tuple(prompts), every

    @property
    def every_prompt(self) -> tuple[Prompt, ...]:
        """The questions that can be asked."""
        return self._read[0]

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """Those of them that are asked: all."""
        return self.every_prompt

    @property
    def refused(self) -> tuple[Refused, ...]:
        """The items that cannot."""
        return self._read[1]

    @cached_property
    def _sha256(self) -> str:
        return hashlib.sha256(regular_bytes(Path(self.file), LARGEST)).hexdigest()

    @property
    def source(self) -> str:
        """The file's name and the hash of its bytes."""
        return f"{Path(self.file).name} sha256:{self._sha256}"

    def question(self) -> dict[str, Any]:
        """The same wherever the file lies."""
        found = super().question()
        return {**found, "parameters": {**found["parameters"], "file": self._sha256}}

    def refusals(self) -> list[pl.DataFrame]:
        """Rows of `absences`, one for each refused item."""
        return [
            absence(self.card, "retrieval_items", one.place, one.reason) for one in self.refused
        ]
