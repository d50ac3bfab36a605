"""What a live notebook shows beside its answers: progress, and mistakes in what was asked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import marimo as mo

from analysis.errors import UserError
from book.editions import listed_models, model_names
from store import StoreError

if TYPE_CHECKING:
    from analysis.questions.asked import Asked
    from analysis.questions.study import Study
    from store import Report

    S = TypeVar("S", bound=Study[Any])

P = ParamSpec("P")
T = TypeVar("T")

_STEPS = 1000


@contextmanager
def progress_bar(title: str) -> Generator[Report]:
    """A marimo progress bar for `store.recall(experiment, progress_bar)`.

    Args:
        title: What is being computed.

    Yields:
        Moves the bar; reports that go back are ignored.
    """
    shown = 0
    with mo.status.progress_bar(total=_STEPS, title=title, remove_on_exit=True) as bar:

        def report(done: int, total: int, what: str) -> None:
            nonlocal shown
            step = max(0, round(_STEPS * done / max(total, 1)) - shown)
            shown += step
            bar.update(increment=step, subtitle=what)

        yield report


def answered(ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a question answers; a mistake in it ends the cell with a message instead.

    Args:
        ask: Called with the rest, such as `store.recall`.
        *args: Its arguments.
        **kwargs: And by name.

    Returns:
        The answer.
    """
    try:
        return ask(*args, **kwargs)
    except (UserError, StoreError) as error:
        message = mo.Html(f"<span>{escape(str(error))}</span>")
        mo.stop(predicate=True, output=mo.callout(message, kind="warn"))
        raise


def boxes() -> tuple[mo.ui.text, mo.ui.text]:
    """What a chapter is about, to be typed; at first what the notebook's command line names.

    Returns:
        The model and the source of text, as `requested` takes their values.
    """
    options = mo.cli_args()
    model = mo.ui.text(value=str(options.get("model") or "reference"), label="model")
    source = mo.ui.text(value=str(options.get("text") or "reference"), label="text")
    return model, source


def models_box() -> tuple[mo.ui.text, mo.ui.text]:
    """Which models a chapter compares, to be typed; at first those of the command line.

    Returns:
        The models, separated by commas, and the source of text, as `requested_each` takes their
        values.
    """
    options = mo.cli_args()
    _, source = boxes()
    named = str(options.get("models") or options.get("model") or "reference")
    return mo.ui.text(value=named, label="models", full_width=True), source


def requested(model: str, text: str) -> Asked:
    """What a chapter is about; a mistake in it ends the cell with a message.

    Args:
        model: What `load_model` takes.
        text: What `read_source` takes.

    Returns:
        Model and text, with the profile of the notebook's command line.
    """
    return answered(_asked, model, text)


def studied(kind: type[S], asked: Asked) -> S:
    """The study of a model; what hinders it ends the cell with a message.

    Args:
        kind: Which study.
        asked: What a chapter is about.
    """
    name, why = escape(asked.card.name), escape(kind.hindrance(asked))
    told = mo.Html(f"<p><em>Not testable</em> in <b>{name}</b>: {why}.</p>")
    mo.stop(bool(why), told)
    return kind(asked)


def tokens_note(asked: Asked) -> mo.Html:
    """What sequences start with, and what random tokens are drawn from.

    Args:
        asked: What a chapter is about.

    Returns:
        A sentence each; the names of tokens and texts are data, and show as they are.
    """
    return mo.Html(f"<p>{escape(answered(lambda: asked.tokens_said))}</p>")


def requested_each(models: str, text: str) -> dict[str, Asked]:
    """What a chapter about several models compares; a mistake ends the cell with a message.

    Args:
        models: What `load_model` takes, separated by commas.
        text: What `read_source` takes.

    Returns:
        What is asked of each, by the name that the book shows.
    """

    def each() -> dict[str, Asked]:
        found = [_asked(model, text) for model in listed_models(models)]
        names = model_names([asked.card for asked in found])
        return dict(zip(names, found, strict=True))

    return answered(each)


def _asked(model: str, text: str) -> Asked:
    """Model and text, both of which can be read.

    Raises:
        UserError: One of them cannot.
    """
    from analysis.questions.asked import Asked  # noqa: PLC0415 - imports torch
    from analysis.text.sources import read_source  # noqa: PLC0415

    found = Asked.of(model, {**mo.cli_args().to_dict(), "text": text})
    _ = found.card, read_source(text, found.seed, n_tokens=1)
    return found
