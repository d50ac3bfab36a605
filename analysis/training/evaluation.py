"""The figures of the model card: held-out items, 95 % intervals, and a command for each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import NotRequired, TypedDict

import numpy as np
import torch
from tokenizers import Tokenizer

from analysis import scores
from analysis.errors import UserError
from analysis.interventions import Head
from analysis.interventions.passes.stream import Score, stream_scores
from analysis.models.load import Model
from analysis.progress import Report, silent
from analysis.questions.halves import strongest_first
from analysis.statistics.comparisons import wilson
from analysis.statistics.resampling import mean_interval
from analysis.text.repeats import repeated_tokens

from .abilities import (
    answers,
    copy_losses,
    gift_items,
    question_items,
    successor_items,
    token_losses,
)
from .bigram import Bigram
from .corpus import Corpus

N_ITEMS = 1000
N_TOKENS = 512
N_RECORDS = 4
SEED = "model card"


class Figure(TypedDict):
    """A measured number with its 95 % interval."""

    estimate: float
    lower: float
    upper: float
    n: int
    head: NotRequired[str]
    """Which head it is about."""


@dataclass(frozen=True)
class Subject:
    """A model to evaluate, and the prose that it was trained on."""

    model: Model
    tokenizer: Tokenizer
    corpus: Corpus | None
    """None when only generated items are asked about."""

    def rng(self, name: str) -> Random:
        """Where one figure's items are drawn from, whichever others are asked for."""
        return Random(f"{SEED}/{name}")

    @cached_property
    def prose(self) -> np.ndarray:
        """Consecutive rows of held-out prose, each after BOS."""
        if self.corpus is None:
            raise UserError(
                "expected a corpus for figures on prose, got none; give its folder with --corpus"
            )
        ids = [i for text in self.corpus.held_out for i in self.tokenizer.encode(text).ids]
        body = N_TOKENS - 1
        rows = [[0, *ids[i : i + body]] for i in range(0, len(ids) - body, body)]
        return np.array(rows, dtype=np.int32)

    def repeats(self, name: str) -> list[np.ndarray]:
        """Batches of blocks of random tokens shown twice, 10 to 200 tokens long."""
        rng = self.rng(name)
        ids = range(1, self.model.card.vocab)
        lengths = [rng.randrange(10, 201) for _ in range(max(2, N_ITEMS // 8))]
        return [
            np.array([repeated_tokens(rng, ids, [0], n, shuffled=False) for _ in range(8)])
            for n in lengths
        ]


def share(hits: Sequence[bool]) -> Figure:
    """A share with its Wilson interval."""
    lower, upper = wilson(sum(hits), len(hits))
    return {"estimate": sum(hits) / len(hits), "lower": lower, "upper": upper, "n": len(hits)}


def mean(values: Iterable[float]) -> Figure:
    """A mean with its bootstrap interval over sequences."""
    column = np.array(list(values), dtype=float)
    estimate, lower, upper = mean_interval(column, seed=0)
    return {"estimate": estimate, "lower": lower, "upper": upper, "n": len(column)}


def _copy(subject: Subject, copy: int) -> Figure:
    batches = subject.repeats("repeats")
    losses = [copy_losses(subject.model.net, torch.from_numpy(rows)) for rows in batches]
    return mean(loss for both in losses for loss in both[copy])


def _answered(subject: Subject, items: tuple[list[str], list[str]]) -> Figure:
    return share(answers(subject.model.net, subject.tokenizer, *items))


def _questions(subject: Subject) -> Figure:
    rng = subject.rng("questions")
    return _answered(subject, question_items(rng, subject.tokenizer, N_ITEMS, N_TOKENS, N_RECORDS))


def _prose_loss(subject: Subject) -> Figure:
    batches = torch.from_numpy(subject.prose.astype(np.int64)).split(8)
    return mean(
        loss for rows in batches for loss in token_losses(subject.model.net, rows).mean(1).tolist()
    )


def _bigram_loss(subject: Subject) -> Figure:
    rows = subject.prose
    texts = [] if subject.corpus is None else subject.corpus.train
    ids = [i for text in texts for i in (0, *subject.tokenizer.encode(text).ids)]
    bigram = Bigram(ids, subject.model.card.vocab)
    return mean(bigram.losses(rows[:, :-1], rows[:, 1:]).mean(1))


def _previous_token_head(subject: Subject) -> Figure:
    score: dict[str, Score] = {"score": lambda p, _: scores.previous_token_score(p)}
    return strongest(stream_scores(subject.model, subject.prose, score, silent)["score"])


def _induction_head(subject: Subject) -> Figure:
    score: dict[str, Score] = {"score": lambda p, _: scores.induction_score(p, 1)}
    found = [
        stream_scores(subject.model, rows, score, silent)["score"]
        for rows in subject.repeats("induction head")
    ]
    return strongest(np.concatenate(found))


def strongest(values: np.ndarray) -> Figure:
    """The head that is strongest on the even sequences, measured on the odd ones."""
    head = Head(*divmod(int(strongest_first(values)[0]), values.shape[2]))
    return {**mean(values[1::2, head.layer, head.head]), "head": str(head)}


@dataclass(frozen=True)
class Ability:
    """One row of the card."""

    meaning: str
    measure: Callable[[Subject], Figure]
    on_prose: bool = False
    """Whether it needs the corpus."""


ABILITIES = {
    "first_copy_loss": Ability(
        "loss on random tokens, nats per token", lambda subject: _copy(subject, 0)
    ),
    "second_copy_loss": Ability(
        "loss on the same block shown again (10 to 200 tokens), nats per token",
        lambda subject: _copy(subject, 1),
    ),
    "indirect_object": Ability(
        "receiver of a gift named, held-out names and templates",
        lambda subject: _answered(subject, gift_items(subject.rng("gifts"), N_ITEMS)),
    ),
    "questions": Ability(
        f"questions answered exactly, {N_RECORDS} filings in {N_TOKENS} tokens, held-out firms, "
        "values and templates",
        _questions,
    ),
    "successor": Ability(
        "next member of an ordered list, held-out templates",
        lambda subject: _answered(subject, successor_items(subject.rng("lists"), N_ITEMS)),
    ),
    "prose_loss": Ability(
        "loss on the held-out 5 % of every corpus file, nats per token", _prose_loss, on_prose=True
    ),
    "bigram_loss": Ability(
        "loss of a bigram model (Witten-Bell) of the same training prose on the same tokens",
        _bigram_loss,
        on_prose=True,
    ),
    "previous_token_head": Ability(
        "previous-token score of the strongest head, held-out prose",
        _previous_token_head,
        on_prose=True,
    ),
    "induction_head": Ability(
        "induction score of the strongest head, blocks of 10 to 200 random tokens",
        _induction_head,
    ),
}
"""Every figure of the card."""


def evaluate(subject: Subject, names: Sequence[str], report: Report) -> dict[str, Figure]:
    """Measure abilities on held-out templates, names, values and seeds.

    Args:
        subject: The model, in evaluation mode.
        names: Of `ABILITIES`; each is the same whichever others are measured.
        report: Told the progress.

    Returns:
        Figures by name: losses in nats per token, shares of right answers, attention in [0, 1].

    Raises:
        UserError: A figure needs prose and there is no corpus.
    """
    figures: dict[str, Figure] = {}
    with torch.inference_mode():
        for i, name in enumerate(names):
            report(i, len(names), name)
            figures[name] = ABILITIES[name].measure(subject)
    report(len(names), len(names), "")
    return figures


class Made(TypedDict):
    """What a model was made of, and what it can do: `evaluation.json`."""

    recipe: dict[str, float]
    corpus: dict[str, dict[str, str]]
    evaluation: dict[str, Figure]


def card(made: Made, again: Made | None) -> str:
    """The model card as Markdown.

    Args:
        made: The model that the card is of.
        again: Another seed of the same recipe, whose weights are not kept.

    Returns:
        Its text; every figure is a measured one.
    """
    recipe = made["recipe"]
    seeds = [int(run["recipe"]["seed"]) for run in (made, again) if run is not None]
    columns = [f"seed {seed}, 95 % (n)" for seed in seeds]
    figures = [
        " | ".join(
            [
                f"| {ability.meaning}",
                *(_cell(run["evaluation"][name]) for run in (made, again) if run is not None),
                f"`{command(name)}` |",
            ]
        )
        for name, ability in ABILITIES.items()
    ]
    other = (
        f"Seed {seeds[1]} is a second run of the same recipe from another start; its weights are "
        "not kept. "
        if again is not None
        else ""
    )
    lines = [
        "# The reference model",
        "",
        "A `LlamaSimpleMLP` of 4 layers and 8 heads (4 key-value heads), trained on public-domain "
        "prose and generated text. Made, and measured, by",
        "",
        "```",
        f"headbook train-reference --corpus DIR --out RUN --steps {recipe['n_steps']} "
        f"--seed {seeds[0]}",
        "```",
        "",
        f"| held-out ability | {' | '.join(columns)} | measured by |",
        "|---" * (len(columns) + 2) + "|",
        *figures,
        "",
        f"{other}Shares have Wilson intervals, the rest bootstrap intervals over sequences; heads "
        "are chosen on every second sequence and measured on the others. Weights are stored, and "
        "measured, in bfloat16 precision.",
        "",
        "Held out from training are: templates, questions and introductions of lists; firms; the "
        "last part of every corpus file. Held-out names are characters of stories in training, "
        "but nobody gives them anything and they give nothing; held-out states are mentioned, but "
        "in no filing. Training was watched, and its recipe extended until both seeds passed, on "
        "64 other items of the same held-out kinds: they are held out from the weights, not from "
        "the choice of the recipe.",
        "",
        "## Corpus",
        "",
        "| file | source | SHA-256 |",
        "|---|---|---|",
        *(
            f"| {name} | {file['source']} | {file['sha256']} |"
            for name, file in made["corpus"].items()
        ),
        "",
    ]
    return "\n".join(lines)


def command(name: str) -> str:
    """What measures one figure of the shipped model again."""
    corpus = " --corpus DIR" if ABILITIES[name].on_prose else ""
    return f"headbook evaluate-reference --only {name}{corpus}"


def _cell(figure: Figure) -> str:
    head = f"{figure['head']}: " if "head" in figure else ""
    return (
        f"{head}{figure['estimate']:.3f} ({figure['lower']:.3f} to {figure['upper']:.3f}; "
        f"{figure['n']})"
    )
