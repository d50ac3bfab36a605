"""The error that a user can mend."""


class UserError(Exception):
    """A mistake in what was asked for: one line that says expected, found and remedy."""
