"""`headbook lags`: lag profiles as tables of two columns."""

from __future__ import annotations

import re
from pathlib import Path

import click

from analysis.errors import UserError
from analysis.files import reading
from analysis.outputs import check_free, write_text
from book.options import PATH, with_pool, with_size, with_store
from book.terminal import say
from store import Store, check_apart

EPILOG = """\b
Example:
  headbook lags public/lags --model reference --method uniform --layers "upper half\""""


_NAME = re.compile(r"(probe|serial)_[a-z]+_(all|lower-half|upper-half)_\d\d-heads\.csv")
_FIRST_LINE = 80


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
@with_pool
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
    token_pool: str,
    seed: int,
    device: str,
    store_path: Path,
) -> None:
    """Write lag profiles to FOLDER: as the model is, and without 1, 5, 10, ... induction heads.

    Each is a CSV file with the columns Lag and Mean Probability. What the store does not hold yet
    is computed.
    """
    from analysis.questions.asked import Asked, told_sizes  # noqa: PLC0415 - imports torch
    from analysis.studies.atlas.study import AtlasStudy  # noqa: PLC0415
    from analysis.studies.lags.claims import Case  # noqa: PLC0415
    from analysis.studies.lags.study import LagStudy, induction_ranking  # noqa: PLC0415
    from analysis.studies.published import lag_csv  # noqa: PLC0415
    from analysis.text.lists import Design, Shown  # noqa: PLC0415

    check_apart(folder, store_path)
    _check(folder)
    sizes = told_sizes(profile)
    asked = Asked(model=model, token_pool=token_pool, seed=seed, device=device, **sizes)
    study = LagStudy(asked)
    store, case = Store.planned(store_path), Case(design, method, layers)
    base = store.recall(study.base(Design(design), Shown.ITEMS))["lag_profiles"]
    ranking = induction_ranking(store.recall(AtlasStudy(asked).induction_scores()))
    top = store.recall(study.top(case, ranking))["lag_profiles"]
    folder.mkdir(parents=True, exist_ok=True)
    _check(folder)
    for rows in (base, *top.partition_by("size", maintain_order=True)):
        words = (design, method, layers.replace(" ", "-"), f"{rows['size'][0]:02d}-heads")
        path = folder / f"{'_'.join(words)}.csv"
        write_text(path, lag_csv(rows))
        say(path)


def _check(folder: Path) -> None:
    """Refuse a folder of others, and what is no profile of ours under the name of one.

    Raises:
        UserError: The folder holds files, and no profile of ours; or a file is another one.
    """
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    ours = [path for path in found if _NAME.fullmatch(path.name)]
    if found and not ours:
        raise UserError(
            f"expected a new or empty folder, or one with lag profiles, got {folder} with files "
            "of others; choose another"
        )
    check_free(*ours)
    for path in ours:
        with reading(path) as file:
            if file.readline(_FIRST_LINE).strip() != b"Lag,Mean Probability":
                raise UserError(
                    f"expected a lag profile or nothing at {path}, got another file; move it away "
                    "or choose another folder"
                )
