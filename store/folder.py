"""The folder a store lives in, and `store.json`, which says that it is one."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from .beneath import FILE, FOLDER, Folder
from .disk import disk_errors, reading
from .errors import StoreError
from .keys import canonical, parsed
from .provenance import CHECKOUT
from .schema import SCHEMA_VERSION

FORMAT = 1
"""Layout of the folder: raised when an older headbook could not find its way in it."""

MARKER = "store.json"
MOST_MARKER = 10_000
"""Bytes of the largest marker that is read."""

PART = re.compile(r"[0-9a-f]{32}")
"""What a part can be called; what is called otherwise is none."""

IN_PART = re.compile(r"part\.json|[a-z_]+\.parquet")
"""Files of a part."""

_FOLDERS = ("parts", "tmp", "incoming", "blobs", "notes")
_FILES = re.compile(r"store\.json|catalog\.json|(?:catalog|results-\d+)\.duckdb(?:\.wal)?")
_ASIDE = re.compile(r"\.(?:store|catalog)\.json\.[0-9a-f]+")
"""What a writer that was killed left beside the file that it was replacing."""


def default_root() -> Path:
    """Where the store is, if nobody says: `HEADBOOK_STORE`, else `.headbook` in the checkout.

    Returns:
        The folder; outside a checkout, `.headbook` in the current folder.
    """
    if named := os.environ.get("HEADBOOK_STORE"):
        return Path(named)
    in_checkout = (CHECKOUT / "pyproject.toml").is_file()
    return CHECKOUT / ".headbook" if in_checkout else Path(".headbook")


def resolved(path: str | Path) -> Path:
    """Where a folder that somebody names really is: links that lead there are followed, once.

    Args:
        path: As named; `~` is a home.

    Returns:
        An absolute path without links.

    Raises:
        StoreError: There is no such home, its links lead in a circle, or the system refuses it.
    """
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreError(
            f"expected a path that leads somewhere, got {path}: {why}; choose another"
        ) from None


def check_apart(path: Path, root: Path | None = None) -> None:
    """Refuse an output that lies in a store, whosever it is, or that a store lies in.

    Args:
        path: Where something is going to be written.
        root: The store of the command; None for one that has none.

    Raises:
        StoreError: What is written there would be a stranger in the store.
    """
    place = resolved(path)
    own = None if root is None else resolved(root)
    for folder in (place, *place.parents):
        if folder == own or _is_store(folder):
            raise StoreError(
                f"expected an output outside of every store, got {place} in {folder}; choose "
                "another"
            )
    if own is not None and place in own.parents:
        raise StoreError(
            f"expected an output that no store lies in, got {place} around {own}; choose another"
        )


def _is_store(folder: Path) -> bool:
    """Whether a marker of a store, of whatever format, lies in a folder that we may look into."""
    try:
        with Folder.open(folder) as opened:
            marker: object = parsed(opened.read(MARKER, MOST_MARKER))
    except (OSError, ValueError, StoreError):
        return False
    return isinstance(marker, dict) and {"format", "schema"} <= marker.keys()


def check_root(root: Path) -> None:
    """Refuse a folder that is no store, that this headbook cannot read, or that somebody baited.

    Args:
        root: The folder, resolved.

    Raises:
        StoreError: It is no store, or one of a newer headbook; or something lies in it under a
            name of ours that is not what headbook puts there.
    """
    with reading(root), Folder.open(root) as folder:
        for name in folder.names():
            if name in _FOLDERS:
                folder.expect(name, FOLDER)
            elif _FILES.fullmatch(name):
                folder.expect(name, FILE)
        marker = folder.read(MARKER, MOST_MARKER) if folder.entry(MARKER) else None
    _check_marker(root, marker)


def _check_marker(root: Path, text: bytes | None) -> None:
    if text is None:
        raise StoreError(
            f"expected an empty folder or a store at {root}, got a folder without {MARKER}; "
            "choose another with --store"
        )
    try:
        marker: dict[str, Any] = parsed(text)
        found, schema = marker["format"], marker["schema"]
        if type(found) is not int or type(schema) is not int:
            raise TypeError("expected integers")
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"expected the format of the store in {root / MARKER}, got something else; "
            f"restore it: {canonical({'format': FORMAT, 'schema': SCHEMA_VERSION})}"
        ) from error
    if found > FORMAT or schema > SCHEMA_VERSION:
        raise StoreError(
            f"expected a store of format {FORMAT} and schema {SCHEMA_VERSION} or older at {root}, "
            f"got format {found} and schema {schema}; update headbook or choose another"
        )


def is_new(root: Path) -> bool:
    """Whether a folder can become a store: it is not there, or empty.

    Args:
        root: The folder, resolved.

    Returns:
        Whether nothing is lost if `create` marks it.

    Raises:
        StoreError: It is a file, or closed to us.
    """
    with disk_errors(root):
        if not root.exists():
            return True
        if not root.is_dir():
            raise StoreError(
                f"expected a folder at {root}, got a file; choose another with --store"
            )
        with Folder.open(root) as folder:
            return all(_ASIDE.fullmatch(name) for name in folder.names())


def create(root: Path) -> None:
    """Mark a new or empty folder as a store.

    Args:
        root: The folder, resolved; it is new.

    Raises:
        StoreError: The disk refuses.
    """
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with Folder.open(root) as folder:
            marker = canonical({"format": FORMAT, "schema": SCHEMA_VERSION})
            folder.replace(MARKER, marker.encode())


def strays(root: Path, *, in_parts: bool = False) -> list[str]:
    """What lies in a store and is not headbook's: nothing reads, moves or removes it.

    Args:
        root: The store, checked.
        in_parts: Look into every part, too.

    Returns:
        Names, those in `parts/` with that before them and last.
    """
    with reading(root), Folder.open(root) as folder:
        known = {name for name in folder.names() if name in _FOLDERS or _FILES.fullmatch(name)}
        found = [name for name in folder.names() if name not in known and not _ASIDE.match(name)]
        if "parts" in known:
            with folder.below("parts") as parts:
                names = parts.names()
                found += [f"parts/{name}" for name in names if not PART.fullmatch(name)]
                for name in filter(PART.fullmatch, names if in_parts else ()):
                    with suppress(OSError, StoreError), parts.below(name) as part:
                        strange = (one for one in part.names() if not IN_PART.fullmatch(one))
                        found += [f"parts/{name}/{one}" for one in strange]
        return found
