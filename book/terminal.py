"""What commands print: no data steers a terminal, and programs get their bytes as they are."""

from __future__ import annotations

import sys

import click

from analysis.errors import printable


def say(text: object, *, err: bool = False) -> None:
    """Print lines in which all that could steer a terminal is written as an escape.

    Args:
        text: Lines; a last end of line is not needed.
        err: On standard error.
    """
    lines = "\n".join(map(printable, str(text).split("\n")))
    coding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    click.echo(lines.encode(coding, "backslashreplace").decode(coding), err=err)


def hand_over(text: str) -> None:
    """Write text to standard output as UTF-8, whatever the terminal is; nothing is taken out.

    Args:
        text: Ending as it is to end.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
