"""Headbook: what does this attention head do, and does the model need it?

The packages `analysis`, `store` and `book` lie beside this file in a wheel and one folder up in
a checkout; the command line finds them under these plain names in both.
"""

import os
import sys


def main() -> None:
    """Run the command line."""
    _leave_out_current_folder()
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - nothing is imported yet
    in_wheel = os.path.isdir(os.path.join(here, "book"))  # noqa: PTH112, PTH118
    sys.path.insert(0, here if in_wheel else os.path.dirname(here))  # noqa: PTH120
    from book.cli import cli  # noqa: PLC0415 - the path must be set first

    cli()


def _leave_out_current_folder() -> None:
    """Import nothing from the current folder, which an empty entry of PYTHONPATH is."""
    os.environ["PYTHONSAFEPATH"] = "1"
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for entry in entries:
        if entry in {"", "."} and len(entries) > 1 and os.getcwd() in sys.path:  # noqa: PTH109
            sys.path.remove(os.getcwd())  # noqa: PTH109
