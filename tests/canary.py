"""What every experiment answers of the reference model in its tiny size, in a few numbers each.

Where code moved and these did not, the version lock renews itself.
"""

from __future__ import annotations

import json
from collections import defaultdict
from hashlib import blake2b
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from analysis.overview.findings import findings
from analysis.questions.asked import Asked, Profile
from store import Answer, Experiment, Store

PATH = Path(__file__).with_name("canary.json")
TOLERANCE = 1e-3
"""Of a number: what another processor's order of summing changes, and searches amplify."""

Told = dict[str, list[Any]]
"""By table: how many rows it has, a sum over all of its numbers, and one over all its words.

Sums see which row is which. All leave room for few of many rows that rounding swaps or adds: which
tokens are the likeliest.
"""


def told(frames: dict[str, pl.DataFrame]) -> Told:
    """An answer in a few numbers."""
    found: Told = {}
    for table, rows in sorted(frames.items()):
        columns = [rows[name] for name in sorted(rows.columns) if name not in {"run", "evidence"}]
        numbers = [c.cast(pl.Float64).to_numpy() for c in columns if c.dtype.is_numeric()]
        words = [numbered(c) for c in columns if c.dtype == pl.String]
        # Ends of intervals of few sequences may be huge: they would hide all else.
        total = sum(projected(np.arcsinh(np.nan_to_num(values))) for values in numbers)
        spelt = sum(map(projected, words))
        found[table] = [rows.height, float(f"{total:.6g}"), float(f"{spelt:.6g}")]
    return found


def projected(values: np.ndarray) -> float:
    """A sum that sees which row is which."""
    rng = np.random.default_rng(0)
    return float(values @ rng.uniform(0.5, 1.5, len(values)))


def numbered(words: pl.Series) -> np.ndarray:
    """A number in [0, 1) for each word, by its hash."""
    digests = {word: blake2b(repr(word).encode(), digest_size=4).digest() for word in set(words)}
    return np.array([int.from_bytes(digests[word]) / 2**32 for word in words])


def alike(one: Told | None, other: Told | None) -> bool:
    """Whether two answers are there, and the same but for rounding."""
    if one is None or other is None:
        return False
    return one.keys() == other.keys() and all(
        isclose(mine, its, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        for table, told in one.items()
        for mine, its in zip(told, other[table], strict=True)
    )


def answers(root: Path | None = None) -> dict[str, Told]:
    """Ask everything of the reference model, in the tiny size.

    Args:
        root: A store that may know the answers; a new one by default.

    Returns:
        What is told of each experiment's answers, those of all its questions after each other.
    """
    frames: dict[str, dict[str, list[pl.DataFrame]]] = defaultdict(lambda: defaultdict(list))
    with TemporaryDirectory() as folder:
        store, seen = Store.open(root or Path(folder) / "store"), set[tuple[str, ...]]()

        def recall(asked: Experiment) -> Answer:
            answer = store.recall(asked)
            if answer.runs not in seen:
                seen.add(answer.runs)
                for table in answer:
                    frames[type(asked).__name__][table].append(answer[table])
            return answer

        findings(Asked(model="reference", profile=Profile.TINY), recall)
    return {
        name: told({table: pl.concat(found) for table, found in tables.items()})
        for name, tables in sorted(frames.items())
    }


def kept() -> dict[str, Told]:
    """The answers as they were when the lock was written."""
    return json.loads(PATH.read_text(encoding="utf-8")) if PATH.is_file() else {}
