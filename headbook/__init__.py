"""Headbook: what does this attention head do, and does the model need it?

The packages `analysis`, `store` and `book` lie beside this file in a wheel and one folder up in
a checkout; the command line finds them under these plain names in both.
"""

import os
import sys


def main() -> None:
    """Run the command line."""
    _leave_out_current_folder()
    # Threads that wait give the core away; those that spin make a busy machine five times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from headbook.stopping import Stop  # noqa: PLC0415 - not from the current folder
    from headbook.streams import open_streams  # noqa: PLC0415

    open_streams()
    stop = Stop()
    stop.install()
    stop.run(_command)


def _leave_out_current_folder() -> None:
    """Import nothing from the current folder, which an empty entry of PYTHONPATH is."""
    os.environ["PYTHONSAFEPATH"] = "1"
    named = os.environ.get("PYTHONPATH")
    try:
        folder = os.getcwd()  # noqa: PTH109 - nothing is imported yet
    except OSError:
        folder = ""  # it is gone, and nothing can be imported from it
    for entry in named.split(os.pathsep) if named else ():
        if entry in {"", "."} and folder in sys.path:
            sys.path.remove(folder)


def _command() -> None:
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
    in_wheel = os.path.isdir(os.path.join(here, "book"))  # noqa: PTH112, PTH118
    sys.path.insert(0, here if in_wheel else os.path.dirname(here))  # noqa: PTH120
    from book.cli import cli  # noqa: PLC0415 - the path must be set first

    cli()
