"""`python -m headbook`: the command line, without the current folder that `-m` searches first."""

import os
import sys

try:
    if not sys.flags.safe_path and sys.path[0] == os.getcwd():  # noqa: PTH109
        del sys.path[0]
except OSError:  # it is gone, and Python does not search it
    pass

from headbook import main

if __name__ == "__main__":
    main()
