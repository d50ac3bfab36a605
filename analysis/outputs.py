"""Where a run writes: folders of its own, and no file of anybody else's."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from analysis.errors import UserError
from analysis.files import kind

MARK = ".headbook-run"
"""An empty file in a folder that a run made, or found empty."""


def claim(folder: Path, known: Collection[str]) -> None:
    """Make a folder for a run, or find that it is the run's own.

    Args:
        folder: Where it writes.
        known: Names of all that such a run leaves: where no `MARK` lies, nothing else may.

    Raises:
        UserError: The folder holds files of others, and no mark of ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with os.scandir(folder) as entries:
        found = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    if not found.get(MARK) and not found.keys() <= {*known}:
        raise UserError(
            f"expected a new or empty folder, or one of such a run, got {folder} with files of "
            "others; choose another"
        )
    with suppress(FileExistsError):
        (folder / MARK).open("x").close()


def check_free(*paths: Path) -> None:
    """Refuse what is no plain file where one of ours is to be written or read.

    Args:
        paths: Of our files.

    Raises:
        UserError: A link, a folder or anything else lies there; it is left as it is.
    """
    for path in paths:
        with suppress(FileNotFoundError):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode):
                raise UserError(
                    f"expected a plain file or nothing at {path}, got {kind(mode)}; move it away "
                    "or choose another folder"
                )


def check_own_folder(folder: Path, names: Collection[str]) -> None:
    """Refuse a folder, to be replaced by ours, that holds anything which is not ours.

    Args:
        folder: It may be absent.
        names: Files that we write there.

    Raises:
        UserError: It is a link or no folder, or something else lies in it.
    """
    with suppress(FileNotFoundError):
        mode = folder.lstat().st_mode
        if not stat.S_ISDIR(mode):
            raise UserError(
                f"expected a folder of this run or nothing at {folder}, got {kind(mode)}; move it "
                "away or choose another folder"
            )
        for path in folder.iterdir():
            if path.name not in names:
                raise UserError(
                    f"expected files of this run alone in {folder}, which is replaced, got "
                    f"{path.name!r}; move it away"
                )
            check_free(path)


def remove_own_folder(folder: Path, names: Collection[str]) -> None:
    """Remove a folder of ours, file by file.

    Args:
        folder: It may be absent.
        names: Files that we write there.

    Raises:
        UserError: Something else lies there; nothing is removed.
    """
    check_own_folder(folder, names)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        folder.rmdir()


def aside_of(path: Path) -> Path:
    """Where a file of ours grows until it is renamed; what a kill left there is taken away.

    Args:
        path: Of the file.

    Returns:
        Its path with the suffix `.tmp`, where nothing lies now.

    Raises:
        UserError: Something else than a plain file lies at either place.
    """
    aside = path.with_suffix(".tmp")
    check_free(path, aside)
    aside.unlink(missing_ok=True)
    return aside


def write_text(path: Path, text: str) -> None:
    """Write a file of ours: aside, then by renaming.

    Args:
        path: Of the file, which may exist.
        text: What it is to hold.

    Raises:
        UserError: Something else than a plain file lies there.
    """
    aside = aside_of(path)
    try:
        with aside.open("x", encoding="utf-8") as file:
            file.write(text)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
