"""A process that computes units: a line of stdin is a function and a unit, one of stdout its part.

The lines come from the process that started this one, which alone holds the other end: names and
values as JSON, of which nothing else is made.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from queue import SimpleQueue
from threading import Thread
from typing import Any, cast

from analysis.errors import UserError
from store import StoreError


def main() -> None:
    """Compute what is asked for until nobody asks any more."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else `stty tostop` holds what prints for ever
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked = SimpleQueue[str]()
    Thread(target=_listen, args=(asked,), daemon=True).start()
    while True:
        job: dict[str, Any] = json.loads(asked.get())
        fields = {name: _frozen(value) for name, value in job["fields"].items()}
        unit = _named(job["unit"])(**fields)
        try:
            answer = {"part": _named(job["function"])(*job["arguments"], unit)}
        except (UserError, StoreError) as error:
            answer = {"raised": [type(error).__name__, str(error)]}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


def _named(name: str) -> Any:
    module, _, what = name.partition(":")
    return getattr(import_module(module), what)


def _frozen(value: Any) -> Any:
    """Fields are tuples, which JSON has not."""
    if not isinstance(value, list):
        return value
    return tuple(_frozen(each) for each in cast("list[Any]", value))


def _listen(asked: SimpleQueue[str]) -> None:
    """Hand over what is asked for; where nobody asks any more, end, whatever is being done."""
    for line in sys.stdin:
        asked.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
