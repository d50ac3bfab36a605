"""The one exception that the compiler raises for its user."""

from __future__ import annotations

from analysis.errors import printable


class BookError(Exception):
    """A book that cannot be built: one line that says expected, got and remedy."""

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        self.expected, self.got, self.remedy = expected, got, remedy
        line = f"expected {expected}; got {got}; {remedy}"
        super().__init__(printable(" ".join(line.split())))
