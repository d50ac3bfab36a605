"""The one exception of the store."""


class StoreError(Exception):
    """The store refuses. One line: what was expected, what it got, and the remedy."""

    def __init__(self, line: str) -> None:
        escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        super().__init__("".join(escaped))


class DamagedPartError(StoreError):
    """A part is not what was published; its runs must be computed again."""

    def __init__(self, line: str, runs: frozenset[str]) -> None:
        super().__init__(line)
        self.runs = runs
        """Ids of the runs that it held, as far as known."""


def reason(error: BaseException) -> str:
    """What an error of another library says, up to 200 characters of its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
