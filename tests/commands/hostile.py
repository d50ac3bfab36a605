"""What hostile input is made of, and how to see that it did nothing but be refused."""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.errors import UserError
from book.errors import BookError
from store import StoreError

MISTAKES = (UserError, StoreError, BookError)
"""The only errors that input may cause: one line each."""

CASES: dict[str, int] = {}
"""Cases of every test that `hostile` made, each of which really runs so many."""


def hostile(n: int, **strategies: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """A property test of `n` cases, which fails where fewer were really run."""

    def decorate(test: Any) -> Any:
        ran = 0
        name = f"{test.__module__.rpartition('.')[2]}.{test.__name__}"
        CASES[name] = n

        @functools.wraps(test)
        def counted(*args: Any, **named: Any) -> None:
            nonlocal ran
            ran += 1
            test(*args, **named)

        checks = settings(max_examples=n, suppress_health_check=list(HealthCheck))
        searched = checks(given(**strategies)(counted))

        @functools.wraps(searched)
        def whole(*args: Any, **named: Any) -> None:
            nonlocal ran
            ran = 0
            searched(*args, **named)
            assert ran >= n, f"expected {n} cases of {name}, ran {ran}"

        return whole

    return decorate


def refused(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a call returns, or the one line that it was refused with; any other error is ours."""
    try:
        return function(), ""
    except MISTAKES as error:
        line = str(error)
        assert line.startswith("expected ") and ";" in line, line
        assert len(line.splitlines()) == 1, repr(line)
        return None, line


class Canary:
    """Code in every disguise that makes a folder where it was really run."""

    def __init__(self, folder: Path) -> None:
        self.sung = folder / "sung"
        self.python = f"import os\nos.mkdir({str(self.sung)!r})\n"
        self.yaml = f'!!python/object/apply:os.mkdir ["{self.sung}"]\n'

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sung),)

    @property
    def pickle(self) -> bytes:
        """Bytes that sing as they are unpickled."""
        return pickle.dumps(self)

    def silent(self) -> bool:
        """Whether nothing of it was run; makes it silent again."""
        found = self.sung.exists()
        if found:
            self.sung.rmdir()
        return not found


class Place:
    """A folder to work in, three levels deep, among files that nobody may touch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "a" / "b" / "work"
        self.work.mkdir(parents=True)
        for folder in (root, root / "a", root / "a" / "b"):
            (folder / "secret.txt").write_text("swordfish\n", encoding="utf-8")
        self._before = self._found()

    def _found(self) -> dict[Path, tuple[int, bytes] | None]:
        """Every file outside of the work folder with its time and bytes; folders alone."""
        paths = [path for path in self.root.rglob("*") if self.work not in (path, *path.parents)]
        return {
            path: None if path.is_dir() else (path.lstat().st_mtime_ns, path.read_bytes())
            for path in paths
        }

    def untouched(self, *allowed: Path) -> bool:
        """Whether nothing outside of the work folder and the allowed paths is new or changed."""
        now = self._found()
        changed = [
            path
            for path in now.keys() | self._before.keys()
            if now.get(path, ()) != self._before.get(path, ())
        ]
        return all(
            any(
                own in (path, *path.parents) or (path in own.parents and path.is_dir())
                for own in allowed
            )
            for path in changed
        )

    def clear(self) -> None:
        """Empty the work folder, and take away what is new outside of it."""
        new = sorted(self._found().keys() - self._before.keys())
        for path in (*new, *self.work.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


TAGS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    "<!--",
    "-->",
    "]]>",
    "</textarea></template></td></pre>",
    "<b>",
    "&lt;i&gt;",
    "&#60;u&#62;",
    "[x](javascript:alert(1))",
    "```{raw} html\n<u>x</u>\n```",
    "{eval-rst}`x`",
    '<hb-md data-key="0"></hb-md>',
)
NAMES = (
    *TAGS,
    *("../x", "../../x", "..", ".", "", " ", "~", "x/../../y", "a\\..\\b", "C:\\x", "//x"),
    *("-", "--help", "-rf", "%s%n", "{0}", "{x!r}", "$(touch x)", "`touch x`", "; touch x", "|x"),
    *(
        "*",
        "[a]",
        "?",
        "\n",
        "a\nb",
        "\t",
        "\x1b[31m",
        "\u202e",
        "\ufeff",
        "\u2028",
        "é",
        "e\u0301",
    ),
    *("x" * 300, "x/" * 200, "\U0010ffff", "\x7f", "CON", "nan", "None", "hf:", "hf:x:y:z:w"),
    *("'; DROP TABLE runs; --", '"', "'", "\\", "1e999", "-1", "0", "9" * 30, "½", "²", "١"),
)
"""Names and values that were trouble for someone."""

BROKEN_TEXT = st.text(max_size=8) | st.sampled_from(["\ud800", "a\udfffb", "\0", "a\0b"])
NAME = st.sampled_from(NAMES) | st.text(max_size=12)
"""A name that a folder or an option may have, without NUL, which neither can hold."""

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.sampled_from(
        [10**6, 2**31 - 1, 2**63, 10**30, -(2**63), 1e308, float("inf"), float("nan"), 0.5, -0.0]
    )
    | NAME
    | BROKEN_TEXT
)
JSON = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAME, v, max_size=3), max_leaves=6
)
RAW = st.binary(max_size=40) | st.sampled_from(
    [
        *(b"", b"{", b"[]", b"null", b"0", b'"', b"{}x", b"\xff\xfe", b"\xef\xbb\xbf{}", b"\0" * 9),
        *(b"[" * 20_000, b'{"a":' * 9_000, b"1" * 5_000, b'{"a": 1, "a": 2}', b'"\\ud800"'),
        *(b"- " * 900, b"{" * 900, b"a: &a [*a]", b"2026-99-99", b"!!python/name:os.system"),
        *(b"x" * 99_999, b"a\rb\x00c\n" * 5, b"\xf0\x28\x8c\x28", b"\x80\x04N."),
    ]
)
"""Bytes that are no file of any format, or one that hides a trap."""


@st.composite
def mutated(draw: Any, whole: bytes) -> bytes:
    """A file with a piece cut off, bytes changed, or a piece put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            del data[place:]
        elif kind == 1:
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == 2:
            data[place:place] = draw(st.binary(max_size=9))
        else:
            del data[place : place + draw(st.integers(1, 30))]
    return bytes(data)


@st.composite
def edited(draw: Any, said: Any) -> Any:
    """JSON with some values replaced by any others, taken away, or added."""
    said = json.loads(json.dumps(said))
    for _ in range(draw(st.integers(1, 2))):
        here = said
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(here[key], (dict, list)) and here[key] and draw(st.booleans()):
                here = here[key]
                continue
            if draw(st.integers(0, 3)):
                here[key] = draw(JSON)
            else:
                del here[key]
            break
        if isinstance(here, dict) and draw(st.integers(0, 3)) == 0:
            here[draw(NAME)] = draw(JSON)
    return said


def as_json(said: Any) -> bytes:
    """JSON as Python writes it: NaN and halves of surrogate pairs included."""
    return json.dumps(said).encode()


def rewrite(path: Path, data: bytes) -> Path:
    """A new file of these bytes, so that nothing remembered of the old one holds."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path
