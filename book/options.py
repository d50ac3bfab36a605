"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from store import default_root

F = TypeVar("F", bound=Callable[..., Any])


def with_store(function: F) -> F:
    """The option `--store`."""
    return click.option(
        "--store",
        "store_path",
        type=click.Path(path_type=Path),
        default=default_root,
        show_default="$HEADBOOK_STORE, else .headbook in the checkout",
        help="Folder of the store.",
    )(function)


def with_size(function: F) -> F:
    """The options `--profile`, `--seed` and `--device`."""
    options = (
        click.option(
            "--profile", type=click.Choice(["quick", "full"]), default="quick", show_default=True
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
        click.option("--device", default="cpu", show_default=True, help="Such as cpu or cuda."),
    )
    for option in reversed(options):
        function = option(function)
    return function
