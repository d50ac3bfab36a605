"""A process that computes units: a line of stdin is a function and a unit, one of stdout its part.

The lines come from the process that started this one, which alone holds the other end.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from base64 import b64decode
from queue import SimpleQueue
from threading import Thread

from analysis.errors import UserError
from store import StoreError


def main() -> None:
    """Compute what is asked for until nobody asks any more."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else `stty tostop` holds what prints for ever
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked = SimpleQueue[bytes]()
    Thread(target=_listen, args=(asked,), daemon=True).start()
    while True:
        function, unit = pickle.loads(b64decode(asked.get()))
        try:
            answer = {"part": function(unit)}
        except (UserError, StoreError) as error:
            answer = {"raised": [type(error).__name__, str(error)]}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


def _listen(asked: SimpleQueue[bytes]) -> None:
    """Hand over what is asked for; where nobody asks any more, end, whatever is being done."""
    for line in sys.stdin.buffer:
        asked.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
