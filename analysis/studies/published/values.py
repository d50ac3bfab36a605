"""Values of a file from elsewhere, each with its place in the file: nothing is taken on trust."""

import csv
import io
import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from analysis.errors import UserError
from analysis.settings import short, strict_json

REMEDY = "mend the file or leave it out"
LARGEST = 2**31 - 1
"""Of what is counted."""
LARGEST_SCORE = 1e12
"""Beyond it, a score is a mistake, and a mean of scores would lose digits."""
_DIGITS = 18
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Value:
    """What a file says at one place."""

    said: Any
    where: str
    """The place, as `baseline.accuracy` or `line 3, score`."""

    def wrong(self, expected: str) -> NoReturn:
        """Refuse the value.

        Raises:
            UserError: Always.
        """
        raise UserError(f"expected {expected} at {self.where}, got {short(self.said)}; {REMEDY}")

    def has(self, name: str) -> bool:
        """Whether it is an object with a field of this name that is not null."""
        return isinstance(self.said, dict) and self.said.get(name) is not None

    def field(self, name: str) -> "Value":
        """A field of an object.

        Raises:
            UserError: It is no object, or has no such field.
        """
        if not self.has(name):
            self.wrong(f"an object with `{name}`")
        return Value(self.said[name], f"{self.where}.{name}".removeprefix("the top."))

    def items(self) -> list["Value"]:
        """The items of a list.

        Raises:
            UserError: It is no list.
        """
        if not isinstance(self.said, list):
            self.wrong("a list")
        return [Value(item, f"{self.where}[{i}]") for i, item in enumerate(self.said)]

    def text(self) -> str:
        """Text that is not empty.

        Raises:
            UserError: It is something else, or holds half of a surrogate pair.
        """
        if not isinstance(self.said, str) or not self.said:
            self.wrong("text")
        if any("\ud800" <= letter <= "\udfff" for letter in self.said):
            self.wrong("valid Unicode")
        return self.said

    def count(self, least: int = 0) -> int:
        """A whole number from `least` to `LARGEST`.

        Raises:
            UserError: It is something else.
        """
        if type(self.said) is not int or not least <= self.said <= LARGEST:
            self.wrong(f"a whole number from {least} to {LARGEST}")
        return self.said

    def number(self, least: float, most: float) -> float:
        """A number from `least` to `most`.

        Raises:
            UserError: It is something else.
        """
        if type(self.said) not in {int, float} or not least <= self.said <= most:
            self.wrong(f"a number from {least:g} to {most:g}")
        return float(self.said)

    def score(self) -> float:
        """A number of at most `LARGEST_SCORE` in size.

        Raises:
            UserError: It is something else.
        """
        return self.number(-LARGEST_SCORE, LARGEST_SCORE)


def decoded(data: bytes) -> str:
    """The text of a file.

    Args:
        data: UTF-8, with or without a byte-order mark.

    Returns:
        The text without the mark.

    Raises:
        UserError: The bytes are not UTF-8, or there is nothing but white space.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"expected UTF-8, got the byte 0x{data[error.start]:02x} at {error.start}; "
            "save the file as UTF-8"
        ) from None
    if not text.strip():
        raise UserError(f"expected results, got an empty file; {REMEDY}")
    return text


def parse_json(text: str) -> Value:
    """Read JSON as its standard has it, and no more.

    Args:
        text: One JSON value.

    Returns:
        The value: its numbers are finite, its objects name no field twice.

    Raises:
        UserError: It is not JSON, or one of those is not so, or it nests too deeply.
    """
    try:
        said = strict_json(text, _DIGITS)
    except json.JSONDecodeError as error:
        raise UserError(
            f"expected JSON, got a mistake at line {error.lineno}, column {error.colno}: "
            f"{error.msg}; {REMEDY}"
        ) from None
    except ValueError as error:
        raise UserError(f"{error}; {REMEDY}") from None
    return Value(said, "the top")


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise UserError(
            f"expected whole numbers of up to {_DIGITS} digits, got one of {len(text)}; {REMEDY}"
        )
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UserError(f"expected finite numbers, got {short(text)}; {REMEDY}")
    return number


def parse_csv(text: str) -> tuple[tuple[str, ...], list[dict[str, Value]]]:
    """Read a table of comma-separated values with a header.

    Args:
        text: The table; blank lines are skipped.

    Returns:
        The names of the columns, and a value for each column of each row; what reads as a
        number in plain notation is one.

    Raises:
        UserError: A row has more or fewer cells than the header, a quote is never closed, or a
            number is not finite.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, Value]] = []
    names: tuple[str, ...] = ()
    try:
        for cells in reader:
            where = f"line {reader.line_num}"
            if len(cells) < 2 and not "".join(cells).strip():
                continue
            if not names:
                names = tuple(cell.strip() for cell in cells)
            elif len(cells) != len(names):
                Value(cells, where).wrong(f"a row of {len(names)} cells")
            else:
                pairs = zip(names, cells, strict=True)
                rows.append({name: Value(_cell(c), f"{where}, {name}") for name, c in pairs})
    except csv.Error as error:
        raise UserError(
            f"expected comma-separated values, got a mistake at line {reader.line_num}: {error}; "
            f"{REMEDY}"
        ) from None
    return names, rows


def _cell(text: str) -> int | float | str:
    plain = text.strip()
    if _INTEGER.fullmatch(plain):
        return _integer(plain)
    return _float(plain) if _NUMBER.fullmatch(plain) else plain
