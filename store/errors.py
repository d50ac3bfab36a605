"""The one exception of the store."""


class StoreError(Exception):
    """The store refuses. One line: what was expected, what it got, and the remedy."""


class DamagedPartError(StoreError):
    """A part is not what was published; its runs must be computed again."""
