"""`python -m headbook`: the command line, without the current folder that `-m` searches first."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]

from headbook import main

if __name__ == "__main__":
    main()
