"""The only module that touches the private API of marimo (pinned: 0.25.2), and of altair.

Four things have no public way. `App.run()` returns outputs without their cells, so `run_cells`
repeats its eight lines, keeps the cell ids and can run chosen cells only. And marimo turns what
it nests (a chart in a stack, a frame in a tab) into markup for its own front end, so
`keep_objects` leaves a placeholder there and keeps the real object for the renderer. And marimo
guesses what words of a command line mean, so `arguments_of` asks it what it would read. And both
look the same things up again for every state of a page, so `remembered` keeps them.
`tests/book/test_book_compat.py` holds both against the public API.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from marimo._ast.app import App, InternalApp
from marimo._ast.names import SETUP_CELL_NAME
from marimo._cli.parse_args import parse_args
from marimo._config.config import DEFAULT_CONFIG, MarimoConfig
from marimo._config.manager import MarimoConfigManager
from marimo._entrypoints import registry as executors
from marimo._output.formatting import FORMATTERS, OPINIONATED_FORMATTERS
from marimo._output.hypertext import Html
from marimo._output.md import _md  # pyright: ignore[reportPrivateUsage]
from marimo._plugins.ui._core.ui_element import UIElement
from marimo._runtime.app.script_runner import AppScriptRunner
from marimo._runtime.exceptions import MarimoRuntimeException
from marimo._runtime.runner.scheduler import SequentialScheduler
from marimo._types.ids import CellId_t

if TYPE_CHECKING:
    from pathlib import Path

    from marimo._runtime.runner.result import RunResult

SETUP = SETUP_CELL_NAME
"""The id of a notebook's setup cell."""


@dataclass(frozen=True, kw_only=True)
class CellInfo:
    """One cell of a notebook, as marimo's parser sees it."""

    id: str
    name: str
    code: str
    hide_code: bool
    defs: frozenset[str]
    refs: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class CellRun:
    """What a run of some cells left behind.

    `outputs` by cell id, `globals` by name, and in `stopped` the cells that `mo.stop` ended.
    """

    outputs: dict[str, object]
    globals: dict[str, object]
    stopped: frozenset[str]


Observer = Callable[[str, Mapping[str, object]], None]
"""Called after each cell with its id and all names that are defined by then."""


