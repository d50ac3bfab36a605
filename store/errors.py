"""The one exception of the store."""


class StoreError(Exception):
    """The store refuses. One line: what was expected, what it got, and the remedy."""

    def __init__(self, line: str) -> None:
        escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        super().__init__("".join(escaped))


class DamagedPartError(StoreError):
    """A part is not what was published; its runs must be computed again."""
