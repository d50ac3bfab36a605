"""All that the book says of a model: every study asked, and its claims."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import polars as pl

from analysis.questions.asked import Asked
from analysis.questions.experiment import Experiment, Question
from analysis.questions.study import Recall, Study
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies import studies

from .capabilities import ModelCheck
from .unknown import Unknown, UnknownError


def findings(asked: Asked, recall: Recall) -> pl.DataFrame:
    """Ask everything, and judge it.

    Args:
        asked: Which model, on what text, how much.
        recall: Answers a question.

    Returns:
        Rows of `claims`, study by study. What the model's tokenizer, depth or decomposition does
        not allow to be asked has none.
    """
    return claims_and_checks(asked, recall)[0]


def claims_and_checks(asked: Asked, recall: Recall) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same, and rows of `checks`: what holds by definition."""
    recall(ModelCheck.of(asked))
    every = (
        answer for study in studies(asked.chapters) for answer in _answers(study, asked, recall)
    )
    judged = {answer.runs: answer for answer in every}.values()  # rooms may share a judgement
    return _rows(judged, "claims"), _rows(judged, "checks")


def _rows(judged: Iterable[Evidence], table: str) -> pl.DataFrame:
    """All rows of a table; a frame without columns where there are none."""
    found = [answer[table] for answer in judged if table in answer]
    return pl.concat(found, how="diagonal_relaxed") if found else pl.DataFrame()


def wanted(asked: Asked, known: Callable[[Question], Evidence | None]) -> list[Experiment]:
    """What can be computed at once, side by side: all questions whose evidence is known.

    Args:
        asked: Which model, on what text, how much.
        known: An answer, or None where it has to be computed.

    Returns:
        Questions without an answer, in the order of `findings`; one may be there twice. Judgements
        are left out: they take no time, and nothing depends on them.
    """
    found: list[Experiment] = []

    def ask(question: Question) -> Evidence:
        with suppress(UnknownError):
            answer = known(question)
            if answer is not None:
                return answer
            if isinstance(question, Experiment):
                found.append(question)
        return Unknown()

    ask(ModelCheck.of(asked))
    for study in studies(asked.chapters):
        with suppress(UnknownError):
            deque(_answers(study, asked, ask), maxlen=0)
    return found


def _answers(study: type[Study[Any]], asked: Asked, recall: Recall) -> Iterator[Evidence]:
    """What a study finds; nothing of a model that has nothing it could be asked about."""
    found = study.of(asked)
    if found is not None:
        yield from found.findings(recall)
