"""A user's own questions: which heads fetch their answers, and does the model need them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.interventions import HeadSet, Pooling
from analysis.questions.halves import EVEN
from analysis.questions.study import Recall
from analysis.questions.verdicts.head_sets import set_names
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies.retrieval.answering.decoding import Scope

from .choices import FileChoices
from .measures import answerable
from .ranking.curves import FileRetrievalCurves
from .ranking.grid import RetrievalCell
from .ranking.rankings import FileRetrievalScores
from .ranking.sets import RANDOM
from .study import RetrievalStudy

ABOUT = "file"
"""In place of a fact: questions of a file."""


@dataclass(frozen=True, kw_only=True)
class OwnQuestions:
    """What is asked about the questions of a file."""

    study: RetrievalStudy
    file: str
    method: str
    """A value of `Method`: what stands in for heads."""

    def scores(self) -> FileRetrievalScores:
        """What the model answers, and which heads look at the answers."""
        return FileRetrievalScores(
            **self.study.asked.drawn(bos=self.study.asked.with_bos), file=self.file
        )

    def choices(self) -> FileChoices:
        """Which of the answers that a question names the model finds most probable."""
        return FileChoices(**self.study.asked.drawn(bos=self.study.asked.with_bos), file=self.file)

    def cell(self, recall: Recall, scores: Evidence) -> RetrievalCell:
        """Curves of the top heads of every ranking beside random ones, on half of the questions.

        Args:
            recall: Answers a question.
            scores: Answer of `scores`, with some question answered correctly: heads are ranked on
                the other half.

        Raises:
            UserError: There is only one question, or none of the ranking half was answered.
        """
        base = recall(self._curves("base", [()]))
        testable = bool(answerable({ABOUT: base}))
        plan = self.study.plan(scores if testable else None, EVEN)
        families = {"top": plan.tops(), RANDOM: plan.drawn(RANDOM)} if testable else {}
        return RetrievalCell(
            card=self.study.asked.card,
            seed=self.study.asked.seed,
            plan=plan,
            method=self.method,
            scope=Scope.BOTH.value,
            fact=ABOUT,
            base=base,
            curves={name: recall(self._curves(name, sets)) for name, sets in families.items()},
        )

    def _curves(self, family: str, sets: Sequence[HeadSet]) -> FileRetrievalCurves:
        return FileRetrievalCurves(
            **self.study.asked.drawn(bos=self.study.asked.with_bos),
            file=self.file,
            method=self.method,
            pooling=Pooling.PER_POSITION.value,
            scope=Scope.BOTH.value,
            family=family,
            sets=set_names(sets),
            first_draw=0 if family == RANDOM else None,
        )
