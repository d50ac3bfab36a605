"""Sphinx in a process that ends with its build: `python -m book.pages_worker` and its arguments."""

from __future__ import annotations

import sys

from sphinx.cmd.build import main

from .orphans import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1:]))
