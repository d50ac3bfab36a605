"""`headbook ask`: a user's own questions, and the heads that fetch their answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from book.options import PATH, with_size, with_store
from book.terminal import say
from store import Store

if TYPE_CHECKING:
    from analysis.questions.verdicts.judgement import Evidence

EPILOG = """\b
A line of FILE, the span in characters of the context:
  {"id": "a1", "context": "...", "question": "Question: ... Answer:",
   "answer": "Utah", "answer_span": [120, 124], "wrong": ["Ohio", "Iowa"]}
`wrong` may be left out; with it, log probabilities are compared, too.
The question follows the context on a line of its own.

\b
Example:
  headbook ask questions.jsonl --model gpt2 --method uniform"""
SHOWN = 5
"""Heads that are named for each score."""


@click.command(name="ask", epilog=EPILOG)
@click.argument("file", type=PATH)
@click.option("--model", default="reference", show_default=True, help="As for `headbook run`.")
@click.option(
    "--method",
    type=click.Choice(["zero", "uniform", "mean"]),
    default="zero",
    show_default=True,
    help="What stands in for heads.",
)
@with_size
@with_store
def ask_file(  # noqa: PLR0913 - one parameter for each option
    *,
    file: Path,
    model: str,
    method: str,
    profile: str,
    seed: int,
    device: str,
    store_path: Path,
) -> None:
    """Ask the questions of FILE, a JSON object a line, and rank and ablate heads by them.

    Heads are ranked on every other question, and replaced on the rest beside random ones. Lines
    that cannot be asked are named and counted; the others are kept.
    """
    from analysis.errors import UserError  # noqa: PLC0415 - imports torch
    from analysis.questions.asked import Asked, told_sizes  # noqa: PLC0415
    from analysis.studies.retrieval.choice_views import choice_line  # noqa: PLC0415
    from analysis.studies.retrieval.own_questions import OwnQuestions  # noqa: PLC0415
    from analysis.studies.retrieval.study import RetrievalStudy  # noqa: PLC0415
    from analysis.studies.retrieval.views import cell_lines  # noqa: PLC0415

    asked = Asked(model=model, **told_sizes(profile), seed=seed, device=device)
    study = RetrievalStudy.of(asked)
    if study is None:
        raise UserError(
            f"expected a tokenizer beside {model}, found none; save tokenizer.json there"
        )
    questions = OwnQuestions(study=study, file=str(file), method=method)
    store, wanted = Store.planned(store_path), questions.scores()
    for refused in wanted.refused:
        say(f"headbook: {refused}", err=True)
    scores = store.recall(wanted)
    for line in _told(scores, len(wanted.refused)):
        say(line)
    if any(one.item.wrong for one in wanted.prompts):
        say(choice_line(store.recall(questions.choices())))
    if scores["retrieval_items"]["correct"].any():
        click.echo(f"answered with top heads replaced ({method}); with random ones in brackets")
        for line in cell_lines(store.recall(questions.cell(store.recall, scores))):
            say(f"  {line}")
    click.get_current_context().exit(2 if wanted.refused else 0)


def _told(scores: Evidence, n_refused: int) -> Iterator[str]:
    """How many questions were answered, and the first heads of each ranking."""
    from analysis.studies.retrieval.ranking.rankings import SCORES  # noqa: PLC0415 - imports torch
    from analysis.studies.retrieval.views import first_heads  # noqa: PLC0415

    right = scores["retrieval_items"]["correct"]
    yield f"{len(right)} asked, {n_refused} refused, {right.sum()} answered correctly"
    for score in SCORES:
        yield f"  {score:<17} {first_heads(scores, score, SHOWN)}"
