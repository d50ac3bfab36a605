"""Says what a command found in a store and left out or left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from analysis.errors import printable
from book.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store import Store

SHOWN = 10
"""Lines of one kind that are shown; the others are counted."""


def tell_unfit(store: Store) -> None:
    """Name the parts that were set aside, and end the command with exit code 2 if there are any.

    Args:
        store: The store, after everything that the command asks of it.
    """
    if errors := list(store.parts.unfit.values()):
        echo_lines([f"headbook: set aside: {error}" for error in errors])
        click.get_current_context().exit(2)


def echo_lines(lines: Iterable[str]) -> None:
    """Show the first lines on stderr, and how many more there are."""
    every = list(lines)
    for line in every[:SHOWN]:
        say(printable(line), err=True)
    if more := every[SHOWN:]:
        click.echo(f"headbook: and {len(more)} more", err=True)


def twofold_lines(store: Store) -> list[str]:
    """A line for each run that has other rows in several parts of a store.

    Args:
        store: The store.
    """
    from store import conflicts  # noqa: PLC0415 - imports DuckDB

    return [
        f"headbook: expected one answer of the run {run}, got other rows in the parts "
        f"{', '.join(names)}; queries see the first: move away what you do not trust"
        for run, names in conflicts(store).items()
    ]
