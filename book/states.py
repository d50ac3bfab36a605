"""Runs a notebook in every state of its controls, each cell once per state it depends on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ._compat import SETUP, CellError, CellRun, run_cells, setup_values
from .charts import unchecked
from .controls import choice_text, choices, chosen, set_to, shortened
from .dataflow import Dataflow, shows
from .errors import BookError
from .provenance import Origin, Witness

if TYPE_CHECKING:
    from marimo import App

    from ._compat import CellInfo

MAX_STATES = 200
"""States that one group of controls may have; beyond it, the longest menus are cut short."""

State = tuple[int, ...]
"""Places of the chosen values, one per control that a cell depends on, in order of name."""

Rendered = TypeVar("Rendered")


@dataclass(frozen=True, kw_only=True)
class StatePlan:
    """Which controls work on the page, why others are fixed, and the states to run."""

    flow: Dataflow
    controls: dict[str, object]
    """Those that work, each with the choices that the page offers."""
    notes: dict[str, str]
    """Why a control is fixed, or offers fewer choices than in the notebook."""
    groups: tuple[tuple[str, ...], ...]

    def names(self, cell: CellInfo) -> tuple[str, ...]:
        """The working controls that a cell depends on, in order of name."""
        return tuple(sorted(self.flow.controls_of(cell)))

    def default(self, cell: CellInfo) -> State:
        """The state that the page shows first."""
        return tuple(chosen(self.controls[name]) for name in self.names(cell))

    def combinations(self, group: tuple[str, ...]) -> list[dict[str, int]]:
        """All states of a group of controls."""
        places = [range(len(choices(self.controls[name]) or ())) for name in group]
        return [dict(zip(group, state, strict=True)) for state in itertools.product(*places)]

    @property
    def total(self) -> int:
        """Runs of the notebook: one as it stands, and one per state."""
        return 1 + sum(len(self.combinations(group)) for group in self.groups)


def plan_states(cells: tuple[CellInfo, ...], names: Mapping[str, object]) -> StatePlan:
    """Decide which controls the page can offer.

    Args:
        cells: The notebook.
        names: What its cells have defined.

    Returns:
        The plan; a control is fixed if it follows from another one, or if nothing shown depends on
        it. The longest menus of a group that would have more than `MAX_STATES` states are cut
        short; a control with two choices can only be fixed.
    """
    found = {name: names[name] for cell in cells for name in cell.defs if name in names}
    controls = {name: element for name, element in found.items() if choices(element)}
    every, notes = dict(controls), dict[str, str]()
    while True:
        flow = Dataflow(cells, controls)
        groups = _groups(flow)
        note = (
            _following(flow, controls) or _too_many(controls, groups) or _unused(controls, groups)
        )
        if not note:
            break
        notes |= note
        controls = {name: element for name, element in controls.items() if name not in note}
    controls |= {name: shortened(controls[name], n) for name, n in _lengths(controls, groups)}
    for name, element in controls.items():
        if element is not every[name]:
            sizes = (len(choices(one) or ()) for one in (element, every[name]))
            notes[name] = "({} of {} here; the notebook offers them all)".format(*sizes)
    return StatePlan(flow=flow, controls=controls, notes=notes, groups=groups)


def _lengths(
    controls: Mapping[str, object], groups: tuple[tuple[str, ...], ...]
) -> list[tuple[str, int]]:
    """How many choices are left to each control that offers too many."""
    whole = {name: len(choices(element) or ()) for name, element in controls.items()}
    sizes = dict(whole)
    for group in groups:
        while math.prod(sizes[name] for name in group) > MAX_STATES:
            sizes[max(group, key=lambda name: sizes[name])] -= 1
    return [(name, size) for name, size in sizes.items() if size < whole[name]]


def _groups(flow: Dataflow) -> tuple[tuple[str, ...], ...]:
    sets = {flow.controls_of(cell) for cell in flow.cells if shows(cell)} - {frozenset[str]()}
    largest = [group for group in sets if not any(group < other for other in sets)]
    return tuple(sorted(tuple(sorted(group)) for group in largest))


def _following(flow: Dataflow, controls: Mapping[str, object]) -> dict[str, str]:
    note = "(follows from another control)"
    return {name: note for name in controls if flow.controls_of(flow.definer(name))}


def _too_many(
    controls: Mapping[str, object], groups: tuple[tuple[str, ...], ...]
) -> dict[str, str]:
    """A control to be fixed, since even two choices of each are too many states."""
    for group in groups:
        if 2 ** len(group) > MAX_STATES:
            largest = max(group, key=lambda name: len(choices(controls[name]) or ()))
            return {
                largest: f"(fixed here: {len(group)} controls have more states than the "
                f"{MAX_STATES} that a page holds; the notebook offers them all)"
            }
    return {}


def _unused(controls: Mapping[str, object], groups: tuple[tuple[str, ...], ...]) -> dict[str, str]:
    used = {name for group in groups for name in group}
    return {name: "(nothing on this page depends on it)" for name in controls if name not in used}


@dataclass(frozen=True)
class Outcome:
    """A cell in one state: what it showed and defined, and what it asked of the store."""

    output: object
    values: dict[str, object]
    origin: Origin
    ended: bool
    """Whether `mo.stop` ended it or kept it from running; then nothing follows from it."""


class StateRuns:
    """The outcomes of every cell in every state that it depends on."""

    def __init__(
        self, app: App, cells: tuple[CellInfo, ...], tick: Callable[[int, int], None]
    ) -> None:
        self._app = app
        self._cells = {cell.id: cell for cell in cells}
        self._tick = tick
        self._witness = Witness(self._cells)
        if SETUP in self._cells:
            self._witness.observe(SETUP, setup_values(app))
        setup = dict(self._witness.origins)
        self.base, origins = self._run({}, None, {})
        origins |= setup
        self.plan = plan_states(cells, self.base.globals)
        self._fixed = {
            name: self.base.globals[name]
            for cell in cells
            if not _ended(cell, self.base)
            for name in cell.defs
            if cell.id != SETUP and name in self.base.globals
        }
        self.outcomes: dict[tuple[str, State], Outcome] = {}
        for cell in cells:
            if not self.plan.names(cell):
                self.outcomes[cell.id, ()] = _outcome(cell, self.base, origins)
        self._refuse_silent_stops()

    def _run(
        self, values: Mapping[str, object], only: set[str] | None, state: Mapping[str, int]
    ) -> tuple[CellRun, dict[str, Origin]]:
        self._witness.begin()
        try:
            run = run_cells(self._app, values, only, self._witness.observe)
        except CellError as failure:
            raise BookError(
                f"cell {cell_title(self._cells[failure.cell])} to run{self._named(state)}",
                str(failure),
                self._remedy(),
            ) from failure.cause
        return run, self._witness.origins

    def _remedy(self) -> str:
        if bare := self._witness.answers_without_rows():
            return (
                f"if {bare[0]} cannot be without rows, it is damaged: remove its part with "
                "`headbook store prune` and run it again"
            )
        return "run the notebook in `marimo edit` and mend that cell"

    def _named(self, state: Mapping[str, int]) -> str:
        if not state:
            return ""
        shown = (
            f"{name}={choice_text((choices(self.plan.controls[name]) or [])[place])}"
            for name, place in state.items()
        )
        return " with " + ", ".join(shown)

    def _refuse_silent_stops(self) -> None:
        for cell in sorted(self.base.stopped):
            if self.base.outputs.get(cell) is None:
                raise BookError(
                    "every cell to run, or mo.stop with an output that says why not",
                    f"mo.stop without one in cell {cell_title(self._cells[cell])}",
                    "pass the explanation as the second argument of mo.stop",
                )

    def run_all(self, show: Callable[[CellInfo, State, CellRun], None]) -> None:
        """Run every state; `show` renders a cell's output while its run is at hand.

        Args:
            show: Called once per cell and state, with the run that made its output.
        """
        done, total = 1, self.plan.total
        self._tick(done, total)
        for key in list(self.outcomes):
            show(self._cells[key[0]], key[1], self.base)
        with unchecked():
            for group in self.plan.groups:
                for state in self.plan.combinations(group):
                    self._run_state(group, state, show)
                    done += 1
                    self._tick(done, total)

    def _run_state(
        self,
        group: tuple[str, ...],
        state: dict[str, int],
        show: Callable[[CellInfo, State, CellRun], None],
    ) -> None:
        affected = [
            cell
            for cell in self._cells.values()
            if self.plan.names(cell) and set(self.plan.names(cell)) <= set(group)
        ]
        keys = {cell.id: (cell.id, self.state_of(cell, state)) for cell in affected}
        wanted = {cell.id for cell in affected if keys[cell.id] not in self.outcomes}
        values = dict(self._fixed)
        values |= {name: set_to(self.plan.controls[name], place) for name, place in state.items()}
        for cell in affected:
            values = {name: value for name, value in values.items() if name not in cell.defs}
            if cell.id not in wanted:
                values |= self.outcomes[keys[cell.id]].values
        blocked = {cell.id for cell in affected if self._is_blocked(cell, keys)}
        run, origins = self._run(values, wanted - blocked, state)
        for cell in affected:
            if cell.id in wanted:
                self.outcomes[keys[cell.id]] = _outcome(cell, run, origins)
                show(cell, keys[cell.id][1], run)

    def _is_blocked(self, cell: CellInfo, keys: Mapping[str, tuple[str, State]]) -> bool:
        known = (
            self.outcomes.get(keys.get(other.id, (other.id, ())))
            for other in self.plan.flow.lineage(cell)
            if other.id != cell.id
        )
        return any(outcome is not None and outcome.ended for outcome in known)

    def state_of(self, cell: CellInfo, state: Mapping[str, int]) -> State:
        """The part of a state that a cell depends on."""
        return tuple(state[name] for name in self.plan.names(cell))

    def origin(self, cell: CellInfo, state: State) -> Origin:
        """Where the numbers of a cell come from in a state: its own sources and its lineage's."""
        named = dict(zip(self.plan.names(cell), state, strict=True))
        found = Origin()
        for source in self.plan.flow.lineage(cell):
            if set(self.plan.names(source)) <= set(named):
                found |= self.outcomes[source.id, self.state_of(source, named)].origin
        return found


def _ended(cell: CellInfo, run: CellRun) -> bool:
    """Whether a cell was stopped or never run: what it defined before that is worth nothing."""
    return cell.id != SETUP and (cell.id not in run.outputs or cell.id in run.stopped)


def _outcome(cell: CellInfo, run: CellRun, origins: Mapping[str, Origin]) -> Outcome:
    ended = _ended(cell, run)
    names = frozenset[str]() if ended else cell.defs
    return Outcome(
        output=run.outputs.get(cell.id),
        values={name: run.globals[name] for name in names if name in run.globals},
        origin=origins.get(cell.id, Origin()),
        ended=ended,
    )


def cell_title(cell: CellInfo) -> str:
    """How an error names a cell: its name, or the line it starts with."""
    return repr(cell.name) if cell.name != "_" else f"that starts {cell.code.splitlines()[0]!r}"
