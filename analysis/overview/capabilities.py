"""What a model is, what holds of it, and which chapters it gets: known before anything is asked.

What a chapter lacks is said by its own experiments, so that this and the store cannot disagree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from analysis.components.folder import default_folder, folder_hash
from analysis.errors import UserError
from analysis.interventions.passes.staircase import walks
from analysis.models.load import Model
from analysis.models.parts.anatomy import asks_interface
from analysis.models.projections import check_linear, surroundings
from analysis.progress import Report
from analysis.questions.asked import Asked, told_sizes
from analysis.questions.experiment import Experiment, Question
from analysis.questions.study import Study
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies import CHAPTERS, STUDIES, studies
from analysis.text import words
from analysis.text.tokens import Tokens, Vocabulary

from .unknown import Unknown, UnknownError

_EVERY = ", ".join(name[:2] for name in CHAPTERS)
_DECOMPOSED = "02, 04, 06, 07"
_ON_TEXT = ", ".join(name[:2] for name in CHAPTERS if name[:2] not in {"01", "02"})


@dataclass(frozen=True, kw_only=True)
class ModelCheck(Experiment):
    """What is this model, what holds of it, and which chapters does it get?"""

    version: ClassVar[int] = 2

    bos: bool | None
    """As in `Asked`."""
    profile: str
    """Whose lengths have to fit the context: `Asked.sizes_told`."""

    @classmethod
    def of(cls, asked: Asked) -> ModelCheck:
        """The check of what is asked about."""
        return cls(**asked.drawn(bos=asked.bos, profile=asked.sizes_told))

    def data(self) -> Sequence[Tokens]:
        """No tokens but a probe of random ones."""
        return ()

    def question(self) -> dict[str, Any]:
        """As of every experiment, with the tokenizer and the decomposition that are there."""
        asked, folder = super().question(), default_folder(self.card)
        about = {
            "tokenizer": self.vocabulary.hash,
            "starts_with": self.vocabulary.bos,
            "decomposition": "" if folder is None else folder_hash(folder),
        }
        return asked | {"parameters": asked["parameters"] | about}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Look at the model.

        Returns:
            `model_parts` and `model_chapters`.

        Raises:
            UserError: The model is refused, and why.
        """
        asked = Asked(
            model=self.model,
            **told_sizes(self.profile),
            bos=self.bos,
            seed=self.seed,
            device=self.device,
            dtype=self.dtype,
        )
        model = self.loaded_model()
        report(1, 2, "parts")
        parts = pl.DataFrame(list(_parts(model, asked.vocabulary)), schema=_PARTS, orient="row")
        chapters = pl.DataFrame(list(_chapters(model, asked)), schema=_CHAPTERS, orient="row")
        report(2, 2, "chapters")
        about = {"model": pl.lit(self.card.model)}
        return {
            "model_parts": parts.with_columns(**about),
            "model_chapters": chapters.with_columns(**about),
        }


_PARTS: dict[str, Any] = dict.fromkeys(("part", "layers", "answer", "chapters"), pl.String)
_CHAPTERS: dict[str, Any] = {
    **dict.fromkeys(("chapter", "score", "data"), pl.String),
    "holds": pl.Boolean,
    "reason": pl.String,
}
_Part = tuple[str, str | None, str, str]
_Chapter = tuple[str, str | None, str | None, bool, str | None]


def _chapters(model: Model, asked: Asked) -> Iterator[_Chapter]:
    """Rows of `model_chapters`: every chapter, and after it what it lacks."""
    rooms: dict[str, type[Study[Any]]] = dict(zip(STUDIES, studies(), strict=True))
    for chapter, names in CHAPTERS.items():
        for name in names:
            found = _lacks(rooms[name], model, asked)
            whole = name == names[0]
            if isinstance(found, str):
                if whole:
                    yield chapter, None, None, False, found
                    break
                yield chapter, name, "components", False, found
                continue
            if whole:
                yield chapter, None, None, True, None
            for gap in found:
                for score, data, reason in gap.select("score", "data", "reason").iter_rows():
                    yield chapter, score, data, False, reason


def _lacks(study: type[Study[Any]], model: Model, asked: Asked) -> list[pl.DataFrame] | str:
    """Rows of `absences` of a study; or why nothing of it can be asked."""
    made = study.of(asked)
    if made is None:
        return study.hindrance(asked)
    try:
        _read(made)
        return made.gaps(model)
    except UserError as error:
        return str(error)


def _read(study: Study[Any]) -> None:
    """Make the tokens of whatever a study asks before it knows an answer.

    Raises:
        UserError: The model cannot be asked on them.
    """

    def ask(question: Question) -> Evidence:
        if isinstance(question, Experiment):
            question.data()
        return Unknown()

    with suppress(UnknownError):
        deque(study.findings(ask), maxlen=0)


