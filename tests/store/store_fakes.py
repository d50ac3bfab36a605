"""Experiments that cost nothing, for the tests of the store and their worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

Report = Callable[[int, int, str], None]

MODEL = {
    "model": "00000000000000aa",
    "name": "tiny",
    "revision": None,
    "weights": "w" * 64,
    "architecture": "LlamaForCausalLM",
    "n_layers": 2,
    "n_heads": 8,
    "n_kv_heads": 4,
    "d_model": 64,
    "d_head": 8,
    "n_params": 260_000,
    "vocab": 512,
}
TEXT = {
    "text": "00000000000000bb",
    "name": "two novels",
    "source": "novels.txt",
    "tokens": "t" * 64,
    "n_sequences": 4,
    "n_tokens": 512,
    "bos": True,
    "tokenizer": None,
}


def head_scores(seed: int, rows: int) -> pl.DataFrame:
    """Rows of `head_scores` that only the seed decides."""
    index = pl.int_range(rows, eager=True)
    return pl.DataFrame({"row": index}).select(
        model=pl.lit(MODEL["model"]),
        text=pl.lit(TEXT["text"]),
        score=pl.lit("induction"),
        data=pl.lit("repeated"),
        layer=pl.col("row") % 16,
        head=pl.col("row") // 16 % 16,
        sequence=pl.lit(None),
        value=pl.col("row").hash(seed).cast(pl.Float64) / 2.0**64,
        lower=pl.lit(0.0),
        upper=pl.lit(1.0),
        n=pl.lit(seed),
        chance=pl.lit(0.01),
    )


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One unit: some head scores, a seed apart."""

    version: ClassVar[int] = 1
    together: ClassVar[None] = None
    seed: int
    rows: int = 32
    runs: list[int] = field(default_factory=list[int], compare=False)
    """Grows by the seed whenever it is really computed; no part of the question."""

    def units(self) -> Sequence[Scores]:
        return [self]

    def question(self) -> dict[str, Any]:
        return {"model": {"weights": MODEL["weights"]}, "seed": self.seed, "rows": self.rows}

    def subjects(self) -> dict[str, pl.DataFrame]:
        return {"models": pl.DataFrame([MODEL]), "texts": pl.DataFrame([TEXT])}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        self.runs.append(self.seed)
        report(1, 1, f"seed {self.seed}")
        return {"head_scores": head_scores(self.seed, self.rows)}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Many units."""

    version: ClassVar[int] = 1
    seeds: tuple[int, ...]
    rows: int = 32
    runs: list[int] = field(default_factory=list[int], compare=False)

    def units(self) -> Sequence[Scores]:
        return [Scores(seed=seed, rows=self.rows, runs=self.runs) for seed in self.seeds]

    def question(self) -> dict[str, Any]:
        return {"seeds": self.seeds, "rows": self.rows}

    def subjects(self) -> dict[str, pl.DataFrame]:
        return {}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        raise AssertionError("a sweep is computed unit by unit")


@dataclass(frozen=True, kw_only=True)
class Told:
    """One unit whose every word the test decides."""

    version: ClassVar[int] = 1
    answer: dict[str, pl.DataFrame]
    asked: dict[str, Any] = field(default_factory=dict[str, Any])
    about: dict[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])
    failure: BaseException | None = None

    def units(self) -> Sequence[Told]:
        return [self]

    def question(self) -> dict[str, Any]:
        return self.asked

    def subjects(self) -> dict[str, pl.DataFrame]:
        return self.about

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        if self.failure:
            raise self.failure
        return self.answer
