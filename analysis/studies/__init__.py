"""One room for every question that the book asks of a model; this list alone knows them all."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from analysis.questions.study import Study

STUDIES = (
    "atlas",
    "circuit",
    "circuit_sets",
    "sink",
    "kinds",
    "redundancy",
    "predictions",
    "retrieval",
    "lags",
    "components",
    "circuit_components",
    "component_redundancy",
)
"""Asked of a model, in the order of its claims. `published` asks files, `speed` machines."""

CHAPTERS = {
    "01_head_atlas": ("atlas",),
    "02_induction_circuit": ("circuit", "circuit_sets", "circuit_components"),
    "03_bos_sink": ("sink",),
    "04_previous_token_redundancy": ("redundancy", "component_redundancy"),
    "05_ablation_kinds": ("kinds",),
    "06_components": ("components",),
    "07_component_redundancy": ("component_redundancy",),
    "08_retrieval_heads": ("retrieval",),
    "09_lag_profiles": ("lags",),
    "10_prediction_tables": ("predictions",),
}
"""Rooms that a chapter shows, by its notebook: without the first it has nothing to say. Chapters
that are not here sum these up, or are about no model."""


def named_chapters(chapters: Collection[str]) -> list[str]:
    """The chapters of `CHAPTERS` that are asked for.

    Args:
        chapters: Their numbers, such as `02`; all if no such is named.
    """
    return [name for name in CHAPTERS if name[:2] in chapters] or list(CHAPTERS)


def studies(chapters: Collection[str] = ()) -> list[type[Study[Any]]]:
    """The studies of rooms, in the order of `STUDIES`.

    Args:
        chapters: Numbers of those that show the rooms, as for `named_chapters`.
    """
    named = {room for name in named_chapters(chapters) for room in CHAPTERS[name]}
    rooms = [room for room in STUDIES if room in named]
    return [import_module(f"{__name__}.{room}.study").STUDY for room in rooms]
