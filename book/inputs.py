"""What a chapter depends on, as one key: equal keys, equal page.

Notebook, the project's modules that were imported to compile it, the reference model's files, the
versions of what renders, and the options. The runs that it recalled are checked against the store.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

BOOK = Path(__file__).resolve().parent
CHECKOUT = BOOK.parent
"""The folder that holds our packages: the checkout, or headbook's folder in a wheel."""

ANALYSIS = CHECKOUT / "analysis"
"""Whose data files (the reference model and its texts) change every chapter when they change."""

MOST_KEPT = 1 << 29
"""Bytes of a file of an earlier build; the largest chapter has some millions."""

_RENDERERS = ("marimo", "altair", "polars", "markdown-it-py", "mdit-py-plugins", "pygments")


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 over a sequence of byte strings, their borders included."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file; of nothing, if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def environment() -> str:
    """Digest of what renders, and of files that `analysis` reads: the reference model, lists."""
    data = sorted(path for path in ANALYSIS.rglob("*") if path.is_file())
    shipped = [path for path in data if path.suffix not in {".py", ".pyc", ".md"}]
    files = [(path.name, file_digest(path)) for path in shipped]
    versions = [(name, version(name)) for name in _RENDERERS]
    return digest([json.dumps([sys.version_info[:2], files, versions]).encode()])


def chapter_key(notebook: Path, inputs: Sequence[str], options: Mapping[str, str]) -> str:
    """Digest of everything but the store that decides what a chapter's page is.

    Args:
        notebook: The file.
        inputs: The project's files that it imported, as `imported_files` gave them.
        options: What the notebook reads from its command line.

    Returns:
        64 hexadecimal characters.
    """
    files = [(name, file_digest(_resolved(name, notebook))) for name in sorted(inputs)]
    named = json.dumps([environment(), notebook.name, files, sorted(options.items())])
    return digest([notebook.read_bytes(), named.encode()])


def _resolved(name: str, notebook: Path) -> Path:
    own = notebook.parent / name
    return own if own.is_file() else CHECKOUT / name


def project_folders(notebook: Path) -> list[Path]:
    """Where the project's modules are: beside the notebook, and beside this package."""
    return [notebook.parent.resolve(), CHECKOUT]


def imported_files(folders: Sequence[Path]) -> list[str]:
    """The project's files among the modules that this process has imported.

    Args:
        folders: The project's folders; the first that holds a file names it.

    Returns:
        Paths relative to those folders, sorted: the compiler's own modules are among them.
    """
    found: set[str] = set()
    for module in list(sys.modules.values()):
        name = _module_file(module, folders)
        if name is not None:
            found.add(name)
    return sorted(found)


def _module_file(module: ModuleType, folders: Sequence[Path]) -> str | None:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return None
    path = Path(file).resolve()
    for folder in folders:
        if path.is_relative_to(folder):
            relative = path.relative_to(folder)
            foreign = {"site-packages", ".venv"} & set(relative.parts)
            return None if foreign else relative.as_posix()
    return None


def kept_json(path: Path) -> Any:
    """What an earlier build kept in the work folder.

    Args:
        path: The file.

    Returns:
        The value of its JSON.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not as a build leaves it.
    """
    from store import parsed  # noqa: PLC0415 - imports DuckDB

    if path.stat().st_size > MOST_KEPT:
        raise ValueError(f"expected at most {MOST_KEPT} bytes; remove {path}")
    return parsed(path.read_bytes())


def write_aside(path: Path, content: bytes) -> bool:
    """Write a file whole or not at all, and only if its content is new.

    Args:
        path: The file; its folder is made.
        content: Its bytes.

    Returns:
        Whether it was written.
    """
    same_size = path.is_file() and path.stat().st_size == len(content)
    if same_size and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return True
