"""Makes sure that the store holds every answer that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import polars as pl

    from analysis.experiments import Request


def request_of(asked: dict[str, Any]) -> Request:
    """What the options of a command ask for.

    Args:
        asked: By name; `model`, `text` and `profile` at least.

    Returns:
        The request.
    """
    from analysis.experiments import Profile, Request  # noqa: PLC0415 - imports torch

    heads = asked.get("heads")
    parsed: dict[str, Any] = {
        **asked,
        "profile": Profile(asked["profile"]),
        "heads": None if heads is None else tuple(heads.split(",")),
    }
    return Request(**parsed)


def compute(store_path: Path, asked: dict[str, Any]) -> pl.DataFrame:
    """Compute what the book asks of a model and the store does not hold.

    Args:
        store_path: The store.
        asked: As for `request_of`.

    Returns:
        Rows of `claims`.

    Raises:
        UserError: The model or the text cannot be read.
        StoreError: The store cannot be written.
    """
    from analysis.experiments import cost, findings  # noqa: PLC0415 - imports torch
    from analysis.models.load import load_model  # noqa: PLC0415
    from store import Store, snapshot  # noqa: PLC0415

    request, store = request_of(asked), Store.open(store_path)
    experiments = request.experiments()
    missing = [experiment for experiment in experiments if store.missing(experiment)]
    if missing:
        load_model(request.model, request.device)
        names = ", ".join(type(unit).__name__ for unit in missing)
        click.echo(f"to compute: {names}\nabout: {cost(missing)}", err=True)
    judged = findings(request, store.recall)
    if missing:
        click.echo(f"stored in {store_path}; snapshot {snapshot(store).name}", err=True)
    return judged
