"""One notebook -> one MyST page: its outputs in order, in every state of its controls."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._compat import SETUP, CellRun, keep_objects, load_app, notebook_cells, remembered
from .dataflow import is_prose, is_test, refuse_unseen
from .errors import BookError
from .layout import Shown, code_fold, figure, foot, state_blocks
from .markdown import source_of
from .page import Page
from .provenance import Origin, runs_line
from .render import Renderer, is_only_controls
from .states import State, StateRuns, cell_title

if TYPE_CHECKING:
    from pathlib import Path

    from ._compat import CellInfo

_NOTHING = Shown(html="", text="")
_CHART = re.compile(r'<div class="hb-chart mathjax_ignore" data-spec="(s\d+)"')
_TITLE = re.compile(r"\A\s*# (?P<title>[^\n]+)")


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A compiled notebook.

    `text` is MyST and refers to `fragments` by number; `runs` are those that it recalled or
    links to; `whole_store` says that a query of it depends on everything in the store.
    """

    title: str
    text: str
    fragments: list[Any]
    runs: tuple[str, ...]
    whole_store: bool
    states: int


def compile_chapter(
    notebook: Path, arguments: Sequence[str], tick: Callable[[int, int], None]
) -> Chapter:
    """Run a notebook in every state and lay out its page.

    Args:
        notebook: The file. It reads its store from the environment.
        arguments: What `mo.cli_args()` sees, as on a command line.
        tick: Called with the states done and their total.

    Returns:
        The page.

    Raises:
        BookError: A cell fails, or shows what has no static form; notebook and cell are named.
    """
    sys.argv = [str(notebook), *arguments]
    with keep_objects(), remembered():
        try:
            return _compiled(notebook, tick)
        except BookError as error:
            got = f"{error.got} (notebook {notebook.name})"
            raise BookError(error.expected, got, error.remedy) from error


def _compiled(notebook: Path, tick: Callable[[int, int], None]) -> Chapter:
    try:
        app = load_app(notebook)
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise BookError("the notebook to load", got, "mend its setup cell") from error
    cells = notebook_cells(app)
    for cell in cells:
        with_cell(cell, refuse_unseen, cell)
    return _Composer(notebook, cells, StateRuns(app, cells, tick)).chapter()


def with_cell(cell: CellInfo, action: Callable[..., Any], *arguments: Any) -> Any:
    """Do something for a cell and let an error name it."""
    try:
        return action(*arguments)
    except BookError as error:
        got = f"{error.got} in cell {cell_title(cell)}"
        raise BookError(error.expected, got, error.remedy) from error


class _Composer:
    """Lays out one page: renders every output in every state, then puts them in order."""

    def __init__(self, notebook: Path, cells: tuple[CellInfo, ...], runs: StateRuns) -> None:
        self._notebook = notebook
        self._cells = cells
        self._runs = runs
        self._page = Page()
        self._shown: dict[tuple[str, State], Shown] = {}

    def chapter(self) -> Chapter:
        self._runs.run_all(self._show)
        title, text = "", [f"({self._notebook.stem})="]
        code = [cell.code for cell in self._cells if cell.id == SETUP]
        for cell in self._cells:
            if is_test(cell) or cell.id == SETUP:
                continue
            if not (cell.hide_code or is_prose(cell)):
                code.append(cell.code)
            block, used = with_cell(cell, self._block, cell, code)
            if not block:
                continue
            title = title or self._title(cell)
            text.append(block)
            code = [] if used else code
        text.append(self._page.block(self._source() + self._page.island()))
        found = Origin()
        for outcome in self._runs.outcomes.values():
            found |= outcome.origin
        return Chapter(
            title=title,
            text="\n\n".join(text) + "\n",
            fragments=self._page.fragments,
            runs=tuple(sorted(found.runs | self._page.runs)),
            whole_store=found.whole_store,
            states=self._runs.plan.total,
        )

    def _title(self, cell: CellInfo) -> str:
        source = source_of(self._runs.base.outputs.get(cell.id))
        match = _TITLE.match(source or "")
        if match is None:
            raise BookError(
                "a chapter to begin with its title, `# ...` in mo.md",
                f"another output first, in cell {cell_title(cell)}",
                "move the title to the top",
            )
        return match["title"].strip()

    def _show(self, cell: CellInfo, state: State, run: CellRun) -> None:
        output = run.outputs.get(cell.id)
        if output is None or is_test(cell):
            return
        plan = self._runs.plan
        renderer = Renderer(
            page=self._page,
            live=frozenset(plan.controls),
            notes=plan.notes,
            names={id(run.globals.get(name)): name for name in {**plan.controls, **plan.notes}},
            menus=plan.controls,
        )
        source = source_of(output)
        if source is not None and not state:
            text = with_cell(cell, renderer.markdown, source)
            self._shown[cell.id, state] = Shown(html="", text=text)
        else:
            html = with_cell(cell, renderer.html, output)
            self._shown[cell.id, state] = Shown(html=html, text="")

    def _block(self, cell: CellInfo, code: list[str]) -> tuple[str, bool]:
        """MyST of a cell's outputs, and whether the code so far was put under it."""
        names = self._runs.plan.names(cell)
        states = [key[1] for key in self._runs.outcomes if key[0] == cell.id]
        shown = {state: self._shown.get((cell.id, state), _NOTHING) for state in states}
        if not any(shown.values()):
            return "", False
        lines = {
            state: runs_line(self._runs.origin(cell, state)) if item else ""
            for state, item in shown.items()
        }
        if all(not item.text and is_only_controls(item.html) for item in shown.values()):
            lines = dict.fromkeys(lines, "")
        if shown.get(()) and shown[()].text:
            under = self._page.block(lines[()]) if lines[()] else ""
            anchor = "" if _TITLE.match(shown[()].text) else self._anchor(cell)
            return f"{anchor}{shown[()].text}\n\n{under}", False
        default = self._runs.plan.default(cell)
        htmls = {state: item.html for state, item in shown.items()}
        body = state_blocks(names, htmls, default)
        below = foot(code_fold(code), state_blocks(names, lines, default))
        if cell.name != "_" and (captions := self._captions(htmls)):
            block = figure(self._page, cell.name, body, below, (names, captions, default))
            return self._anchor(cell) + block, True
        return self._anchor(cell) + self._page.block(body + below), True

    def _anchor(self, cell: CellInfo) -> str:
        if cell.name == "_":
            return ""
        return self._page.block(f'<span id="cell-{cell.name}" class="hb-anchor"></span>') + "\n\n"

    def _captions(self, htmls: dict[State, str]) -> dict[State, str]:
        """The descriptions of the charts in each state; empty if there is no chart."""
        found = {state: _CHART.findall(html) for state, html in htmls.items()}
        if not any(found.values()):
            return {}
        specs = self._page.specs
        return {
            state: " ".join(dict.fromkeys(str(specs[name]["description"]) for name in names))
            for state, names in found.items()
        }

    def _source(self) -> str:
        name = self._notebook.name
        return (
            f'<p class="hb-source">This page is the notebook <a href="notebooks/{name}" download>'
            f"{name}</a>.</p>"
        )
