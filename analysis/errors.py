"""The error that a user can mend."""


class UserError(Exception):
    """A mistake in what was asked for: one line that says expected, found and remedy."""

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


def printable(text: str) -> str:
    """Text as one line: what would end it, or steer a terminal, is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason(error: BaseException) -> str:
    """What an error of another library says: up to 200 characters of its first line.

    A line that ends with a colon is said together with the next.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else ""
    return said[:200] or type(error).__name__
