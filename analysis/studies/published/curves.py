"""Files of ablation curves: accuracy after ablating the top heads, and random ones."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from .rankings import other_fields
from .values import Value

CURVES = pl.Schema(
    {
        **dict.fromkeys(("method", "model_key", "question"), pl.String),
        "total_tokens": pl.Int32,
        "family": pl.String,
        **dict.fromkeys(("size", "draw"), pl.Int32),
        "heads": pl.String,
        "accuracy": pl.Float64,
        **dict.fromkeys(("correct", "total"), pl.Int32),
        **dict.fromkeys(("stated_drop", "drop"), pl.Float64),
        **dict.fromkeys(("remark", "other"), pl.String),
    }
)
"""Columns of `published_curves` without `run` and `file`."""

FAMILIES = {"top": "top_heads_ablations", "random": "random_heads_ablations"}
"""What a file calls each family of sets."""

ROUNDING = 0.0005
"""How far a share may be off that was rounded to three decimals; a drop is made of three such."""

_NAMES = re.compile(r"L?([0-9]{1,4})[H-]([0-9]{1,4})")
_FIELDS = ("method", "model_key", "question", "total_tokens", "ablation_levels", "baseline")


@dataclass(frozen=True)
class Outcome:
    """Right answers out of so many."""

    accuracy: float
    correct: int
    total: int

    @classmethod
    def read(cls, said: Value) -> "Outcome":
        """Read `accuracy`, `correct` and `total`.

        Raises:
            UserError: A number is outside its range, or more are right than there were items.
        """
        total = said.field("total").count(1)
        correct = said.field("correct").count()
        if correct > total:
            said.field("correct").wrong(f"at most the total, {total},")
        return cls(said.field("accuracy").number(0.0, 1.0), correct, total)

    def remarks(self) -> list[str]:
        """What it says against itself."""
        counted = self.correct / self.total
        if abs(counted - self.accuracy) <= ROUNDING + 1e-9:
            return []
        return [f"states accuracy {self.accuracy:.4g}, its counts give {counted:.4g}"]


def curve_rows(said: Value) -> pl.DataFrame:
    """Rows of one file of ablation curves.

    Args:
        said: The whole file.

    Returns:
        Columns `CURVES`: the baseline, then the sets of each family in the order of the file. A
        drop is base minus ablated, as these files have it. `remark` says where the file
        contradicts itself by more than rounding.

    Raises:
        UserError: The file lacks something, a number is outside its range, or two sets of top
            heads have the same size.
    """
    heading = {
        "method": said.field("method").text(),
        "model_key": said.field("model_key").text(),
        "question": said.field("question").text(),
        "total_tokens": said.field("total_tokens").count(1),
        "other": other_fields(said, (*_FIELDS, *FAMILIES.values())),
    }
    base = Outcome.read(said.field("baseline"))
    levels = {level.count(1) for level in said.field("ablation_levels").items()}
    sets: list[dict[str, Any]] = []
    remarks = base.remarks()
    for family, name in FAMILIES.items():
        rows = _family(said.field(name), family, base)
        if rows and levels != {row["size"] for row in rows}:
            remarks.append(f"ablation_levels are not the sizes of {name}")
        sets += rows
    first = {"family": "base", "size": 0, "remark": "; ".join(remarks) or None, **vars(base)}
    return pl.DataFrame([row | heading for row in (first, *sets)], schema=CURVES)


def _family(said: Value, family: str, base: Outcome) -> list[dict[str, Any]]:
    drawn: Counter[int] = Counter()
    rows: list[dict[str, Any]] = []
    for each in said.items():
        size = each.field("num_heads").count(1)
        if family == "top" and drawn[size]:
            each.field("num_heads").wrong("a size that was not there before")
        draw = drawn[size] if family == "random" else None
        drawn[size] += 1
        rows.append({"family": family, "size": size, "draw": draw, **_set(each, size, base)})
    return rows


def _set(said: Value, size: int, base: Outcome) -> dict[str, Any]:
    """What a file says of one set of heads, with what that implies beside it."""
    outcome = Outcome.read(said)
    heads = said.field("heads_str").text()
    stated = said.field("accuracy_drop").number(-1.0, 1.0)
    drop = base.accuracy - outcome.accuracy
    remarks = outcome.remarks()
    if abs(stated - drop) > 3 * ROUNDING + 1e-9:
        remarks.append(f"states a drop of {stated:.4g}, its accuracies give {drop:.4g}")
    if outcome.total != base.total:
        remarks.append(f"has {outcome.total} items, the baseline {base.total}")
    names = canonical_heads(heads)
    if names is None or len(set(names)) != size:
        remarks.append(f"heads_str does not name {size} heads")
    return {
        **vars(outcome),
        "heads": heads if names is None else ",".join(names),
        "stated_drop": stated,
        "drop": drop,
        "remark": "; ".join(remarks) or None,
    }


def canonical_heads(text: str) -> list[str] | None:
    """Heads of a list such as `L15H30, L8H1` or `15-30 8-1`.

    Args:
        text: Names, apart by commas or spaces.

    Returns:
        Names as `L15H30`, or None where a part is no name.
    """
    parts = [_NAMES.fullmatch(part) for part in re.split(r"[,;\s]+", text.strip())]
    if not all(parts):
        return None
    return [f"L{int(part[1])}H{int(part[2])}" for part in parts if part]
