"""Headbook: what does this attention head do, and does the model need it?

The packages `analysis`, `store` and `book` lie beside this file in a wheel and one folder up in
a checkout; the command line finds them under these plain names in both.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    here = Path(__file__).resolve().parent
    sys.path.insert(0, str(here if (here / "book").is_dir() else here.parent))
    from book.cli import cli  # noqa: PLC0415 - the path must be set first

    cli()
