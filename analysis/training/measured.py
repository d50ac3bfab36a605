"""The file of what trainings had learnt by the steps whose weights they kept."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis.errors import UserError
from analysis.models.files import checkpoint
from analysis.models.files.card import REFERENCE, read_card
from analysis.models.load import load_model
from analysis.outputs import write_text
from analysis.progress import Report
from analysis.settings import json_object
from analysis.text.tokens import Vocabulary

from .corpus import Corpus
from .evaluation import Subject
from .formation import SCHEMA, STATISTICS, formed, tidy
from .kept import KEPT, kept_models
from .trainer import CHECKPOINT

SHIPPED = REFERENCE / "formation.json"
"""What the seeds of the reference model's recipe had learnt."""
_CARD = "evaluation.json"
"""Beside a finished model: its recipe, and what it can do."""
_ORDER = ("seed", "step")
_DIGITS = 6
"""Significant ones of a number in the file."""


@dataclass(frozen=True)
class Stage:
    """Which training a model is of, and how far that was."""

    seed: int
    step: int
    n_steps: int
    """Of the whole recipe."""


def stage_of(folder: Path) -> Stage:
    """Which training a model is of.

    Args:
        folder: Of a model that `headbook train-reference` wrote or kept.

    Raises:
        UserError: Nothing there says so.
    """
    made, run = folder / _CARD, folder.parent.parent
    kept = folder.parent.name == KEPT and folder.name.isdecimal()
    recipe: dict[str, Any] = {}
    if made.is_file():
        recipe = json_object(made).get("recipe", {})
    elif kept:
        recipe = recipe_of(run)
    if not {"seed", "n_steps"} <= recipe.keys():
        raise UserError(
            f"expected a model that `headbook train-reference` wrote or kept, got {folder}; train "
            "one, or choose its folder `model` or one in its folder `kept`"
        )
    step = int(folder.name) if kept else recipe["n_steps"]
    return Stage(recipe["seed"], step, recipe["n_steps"])


@dataclass(frozen=True)
class Measured:
    """What trainings of one recipe had learnt, and when."""

    recipe: Mapping[str, Any]
    """All but the seed."""
    rows: pl.DataFrame
    """Columns `SCHEMA`, by seed and step."""

    @classmethod
    def read(cls, path: Path) -> "Measured":
        """Read a file of `measure`.

        Args:
            path: The file.

        Raises:
            UserError: It cannot be read, or holds something else.
        """
        said = json_object(path)
        try:
            rows = pl.DataFrame(said["rows"], schema=SCHEMA, strict=True)
            recipe = {**said["recipe"]}
        except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise _unfit(path, str(error).splitlines()[0]) from None
        whole = pl.col("lower", "value", "upper", "n").is_not_null().all()
        inside = pl.col("value").is_between("lower", "upper")
        known = pl.col("statistic").is_in(list(STATISTICS))
        if not rows.select((pl.all_horizontal(whole, inside, known)).all()).item():
            raise _unfit(path, "a row without its interval, or of another statistic")
        if rows.select("seed", "step", "statistic").is_duplicated().any():
            raise _unfit(path, "a row twice")
        return cls(recipe, rows.sort(*_ORDER, maintain_order=True))

    def write(self, path: Path) -> None:
        """Write the file, a line for each row.

        Args:
            path: The file; what was there is replaced.

        Raises:
            UserError: Something else than a file lies there.
        """
        lines = ",\n".join(json.dumps(_rounded(row)) for row in self.rows.to_dicts())
        recipe = json.dumps(dict(self.recipe))
        write_text(path, f'{{"recipe": {recipe},\n"rows": [\n{lines}\n]}}\n')


def _unfit(path: Path, found: str) -> UserError:
    return UserError(
        f"expected a file of `headbook measure-training`, {path} is another or damaged ({found}); "
        "restore it, or choose another --out"
    )


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
        for name, value in row.items()
    }


def measure(
    runs: Sequence[Path], corpus: Corpus, path: Path, device: str, report: Report
) -> Measured:
    """Measure every model that runs have kept; those that the file has are not measured again.

    Args:
        runs: Their folders; all of one recipe, each with a seed of its own.
        corpus: That they were trained on.
        path: The file, which grows by a model at a time.
        device: Where models are computed.
        report: Told the progress.

    Returns:
        What the file holds now.

    Raises:
        UserError: A folder is of no such run, runs differ in more than the seed, or the file is
            another one.
    """
    recipes = [recipe_of(run) for run in runs]
    seeds = [recipe.pop("seed") for recipe in recipes]
    found = Measured.read(path) if path.exists() else Measured(recipes[0], pl.DataFrame([], SCHEMA))
    for run, recipe in zip(runs, recipes, strict=True):
        if recipe != found.recipe:
            raise UserError(
                f"expected runs of one recipe, {dict(found.recipe)}, got {run} with {recipe}; "
                "measure it into another file"
            )
    if len(set(seeds)) < len(seeds):
        raise UserError(f"expected a seed for each run, got {seeds}; name each run once")
    missing = list(_unmeasured(runs, seeds, found.rows))
    for i, (seed, step, folder) in enumerate(missing):
        report(i, len(missing), f"seed {seed}, step {step}")
        rows = _measured(folder, corpus, device, (seed, step))
        others = found.rows.filter((pl.col("seed") != seed) | (pl.col("step") != step))
        found = Measured(found.recipe, pl.concat([others, rows]).sort(*_ORDER, maintain_order=True))
        found.write(path)
    report(len(missing), len(missing), "")
    return found


def recipe_of(run: Path) -> dict[str, Any]:
    """The recipe of a run, as its checkpoint has it.

    Args:
        run: Its folder.

    Raises:
        UserError: There is no checkpoint, or it is damaged.
    """
    path = run / CHECKPOINT
    if not path.is_file():
        raise UserError(
            f"expected the folder of a training with a checkpoint, found none in {run}; train with "
            "`headbook train-reference --out`"
        )
    return json.loads(checkpoint.read(path, "cpu")[1].get("recipe", "{}"))


def _unmeasured(
    runs: Sequence[Path], seeds: Sequence[int], rows: pl.DataFrame
) -> Iterator[tuple[int, int, Path]]:
    """Seed, step and folder of the kept models that are not measured, the first steps first."""
    known = set(rows.select(*_ORDER, "weights").iter_rows())
    every = [
        (step, seed, folder)
        for run, seed in zip(runs, seeds, strict=True)
        for step, folder in kept_models(run).items()
    ]
    for step, seed, folder in sorted(every):
        if (seed, step, read_card(str(folder)).weights) not in known:
            yield seed, step, folder


def _measured(folder: Path, corpus: Corpus, device: str, at: tuple[int, int]) -> pl.DataFrame:
    model = load_model(str(folder), device)
    tokenizer = Vocabulary(model.card.folder, model.card.vocab).require()
    figures = formed(Subject(model, tokenizer, corpus))
    return pl.DataFrame(list(tidy(figures, *at, model.card.weights)), schema=SCHEMA)
