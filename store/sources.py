"""Our own source code as a graph: which name is defined where, and which names it uses."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from .errors import StoreError

Place = tuple[str, str]
"""A module and a name at its top level; the name "" is the module itself."""


def _is_docstring(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _statements(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """The statements of a module, those under `if`, `try` and `with` too."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try, ast.With)):
            inner = [node for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt)]
            yield from _statements(inner)


class Module:
    """One source file of ours."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.tree = ast.parse(path.read_bytes(), filename=str(path))
        self._package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """The statements that define each name of the module."""
        found: dict[str, list[ast.stmt]] = {}
        for node in _statements(self.tree.body):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names = [node.name]
            elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                inside = [part for target in targets for part in ast.walk(target)]
                names = [part.id for part in inside if isinstance(part, ast.Name)]
            else:
                names = []
            for name in names:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def effects(self) -> list[ast.stmt]:
        """What importing the module does beside defining names, such as registering."""
        calls = [node for node in _statements(self.tree.body) if isinstance(node, ast.Expr)]
        return [node for node in calls if not _is_docstring(node)]

    @cached_property
    def imports(self) -> dict[str, Place]:
        """What each imported name stands for. Star imports, which ruff forbids, are not seen."""
        found: dict[str, Place] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    found[bound] = (alias.name if alias.asname else bound, "")
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(node)
                for alias in node.names:
                    found[alias.asname or alias.name] = (source, alias.name)
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self._package.split(".")
        base = parents[: len(parents) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])


class Sources:
    """The modules of some packages, found and parsed, not imported."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._folders: dict[str, Path] = {}
        for package in packages:
            spec = find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise StoreError(f"expected an importable package, got `{package}`; check its name")
            self._folders[package] = Path(next(iter(spec.submodule_search_locations)))
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """A module of ours, or None for anything else."""
        if name not in self._modules:
            package, *rest = name.split(".")
            base = self._folders.get(package, Path("/nowhere")).joinpath(*rest)
            paths = [base / "__init__.py", base.with_name(f"{base.name}.py")]
            path = next((path for path in paths if path.is_file()), None)
            self._modules[name] = Module(name, path) if path else None
        return self._modules[name]

    def resolve(self, place: Place) -> Place | None:
        """Follow re-exports to where a name is defined, or None for what is not ours."""
        seen: set[Place] = set()
        while place not in seen:
            seen.add(place)
            module_name, name = place
            module = self.module(module_name)
            if module is not None and (not name or name in module.definitions):
                return place
            imported = module.imports.get(name) if module is not None else None
            if imported is not None and imported not in seen:
                place = imported  # before a submodule of the same name, which it hides
            elif self.module(f"{module_name}.{name}") is not None:
                return (f"{module_name}.{name}", "")
        return None

    def uses(self, module: Module, node: ast.AST) -> Iterable[Place]:
        """The places of ours that a piece of a module's source names."""
        found = (self._named(module, part) for part in ast.walk(node))
        yield from (place for place, attributes in found if place and not attributes)

    def syntax(self, module: Module, node: object) -> object:
        """What a piece of a module's source does, however it is laid out and wherever it lies.

        Args:
            module: Where it is.
            node: A node, or what stands in a field of one.

        Returns:
            Nested lists without positions, docstrings and empty fields, alike for every Python.
            What is ours stands there by its own name, not by that of its module.
        """
        if isinstance(node, (ast.Name, ast.Attribute)):
            place, attributes = self._named(module, node)
            if place and not attributes:
                return ["ours", place[1]]
        if isinstance(node, ast.AST):
            fields = {name: self.syntax(module, value) for name, value in ast.iter_fields(node)}
            kept = {name: value for name, value in fields.items() if value not in (None, [])}
            return [type(node).__name__, sorted(kept.items())]
        if isinstance(node, list):
            items = cast("list[object]", node)
            kept = [
                item for item in items if not _is_docstring(item) and not self._ours(module, item)
            ]
            return [self.syntax(module, item) for item in kept]
        return repr(node) if node is not None else None

    def _named(self, module: Module, node: ast.AST) -> tuple[Place | None, list[str]]:
        """Which name of ours a piece of source is, and attributes of it that are read."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        place = self.resolve((module.name, node.id)) if isinstance(node, ast.Name) else None
        while place and not place[1] and attributes:  # a module: go on into it
            place = self.resolve((place[0], attributes.pop(0)))
        return (place if place and place[1] else None), attributes

    def _ours(self, module: Module, node: object) -> bool:
        """Whether this imports from ours: what is used of that is seen where it is used."""
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            return False
        names = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        return all(module.imports[name][0].partition(".")[0] in self._folders for name in names)
