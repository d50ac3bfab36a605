"""What is asked once other answers are known, before they are."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from analysis.errors import UserError
from analysis.questions.asked import Asked
from analysis.questions.experiment import Experiment, Question
from analysis.questions.study import Study
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies import studies

from .unknown import Unknown, UnknownError

Known = Callable[[Question], Evidence | None]
"""An answer, or None where it has to be computed."""


def forecast(asked: Asked, known: Known) -> list[Experiment]:
    """What is not asked yet, since what it is about depends on answers that are not there.

    Usual heads stand for those that answers will single out, each study's `expected`; of a kind of
    question of which some have been asked already, so many are left out.

    Args:
        asked: Which model, on what text, how much.
        known: As for `wanted`.

    Returns:
        Questions that will be much like those that are asked then; each once.
    """
    found: dict[Experiment, None] = {}
    for study in studies(asked.chapters):
        made = study.of(asked)
        if made is not None:
            found |= dict.fromkeys(_later(made, known))
    return list(found)


def everything(asked: Asked) -> list[Experiment]:
    """All that is asked of a model, as far as that can be said before any answer is there.

    It does not depend on what a store holds, so that whoever plans by it plans alike.
    """
    first: dict[Experiment, None] = {}
    for study in studies(asked.chapters):
        made = study.of(asked)
        if made is not None:
            first |= dict.fromkeys(_asked(made, _nothing)[0])
    return list(first | dict.fromkeys(forecast(asked, _nothing)))


def _nothing(_question: Question) -> None:
    """No answer is known."""


def _later(study: Study[Any], known: Known) -> Iterator[Experiment]:
    now, done = _asked(study, known)
    if done:
        return
    first, _ = _asked(study, _nothing)
    later = Counter(type(one) for one in now if one not in first)
    with suppress(UserError):
        for one in study.expected():
            one.data()
            if later[type(one)]:
                later[type(one)] -= 1
            else:
                yield one


def _asked(study: Study[Any], known: Known) -> tuple[dict[Experiment, None], bool]:
    """What a study asks with what is known, and whether that is all."""
    found: dict[Experiment, None] = {}

    def ask(question: Question) -> Evidence:
        if isinstance(question, Experiment):
            question.data()  # what the model cannot be asked is refused here, as it will be then
            found[question] = None
        answer = known(question) if isinstance(question, Experiment) else None
        return Unknown() if answer is None else answer

    try:
        deque(study.findings(ask), maxlen=0)
    except UnknownError:
        return found, False
    return found, True
