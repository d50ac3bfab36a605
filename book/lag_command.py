"""`headbook lags`: lag profiles as tables of two columns."""

from __future__ import annotations

from pathlib import Path

import click

from book.options import PATH, with_size, with_store
from book.terminal import say
from store import Store

EPILOG = """\b
Example:
  headbook lags public/lags --model reference --method uniform --layers "upper half\""""


@click.command(epilog=EPILOG)
@click.argument("folder", type=PATH)
@click.option("--model", default="reference", show_default=True, help="As for `headbook run`.")
@click.option(
    "--design",
    type=click.Choice(["probe", "serial"]),
    default="probe",
    show_default=True,
    help="One item after the list, or the list twice.",
)
@click.option(
    "--method",
    type=click.Choice(["zero", "uniform", "mean", "resample"]),
    required=True,
    help="What stands in for the heads.",
)
@click.option(
    "--layers",
    type=click.Choice(["all", "lower half", "upper half"]),
    required=True,
    help="Where the heads lie.",
)
@with_size
@with_store
def lags(  # noqa: PLR0913 - one parameter for each option
    *,
    folder: Path,
    model: str,
    profile: str,
    design: str,
    method: str,
    layers: str,
    seed: int,
    device: str,
    store_path: Path,
) -> None:
    """Write lag profiles to FOLDER: as the model is, and without 1, 5, 10, ... induction heads.

    Each is a CSV file with the columns Lag and Mean Probability. What the store does not hold yet
    is computed.
    """
    from analysis.experiments import Request  # noqa: PLC0415 - imports torch
    from analysis.experiments.lag_claims import Case  # noqa: PLC0415
    from analysis.experiments.lag_request import LagRequest, induction_ranking  # noqa: PLC0415
    from analysis.experiments.profiles import Profile  # noqa: PLC0415
    from analysis.published import lag_csv  # noqa: PLC0415
    from analysis.text.lists import Design, Shown  # noqa: PLC0415

    request = Request(model=model, profile=Profile(profile), seed=seed, device=device)
    asked = LagRequest(request=request)
    store, case = Store.open(store_path), Case(design, method, layers)
    base = store.recall(asked.base(Design(design), Shown.ITEMS))["lag_profiles"]
    ranking = induction_ranking(store.recall(request.induction_scores()))
    top = store.recall(asked.top(case, ranking))["lag_profiles"]
    folder.mkdir(parents=True, exist_ok=True)
    for rows in (base, *top.partition_by("size", maintain_order=True)):
        words = (design, method, layers.replace(" ", "-"), f"{rows['size'][0]:02d}-heads")
        path = folder / f"{'_'.join(words)}.csv"
        path.write_text(lag_csv(rows), encoding="utf-8")
        say(path)
