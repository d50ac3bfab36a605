"""The scores that the atlas is made of: each module beside this one registers its own."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from inspect import isfunction
from math import inf
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from torch import Tensor


class Given(Enum):
    """What a score takes beside a pattern."""

    TOKENS = "tokens"
    """The ids that the pattern was computed on (batch, query)."""

    IS_DELIMITER = "is_delimiter"
    """Whether each key holds a delimiter (batch, key)."""


@dataclass(frozen=True, kw_only=True)
class HeadScore:
    """A score of heads, and the label that it earns: its whole interval above two bars.

    A score whose data is `text` is measured by `TextScores` as it stands in its module's
    `SCORES`. What measures the others names their functions itself.
    """

    name: str
    """As in the table `head_scores`."""
    function: Callable[..., Tensor]
    """From a pattern and what is given to (batch, head); its documentation is the meaning."""
    given: tuple[Given, ...] = ()
    """What it takes behind the pattern, in order."""
    data: str
    """On which data it counts."""
    also: tuple[str, ...] = ()
    """Other data that it is measured on; a score of the place alone, on `random` tokens."""
    untested: str = "no sequence of the text can test it"
    """Why it is absent where it is."""
    label: str = ""
    """What a head is called that earns it; empty where none is."""
    threshold: float = inf
    """The lower bound must exceed it."""
    control: tuple[str, str] | None = None
    """Score and data whose upper bound it must exceed as well; None compares with chance."""
    neutral: float | None = None
    """What no property looks like, for a difference or a ratio; None for a share in [0, 1]."""
    column: int
    """Its place in the atlas."""
    version: int
    """Raised when the same pattern gets another score. The first scores have 0, which is in no
    key; later ones begin with 1."""


def _modules() -> list[ModuleType]:
    """The modules of scores, by name."""
    found = sorted(each.name for each in iter_modules([str(Path(__file__).parent)]))
    return [import_module(f"{__package__}.{name}") for name in found]


def functions() -> list[Callable[..., Any]]:
    """Every public function of the modules of scores."""
    every = [(module, one) for module in _modules() for one in vars(module).values()]
    own = [one for module, one in every if isfunction(one) and one.__module__ == module.__name__]
    return [one for one in own if not one.__name__.startswith("_")]


@cache
def registered() -> tuple[HeadScore, ...]:
    """Every score of the atlas, by its column."""
    found: list[HeadScore] = []
    for module in _modules():
        found += getattr(module, "SCORES", ())
    return tuple(sorted(found, key=lambda score: (score.column, score.name)))