class CellError(Exception):
    """A cell raised; `cell` is its id and `cause` what it raised."""

    def __init__(self, cell: str, cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cell = cell
        self.cause = cause


class _Runner(AppScriptRunner):
    """marimo's script runner, told which cells to run and which cell failed or stopped."""

    def __init__(
        self,
        app: App,
        glbls: dict[str, object],
        only: Iterable[str] | None = None,
        observe: Observer | None = None,
    ) -> None:
        internal = InternalApp(app)
        super().__init__(internal, filename=app._filename, glbls=glbls)  # pyright: ignore[reportPrivateUsage]
        self.stopped: set[str] = set()
        self._observe = observe
        if only is not None:
            wanted = set(only)
            chosen = [CellId_t(cell) for cell in internal.execution_order if cell in wanted]
            self._scheduler = SequentialScheduler(chosen, internal.graph)

    def _handle_run_result(
        self, cid: CellId_t, result: RunResult, outputs: dict[CellId_t, Any]
    ) -> None:
        try:
            super()._handle_run_result(cid, result, outputs)
        except (Exception, MarimoRuntimeException) as error:
            wrapped = isinstance(error, MarimoRuntimeException) and error.__cause__ is not None
            raise CellError(str(cid), error.__cause__ if wrapped else error) from None  # pyright: ignore[reportArgumentType]
        if result.exception is not None:
            self.stopped.add(str(cid))
        if self._observe is not None:
            self._observe(str(cid), vars(sys.modules["__main__"]))


def ignore_settings() -> None:
    """Let marimo read no settings: not from the current folder, its parents or the user's home.

    A page depends on its notebook and the store alone, and on nothing that lies about.
    """

    def defaults(self: MarimoConfigManager, *, hide_secrets: bool = True) -> MarimoConfig:
        del self, hide_secrets
        return deepcopy(DEFAULT_CONFIG)

    MarimoConfigManager.get_config = defaults


_PLACES = {"model", "models", "text"}
"""Options whose values may be paths."""


def arguments_of(options: Mapping[str, str]) -> list[str]:
    """The command line of which `mo.cli_args()` makes these options, whatever they say.

    Args:
        options: By name.

    Returns:
        A word each; a place that would be read as a number or a truth is written as the path that
        it is.
    """
    words = {name: f"--{name}={value}" for name, value in options.items()}
    read = {name: parse_args([word]).get(name) for name, word in words.items()}
    return [
        words[name] if name not in _PLACES or read[name] == value else f"--{name}=./{value}"
        for name, value in options.items()
    ]


def load_app(path: Path) -> App:
    """Import a notebook under its own stem, with its folder on `sys.path` as marimo does.

    Args:
        path: The notebook.

    Returns:
        Its `app`, initialised: cells parsed and ordered.

    Raises:
        TypeError: The file holds no marimo app.
    """
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TypeError(f"expected a Python file, got {path}; name a notebook ending in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    app = getattr(module, "app", None)
    if not isinstance(app, App):
        raise TypeError(f"expected a marimo notebook with an `app`, got {path}; see `marimo new`")
    app._maybe_initialize()  # pyright: ignore[reportPrivateUsage]
    return app


def notebook_cells(app: App) -> tuple[CellInfo, ...]:
    """The enabled cells of a notebook, in the order of the file."""
    return tuple(
        CellInfo(
            id=str(data.cell_id),
            name=data.name,
            code=data.code,
            hide_code=data.config.hide_code,
            defs=frozenset(data.cell.defs),
            refs=frozenset(data.cell.refs),
        )
        for data in InternalApp(app).cell_manager.cell_data()
        if data.cell is not None and not data.config.disabled
    )


def setup_values(app: App) -> dict[str, object]:
    """What the setup cell has defined; it ran when the notebook was imported."""
    setup: Any = app._setup  # pyright: ignore[reportPrivateUsage]
    return dict(setup._glbls) if setup is not None else {}


def run_cells(
    app: App,
    values: Mapping[str, object] | None = None,
    only: Iterable[str] | None = None,
    observe: Observer | None = None,
) -> CellRun:
    """Run a notebook, or some of its cells.

    Args:
        app: The notebook.
        values: Definitions to start from; they replace what their cells would define.
        only: Ids of the cells to run; None runs all that `values` does not replace.
        observe: Called after each cell.

    Returns:
        Outputs, definitions and stopped cells.

    Raises:
        CellError: A cell raised.
    """
    runner = _Runner(app, {**setup_values(app), **(values or {})}, only, observe)
    outputs, glbls = runner.run()
    return CellRun(
        outputs={str(cell): output for cell, output in outputs.items()},
        globals=dict(glbls),
        stopped=frozenset(runner.stopped),
    )


_objects: list[object] = []
_elements: dict[str, object] = {}


def _placeholder(value: object) -> str:
    _objects.append(value)
    return f'<hb-object data-key="{len(_objects) - 1}"></hb-object>'


def _formatter(_value: object) -> Callable[[object], tuple[str, str]]:
    """What `get_formatter` finds for any object: one that keeps it."""
    return lambda value: ("text/html", _placeholder(value))


def _format(value: object, _spec: str) -> str:
    """What an f-string makes of an element: its placeholder."""
    return _placeholder(value)


def kept_object(key: str) -> object:
    """The object behind a placeholder `<hb-object data-key="...">`."""
    return _objects[int(key)]


def kept_element(random_id: str) -> object | None:
    """The live control behind `<marimo-ui-element random-id="...">`, if it was made here."""
    return _elements.get(random_id)


def chart_inside(element: object) -> object:
    """The chart that a `mo.ui.altair_chart` wraps."""
    return cast("Any", element)._chart


def label_of(element: object) -> str:
    """The markdown label that a control was made with, or an empty string."""
    return cast("Any", element)._args.label or ""


def allows_nothing(element: object) -> bool:
    """Whether a dropdown can be left without a choice."""
    return bool(cast("Any", element)._args.args.get("allow-select-none"))


@contextmanager
def keep_objects() -> Generator[None]:
    """Inside, what marimo nests in its own markup is kept for the renderer.

    Formatters, f-strings over `Html`, nested `mo.md` and new controls leave a placeholder and the
    object itself instead of markup. For one notebook at a time: leaving forgets the objects.
    """
    made, started, formatted = _md.__init__, UIElement._initialize, Html.__format__  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType, reportUnknownMemberType]

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self._text = _placeholder(self)

    def initialize(self: Any, args: Any) -> None:
        started(self, args)
        _elements[self._random_id] = self

    registries: tuple[Any, ...] = (FORMATTERS, OPINIONATED_FORMATTERS)
    markdown, element, html = cast("Any", (_md, UIElement, Html))
    for registry in registries:
        registry.get_formatter = _formatter
    markdown.__init__, element._initialize, html.__format__ = init, initialize, _format
    try:
        yield
    finally:
        for registry in registries:
            del registry.get_formatter
        markdown.__init__, element._initialize, html.__format__ = made, started, formatted
        _objects.clear()
        _elements.clear()


@contextmanager
def remembered() -> Generator[None]:
    """Inside, what is installed and which classes altair has is looked up once.

    marimo asks for installed executors in every run of a notebook, and altair goes through all of
    its classes for every column that a chart names by a string.
    """
    charts: Any = import_module("altair.utils.schemapi")
    lookups: Any = executors
    installed, table = lookups.get_entry_points, charts._FromDict
    known: dict[object, Any] = {}

    def once(classes: Iterable[object]) -> Any:
        first, *others = classes
        if first not in known:
            known[first] = table([first, *others])
        return known[first]

    lookups.get_entry_points, charts._FromDict = cache(installed), once
    try:
        yield
    finally:
        lookups.get_entry_points, charts._FromDict = installed, table
