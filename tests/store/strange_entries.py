"""A grammar of what can lie at every place of a store or a book, and a canary outside of them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

YEAR_AGO = 1_700_000_000
NOBODY = 54_321
"""A user who is nobody here."""

BOMBS = {
    "deep": b"[" * 100_000,
    "infinite": b'{"format": Infinity, "schema": NaN}',
    "huge number": b'{"format": 1e999, "schema": 1}',
    "twice": b'{"format": 1, "schema": 1, "format": 1, "keys": {}, "keys": {}}',
    "long number": b'{"format": ' + b"9" * 100_000 + b"}",
    "not text": b"\xff\xfe\x00{",
}


@dataclass(frozen=True)
class Canary:
    """A tree that nothing may read through, write, touch or remove."""

    root: Path

    @classmethod
    def planted(cls, root: Path) -> Canary:
        """Files and folders that look like what headbook sweeps, old enough to be swept."""
        for name in ("notes.txt", "part.json", "head_scores.parquet", "store.json", "index.html"):
            for folder in (root, root / ("a" * 32), root / f"{'b' * 32}-{'c' * 32}", root / "tmp"):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(f"mine: {name}\n")
        for path in [*root.rglob("*"), root]:
            os.utime(path, (YEAR_AGO, YEAR_AGO))
        return cls(root)

    def seen(self) -> dict[str, object]:
        """Names, bytes, times and permissions of everything."""
        return tree(self.root)


def tree(root: Path) -> dict[str, object]:
    """What lies in a folder: by path, what it is, its times, permissions and content."""
    found: dict[str, object] = {}
    for path in [root, *root.rglob("*")]:
        now = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)  # noqa: PTH115 - as it is written
        elif path.is_file() and now.st_size < 10**7 and os.access(path, os.R_OK):
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (now.st_mode, now.st_mtime_ns, now.st_ino, content)
    return found


def _emptied(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _file(path: Path, canary: Canary) -> None:
    _emptied(path)
    path.write_text("notes of somebody else\n")


def _absent(path: Path, canary: Canary) -> None:
    _emptied(path)


def _folder(path: Path, canary: Canary) -> None:
    _emptied(path)
    path.mkdir()
    (path / "mine.txt").write_text("mine\n")


def _link_inside(path: Path, canary: Canary) -> None:
    kept = path.with_name(f"kept-{path.name}")
    if path.exists():
        path.rename(kept)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept.mkdir()
    path.symlink_to(kept.name)


def _link_outside(path: Path, canary: Canary) -> None:
    folder = path.is_dir() or not path.suffix
    _emptied(path)
    path.symlink_to(canary.root if folder else canary.root / "notes.txt")


def _link_to_copy(path: Path, canary: Canary) -> None:
    """To outside, where all is as it should be."""
    outside = canary.root / f"copy-{path.name}"
    if path.exists():
        path.rename(outside)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        outside.mkdir()
    path.symlink_to(outside)


def _loop(path: Path, canary: Canary) -> None:
    _emptied(path)
    path.symlink_to(path.name)


def _fifo(path: Path, canary: Canary) -> None:
    _emptied(path)
    os.mkfifo(path)


def _socket(path: Path, canary: Canary) -> None:
    _emptied(path)
    with socket.socket(socket.AF_UNIX) as made:
        folder = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def _huge(path: Path, canary: Canary) -> None:
    _emptied(path)
    with path.open("wb") as file:
        file.truncate(1 << 38)


def _truncated(path: Path, canary: Canary) -> None:
    data = path.read_bytes() if path.is_file() else b""
    _emptied(path)
    path.write_bytes(data[: len(data) // 2])


def _other_schema(path: Path, canary: Canary) -> None:
    _emptied(path)
    if path.suffix == ".json":
        path.write_text('{"name": "x", "files": [1, 2], "keys": "none", "format": "1"}')
    else:
        pl.DataFrame({"a": [1.5], "run": [["x"]]}).write_parquet(path)


def _unreadable(path: Path, canary: Canary) -> None:
    if not path.exists():
        _file(path, canary)
    path.chmod(0)


def _hard_link(path: Path, canary: Canary) -> None:
    _emptied(path)
    path.hardlink_to(canary.root / "notes.txt")


def _foreign(path: Path, canary: Canary) -> None:
    if not path.exists():
        _folder(path, canary) if not path.suffix else _file(path, canary)
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o777)


def _bomb(data: bytes) -> Callable[[Path, Canary], None]:
    def put(path: Path, canary: Canary) -> None:
        _emptied(path)
        path.write_bytes(data)

    return put


KINDS: dict[str, Callable[[Path, Canary], None]] = {
    "absent": _absent,
    "file": _file,
    "folder": _folder,
    "link inside": _link_inside,
    "link outside": _link_outside,
    "link to a copy outside": _link_to_copy,
    "loop": _loop,
    "pipe": _fifo,
    "socket": _socket,
    "huge": _huge,
    "truncated": _truncated,
    "other schema": _other_schema,
    "unreadable": _unreadable,
    "hard link": _hard_link,
    "foreign": _foreign,
    **{f"bomb: {name}": _bomb(data) for name, data in BOMBS.items()},
}
STRANGERS = ("link inside", "link outside", "link to a copy outside", "loop", "pipe", "socket")
"""What is never ours, whatever its name."""

NEEDS_ROOT = {"foreign"}


def kinds_for(place: str) -> Iterator[str]:
    """Bombs of JSON where JSON is read, all else everywhere."""
    for kind in KINDS:
        if (not kind.startswith("bomb") or place.endswith(".json")) and (
            os.geteuid() == 0 or kind not in NEEDS_ROOT
        ):
            yield kind
