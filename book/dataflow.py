"""Which controls and which answers does each cell of a notebook depend on?"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from .errors import BookError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._compat import CellInfo

_CARRIERS = (ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Starred, ast.keyword, ast.Expr)
_TEXT = (ast.JoinedStr, ast.FormattedValue)


class Dataflow:
    """The cells of a notebook with what flows between them.

    A cell depends on a control when it, or a cell whose definitions it uses, *reads* the control;
    one that only places the control on the page does not.
    """

    def __init__(self, cells: Iterable[CellInfo], controls: Iterable[str]) -> None:
        self.cells = tuple(cells)
        self.controls = frozenset(controls)
        self._definer = {name: cell for cell in self.cells for name in cell.defs}
        self._parents = {cell.id: self._parents_of(cell) for cell in self.cells}
        self._found: dict[str, frozenset[str]] = {}

    def _parents_of(self, cell: CellInfo) -> tuple[CellInfo, ...]:
        parents = [self._definer[ref] for ref in sorted(cell.refs & set(self._definer))]
        return tuple(parent for parent in dict.fromkeys(parents) if parent.id != cell.id)

    def controls_of(self, cell: CellInfo) -> frozenset[str]:
        """Names of the controls that a cell's output depends on."""
        if cell.id not in self._found:
            own = {ref for ref in cell.refs & self.controls if reads(cell.code, ref)}
            passed = cell.refs - self.controls
            for name in passed & set(self._definer):
                parent = self._definer[name]
                own |= self.controls_of(parent) if parent.id != cell.id else frozenset()
            self._found[cell.id] = frozenset(own)
        return self._found[cell.id]

    def lineage(self, cell: CellInfo) -> tuple[CellInfo, ...]:
        """A cell and all cells that its output is made from."""
        found = {cell.id: cell}
        waiting = [cell]
        while waiting:
            for parent in self._parents[waiting.pop().id]:
                if parent.id not in found:
                    found[parent.id] = parent
                    waiting.append(parent)
        return tuple(found.values())

    def definer(self, name: str) -> CellInfo:
        """The cell that defines a name."""
        return self._definer[name]


def reads(code: str, name: str) -> bool:
    """Whether code does more with a control than put it on the page.

    Args:
        code: A cell.
        name: The control's variable.

    Returns:
        False if it stands only in containers, f-strings and arguments of `mo.…(…)`.
    """
    tree = ast.parse(code)
    above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    return any(not _only_placed(node, above) for node in uses)


def _only_placed(node: ast.AST, above: dict[ast.AST, ast.AST]) -> bool:
    parent = above.get(node)
    while isinstance(parent, (*_CARRIERS, *_TEXT)):
        if isinstance(parent, ast.Expr):
            return True
        parent = above.get(parent)
    return isinstance(parent, ast.Call) and ast.unparse(parent.func).startswith("mo.")


def is_test(cell: CellInfo) -> bool:
    """Whether a cell holds only tests, which the book does not show."""
    body = ast.parse(cell.code).body
    tests = (ast.FunctionDef, ast.ClassDef)
    return bool(body) and all(
        isinstance(node, tests) and node.name.lower().startswith("test") for node in body
    )


def is_prose(cell: CellInfo) -> bool:
    """Whether a cell is one `mo.md(...)`, whose code would repeat the text."""
    body = ast.parse(cell.code).body
    last = body[-1] if body else None
    return (
        isinstance(last, ast.Expr)
        and isinstance(last.value, ast.Call)
        and ast.unparse(last.value.func) == "mo.md"
        and len(body) == 1
    )


def shows(cell: CellInfo) -> bool:
    """Whether a cell can have an output: it ends with an expression and is no test."""
    body = ast.parse(cell.code).body
    return bool(body) and isinstance(body[-1], ast.Expr) and not is_test(cell)


def refuse_unseen(cell: CellInfo) -> None:
    """Refuse a cell that shows something in a way the static book cannot see.

    Raises:
        BookError: It prints, appends output, or relies on the implicit output of `mo.sql`.
    """
    if is_test(cell):
        return
    for node in ast.walk(ast.parse(cell.code)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        quiet = called == "mo.sql" and any(word.arg == "output" for word in node.keywords)
        seen = called in {"print", "mo.latex", "mo.sql"} or called.startswith("mo.output.")
        if seen and not quiet:
            remedy = "end the cell with the expression to show"
            raise BookError("outputs that a cell ends with", f"a call of {called}()", remedy)
