"""Which runs of the store do the numbers of a cell come from?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, cast

from .links import RUNS_PAGE, run_link

if TYPE_CHECKING:
    from ._compat import CellInfo

SHOWN_RUNS = 4
"""Runs that a link line names; more of them stand folded behind it."""


@dataclass(frozen=True)
class Origin:
    """Where numbers come from: run ids, and whether a query saw the whole store."""

    runs: frozenset[str] = frozenset()
    whole_store: bool = False

    def __or__(self, other: Origin) -> Origin:
        return Origin(self.runs | other.runs, self.whole_store or other.whole_store)


NOWHERE = Origin()


def answer_runs(value: object, depth: int = 2) -> frozenset[str]:
    """Ids of the runs behind a value: an answer of the store, or a container of such.

    Args:
        value: Anything; an answer has a tuple `runs` and the name of its `experiment`.
        depth: How deep to look into lists, tuples and dictionaries.

    Returns:
        The ids; empty for anything else.
    """
    runs = getattr(value, "runs", None)
    if isinstance(runs, tuple) and isinstance(getattr(value, "experiment", None), str):
        return frozenset(cast("tuple[str, ...]", runs))
    if not depth:
        return frozenset()
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = cast("Mapping[Any, Any]", value).values()
    elif isinstance(value, (list, tuple)):
        inner = cast("list[Any]", value)
    return frozenset[str]().union(*(answer_runs(item, depth - 1) for item in inner))


@dataclass
class Witness:
    """Watches a run of a notebook and notes what each cell asked of the store.

    Two signs count: an answer among the cell's definitions, and what a store with a `log` noted
    while the cell ran (answers that were never given a name, and queries).
    """

    cells: Mapping[str, CellInfo]
    origins: dict[str, Origin] = field(default_factory=dict[str, Origin])
    _read: dict[int, tuple[list[Any], int]] = field(
        default_factory=dict[int, tuple[list[Any], int]]
    )

    def observe(self, cell: str, names: Mapping[str, object]) -> None:
        """Note the sources of a cell that has just run."""
        found = NOWHERE
        for name in self.cells[cell].defs:
            found |= Origin(answer_runs(names.get(name)))
        for log in _logs(names.values()):
            _, start = self._read.get(id(log), (log, 0))
            for entry in log[start:]:
                asked = entry.experiment == "sql"
                found |= Origin(whole_store=True) if asked else Origin(frozenset(entry.runs))
            self._read[id(log)] = (log, len(log))
        self.origins[cell] = found

    def answers_without_rows(self) -> list[str]:
        """Names and runs of experiments that a store answered without a row."""
        return [
            f"{entry.experiment} ({', '.join(entry.runs[:SHOWN_RUNS])})"
            for log, _ in self._read.values()
            for entry in log
            if getattr(entry, "rows", None) == 0
        ]

    def begin(self) -> None:
        """Start to note the sources of another run."""
        self.origins = {}


def _logs(values: Iterable[object]) -> list[list[Any]]:
    found: dict[int, list[Any]] = {}
    for value in values:
        log = getattr(value, "log", None) if hasattr(type(value), "recall") else None
        if isinstance(log, list):
            found[id(cast("object", log))] = cast("list[Any]", log)
    return list(found.values())


def runs_line(origin: Origin) -> str:
    """The unobtrusive line under an output that leads to its runs; empty without a source."""
    links = [run_link(run) for run in sorted(origin.runs)]
    anchors = [f'<a href="{escape(link.href)}">{escape(link.text)}</a>' for link in links]
    parts: list[str] = []
    if anchors:
        word = "run" if len(anchors) == 1 else "runs"
        parts.append(f"{word} " + ", ".join(anchors[:SHOWN_RUNS]))
    if rest := anchors[SHOWN_RUNS:]:
        summary = f"<summary>and {len(rest)} more</summary>"
        parts.append(f"<details>{summary}{', '.join(rest)}</details>")
    if origin.whole_store:
        parts.append(f'<a href="{RUNS_PAGE}.html">query over the whole store</a>')
    return f'<div class="hb-runs">{" ".join(parts)}</div>' if parts else ""
