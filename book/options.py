"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from store import default_root

SEED = click.IntRange(0, 2**31 - 1)
"""What every generator of random numbers takes."""

COUNT = click.IntRange(1, 2**31 - 1)
"""Of what memory does not hold, or what only bounds something."""

STEPS = click.IntRange(1, 2**24 - 1)
"""Of an optimizer, which counts them in float32."""

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
        click.option("--seed", type=SEED, default=0, show_default=True),
        click.option("--device", default="cpu", show_default=True, help="Such as cpu or cuda."),
    )
    for option in reversed(options):
        function = option(function)
    return function
