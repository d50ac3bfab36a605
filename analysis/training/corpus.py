"""The prose that the reference model is trained on, and what of it is held out."""

import hashlib
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from analysis.errors import UserError
from analysis.files import LARGE, regular_bytes
from analysis.settings import SETTINGS

HELD_OUT_SHARE = 0.05
SOURCES = "SOURCES.md"
"""A table `| file | source | ... |` beside the texts; its file names may hold `*`."""


@dataclass(frozen=True)
class Corpus:
    """Every file's text, the last part of each held out."""

    files: dict[str, dict[str, str]]
    """By file name: its `sha256` and its public `source`."""
    train: list[str]
    held_out: list[str]

    @classmethod
    def read(cls, folder: Path) -> "Corpus":
        """Read every `.txt` file of a folder.

        Args:
            folder: Where the texts are, and `SOURCES.md` if anything is known of them.

        Returns:
            The corpus.

        Raises:
            UserError: The folder is missing or holds no text.
        """
        paths = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        if not paths:
            raise UserError(
                f"expected a folder with .txt files, found {'none in' if folder.is_dir() else 'no'}"
                f" {folder}; give one with --corpus DIR"
            )
        read = [regular_bytes(path, LARGE) for path in paths]
        texts = [data.decode("utf-8", "replace") for data in read]
        texts = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
        cuts = [int(len(text) * (1 - HELD_OUT_SHARE)) for text in texts]
        sources = _sources(folder / SOURCES)
        files = {
            path.name: {
                "sha256": hashlib.sha256(data).hexdigest(),
                "source": next(
                    (source for name, source in sources.items() if fnmatch(path.name, name)),
                    "not stated",
                ),
            }
            for path, data in zip(paths, read, strict=True)
        }
        train = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
        return cls(files, train, [text[cut:] for text, cut in zip(texts, cuts, strict=True)])


def _sources(path: Path) -> dict[str, str]:
    """Sources by file name or pattern, as the table of a Markdown file gives them."""
    said = regular_bytes(path, SETTINGS) if path.exists() else b""
    lines = said.decode("utf-8", "replace").splitlines()
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if line.lstrip().startswith("|")
    ]
    return {
        name: "; ".join(cells)
        for names, *cells in rows
        if cells
        for name in re.split(r"[,\s]+", names)
        if name.endswith(".txt")
    }
