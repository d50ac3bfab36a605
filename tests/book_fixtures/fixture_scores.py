"""An experiment that costs nothing and charts of it, for the notebooks of the fixture book."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import polars as pl

HOSTILE = "<script>alert(1)</script>"
MODEL = {
    "model": "00000000000000aa", "name": "tiny <s>", "revision": None, "weights": "ab" * 32,
    "architecture": "LlamaForCausalLM", "n_layers": 3, "n_heads": 4, "n_kv_heads": 4,
    "d_model": 64, "d_head": 16, "n_params": 260_000, "vocab": 512,
}  # fmt: skip
TEXT = {
    "text": "00000000000000bb", "name": "a story", "source": "story.txt", "tokens": "cd" * 32,
    "n_sequences": 4, "n_tokens": 512, "bos": True, "tokenizer": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FixtureScores:
    """Scores that only the layer decides."""

    version: ClassVar[int] = 1
    layer: int

    def units(self) -> Sequence[FixtureScores]:
        return [self]

    def question(self) -> dict[str, Any]:
        return {"model": {"weights": MODEL["weights"]}, "parameters": {"layer": self.layer}}

    def subjects(self) -> dict[str, pl.DataFrame]:
        return {"models": pl.DataFrame([MODEL]), "texts": pl.DataFrame([TEXT])}

    def run(self, report: Callable[[int, int, str], None]) -> dict[str, pl.DataFrame]:
        report(1, 1, "layer")
        head = pl.int_range(4, eager=True).alias("head")
        frame = pl.DataFrame({"head": head}).select(
            model=pl.lit(MODEL["model"]), text=pl.lit(TEXT["text"]),
            score=pl.lit("induction"), data=pl.lit("repeated"),
            layer=pl.lit(self.layer), head="head", sequence=pl.lit(None),
            value=(pl.col("head") + 1) / (self.layer + 5), lower=pl.lit(0.0),
            upper=pl.lit(1.0), n=pl.lit(4), chance=pl.lit(0.01),
        )  # fmt: skip
        return {"head_scores": frame}


def score_bars(frame: pl.DataFrame, description: str) -> alt.Chart:
    """A bar a head."""
    return (
        alt.Chart(frame, title="Scores", description=description, width=360, height=160)
        .mark_bar()
        .encode(x="head:O", y=alt.Y("value:Q"), tooltip=["head:O", "value:Q"])
    )


def score_lines(frame: pl.DataFrame, description: str) -> alt.Chart:
    """A line a layer; the legend selects."""
    chosen = alt.selection_point(fields=["layer"], bind="legend")
    return (
        alt.Chart(frame, title="Layers", description=description, width=360, height=160)
        .mark_line(point=True)
        .encode(
            x="head:Q", y="value:Q", color="layer:N", tooltip=["layer", "head", "value"],
            opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)),
        )
        .add_params(chosen)
    )  # fmt: skip
