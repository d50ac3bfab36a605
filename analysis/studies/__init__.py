"""One room for every question that the book asks of a model; this list alone knows them all."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.questions.study import Study

STUDIES = (
    "atlas",
    "circuit",
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


def studies() -> list[type[Study[Any]]]:
    """The study of every room, in the order of `STUDIES`."""
    return [import_module(f"{__name__}.{room}.study").STUDY for room in STUDIES]
