"""Result files as questions to the store, so that a file is stored once whatever its name."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from analysis.errors import UserError
from analysis.files import opened
from analysis.progress import Report
from analysis.questions.rows import joined

from .formats import Published, read_published

LARGEST_FILE = 64 * 2**20
"""Bytes of a file that is read."""


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """What does a result file of a published study say? Stored under the hash of its bytes."""

    version: ClassVar[int] = 1
    """Raised by hand when the same file gets other rows."""

    name: str
    """Of the file when it was first read: kept with the rows, no part of the question."""
    sha256: str
    """Of its bytes."""
    published: Published

    @classmethod
    def read(cls, path: Path) -> "PublishedFile":
        """Read a file.

        Raises:
            UserError: It cannot be read, is too large, or `read_published` refuses it.
        """
        try:
            with opened(path) as file:
                size, data = os.fstat(file.fileno()).st_size, file.read(LARGEST_FILE + 1)
        except FileNotFoundError:
            raise UserError("expected a file, found none; check its name") from None
        except OSError as error:
            raise UserError(
                f"expected a file that can be read, got {error.strerror}; check its permissions"
            ) from None
        if len(data) > LARGEST_FILE:
            raise UserError(
                f"expected at most {LARGEST_FILE // 2**20} MB, got {size // 2**20} MB; split it"
            )
        name = path.name.encode("utf-8", "replace").decode()
        return cls(name=name, sha256=sha256(data).hexdigest(), published=read_published(data))

    def units(self) -> Sequence["PublishedFile"]:
        """This one."""
        return [self]

    def question(self) -> dict[str, Any]:
        """What the rows are stored under."""
        return {"sha256": self.sha256}

    def subjects(self) -> dict[str, pl.DataFrame]:
        """No model and no text of ours."""
        return {}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """The rows.

        Args:
            report: Not needed.

        Returns:
            One of `published_curves`, `published_rankings` and `published_lags`; and `absences`
            where a detection found nothing.
        """
        del report
        rows = self.published.rows.with_columns(file=pl.lit(self.name))
        absences = self.published.absences
        return {self.published.table: rows} | ({} if absences is None else {"absences": absences})


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """What do some result files say? Each is stored on its own."""

    version: ClassVar[int] = 1
    files: tuple[PublishedFile, ...]

    def units(self) -> Sequence[PublishedFile]:
        """The files."""
        return self.files

    def question(self) -> dict[str, Any]:
        """The hashes of all files."""
        return {"files": [file.sha256 for file in self.files]}

    def subjects(self) -> dict[str, pl.DataFrame]:
        """No model and no text of ours."""
        return {}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """The rows of all of them.

        Args:
            report: Not needed.

        Returns:
            The tables of each file.
        """
        return joined([file.run(report) for file in self.files])