def _parts(model: Model, vocabulary: Vocabulary) -> Iterator[_Part]:
    """Rows of `model_parts`."""
    card, holds = model.card, model.holds
    attend = card.attending
    yield "architecture", None, card.architecture, _EVERY
    yield "weights", None, f"{card.n_params:,} parameters, {card.weights[:12]}", _EVERY
    for note in card.notes:
        yield "files", None, note, _EVERY
    size = f"{card.n_layers} layers, width {card.d_model:,}, {card.n_kv_heads} key-value heads"
    yield "size", None, f"{size}, {card.vocab:,} tokens, {card.n_ctx:,} at once", _EVERY
    asks = any(map(asks_interface, model.blocks))
    how = "through transformers' interface" if asks else "by the model itself"
    yield "attention computed", None, how, _EVERY
    heads = ["no attention"] * card.n_layers
    for layer in attend:
        heads[layer] = f"{card.heads_by_layer[layer]} of width {model.W_O(layer).shape[1]}"
    yield from _by_layer("heads", range(card.n_layers), heads, _EVERY)
    before = ["nothing" if holds.plain[layer] else "a gate or a norm" for layer in attend]
    yield from _by_layer("between what heads attend to and W_O", attend, before, "02, 03")
    behind = [_behind(model, layer) for layer in attend]
    yield from _by_layer("between W_O and the residual stream", attend, behind, "01, 02")
    added = [_share(holds.adds[layer]) for layer in attend]
    yield from _by_layer("of what attention writes arrives", attend, added, "02, 05")
    yield "queries, keys and values", None, _said(model), "02"
    walked = "what a whole pass does" if walks(model) else "something else, or nothing"
    yield "layers called one by one compute", None, walked, "02"
    yield "logits", None, _logits(model), "01, 02, 05"
    yield from _words(vocabulary)
    folder = default_folder(card)
    yield "decomposition", None, "none" if folder is None else folder.name, _DECOMPOSED


def _by_layer(
    part: str, layers: Sequence[int], answers: Sequence[str], chapters: str
) -> Iterator[_Part]:
    """A row for each answer, with its layers where there are several."""
    for answer in dict.fromkeys(answers):
        same = [i for i, one in zip(layers, answers, strict=True) if one == answer]
        yield part, None if len(same) == len(layers) else _spans(same), answer, chapters


def _spans(layers: Sequence[int]) -> str:
    """Ascending numbers, such as `0-2, 5`."""
    starts = [i for i in layers if i - 1 not in layers]
    ends = [i for i in layers if i + 1 not in layers]
    spans = zip(starts, ends, strict=True)
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _behind(model: Model, layer: int) -> str:
    if surroundings(model, layer).after is None:
        return "nothing"
    return "a norm" if model.holds.adds[layer] is not None else "something else than a norm"


def _share(share: float | None) -> str:
    if share is None:
        return "no share of it: something else"
    return "all, as it is" if share == 1 else f"a share of {share:.4g}"


def _said(model: Model) -> str:
    try:
        check_linear(model)
    except UserError as error:
        return str(error)
    return "linear in what attention reads"


def _logits(model: Model) -> str:
    found = model.holds.logits
    scaled = "" if found.scale == 1 else f", times {found.scale:.4g}"
    capped = "" if found.cap is None else f", capped at {found.cap:g}"
    return f"the unembedding of the normed residual stream{scaled}{capped}"


def _words(vocabulary: Vocabulary) -> Iterator[_Part]:
    """What the tokenizer does."""
    tokenizer = vocabulary.tokenizer
    if tokenizer is None:
        yield "tokenizer", None, "none", _ON_TEXT
    else:
        names = f"{len(vocabulary.single(words.HELD_OUT_NAMES))} of {len(words.HELD_OUT_NAMES)}"
        known = f"{tokenizer.get_vocab_size():,} tokens; {names} names are one token"
        yield "tokenizer", None, known, _ON_TEXT
    bos = vocabulary.bos
    used = ", ".join(f"id {token} ({vocabulary.display(token)!r})" for token in bos) or "none"
    if tokenizer is not None and bos:
        adds = "adds it too" if vocabulary.adds_bos else "does not add it by itself"
        used += f"; the tokenizer {adds}"
    note = vocabulary.bos_note
    yield "BOS that sequences start with", None, f"{used}; {note}" if note else used, _EVERY


def part_table(parts: pl.DataFrame) -> pl.DataFrame:
    """Rows of `model_parts` as a reader sees them."""
    return parts.select("part", "answer", "layers", "chapters")


def chapter_table(chapters: pl.DataFrame) -> pl.DataFrame:
    """Chapters, and what each lacks with the reason.

    Args:
        chapters: Rows of `model_chapters`.

    Returns:
        Columns `chapter`, `answer` (`yes`, `in part` or `no`), `without` (scores, as `path on
        repeated`; null for a chapter as a whole) and `reason`; a row for each reason.
    """
    lacks = chapters.filter(pl.col("score").is_not_null())
    partly = pl.col("chapter").is_in(lacks["chapter"].to_list())
    whole = chapters.filter(pl.col("score").is_null()).with_columns(
        answer=pl.when(~pl.col("holds"))
        .then(pl.lit("no"))
        .when(partly)
        .then(pl.lit("in part"))
        .otherwise(pl.lit("yes")),
    )
    names = pl.format("{} on {}", "score", "data").str.join(", ").alias("without")
    reasons = lacks.group_by("chapter", "reason", maintain_order=True).agg(names)
    both = pl.concat([whole.filter(pl.col("answer") != "in part"), reasons], how="diagonal")
    return (
        both.with_columns(pl.col("answer").fill_null("in part"))
        .sort("chapter", maintain_order=True)
        .select(pl.col("chapter").str.replace_all("_", " "), "answer", "without", "reason")
    )
