"""A command that is told to stop: one line, nothing half written, nobody left behind.

Python runs a signal's handler in the main thread, between two of its steps, and a step inside
DuckDB or torch can take for ever. So a thread hears of signals, too: it says the line at once, and
ends the process where the main thread does not end it in time. Nothing heavy is imported here:
from the first moment of a command on, it can be stopped.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType

GRACE_S = 3.0
"""For the main thread to take away what is half done."""

_REMINDED_S = 0.05
_REMINDER = signal.SIGURG
"""To the main thread, which then goes on from a call that the first signal came just before."""

_SAID = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
}


class Stop:
    """What ends one command; nothing before `install`."""

    def __init__(self) -> None:
        self._number = 0
        self._first = threading.Lock()
        self._quiet = threading.Event()
        self._raised = False
        self._stderr = 2
        self._main = threading.get_ident()
        self._put_back: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Obey these signals, each unless this process was started to ignore it."""
        self._stderr = os.dup(2)  # nobody else closes it or sends it elsewhere
        self._put_back = _terminal()
        heard, told = os.pipe()
        os.set_blocking(told, False)
        threading.Thread(target=self._watch, args=(heard,), daemon=True).start()
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        for number in (*_SAID, _REMINDER):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._obey)

    def run(self, command: Callable[[], None]) -> None:
        """Run a command; however it ends once it was stopped, the exit code says that it was.

        Args:
            command: May swallow or change the KeyboardInterrupt that a signal raises in it.
        """
        try:
            try:
                command()
            finally:
                for number in _SAID:  # what was asked for is done: it is too late to stop
                    signal.signal(number, signal.SIG_IGN)
        except BaseException:
            if self._number:
                self._leave()
            raise
        if self._number:
            self._leave()

    def _obey(self, number: int, frame: FrameType | None) -> None:
        if number in _SAID:
            self._say(number)
        if self._number and not self._raised and not _in_an_extension(frame):
            self._raised = True
            raise KeyboardInterrupt

    def _watch(self, heard: int) -> None:
        """Hear of signals while the main thread is busy, and remind it until it has heard, too."""
        number = 0
        while number not in _SAID:
            number = os.read(heard, 1)[0]
        self._say(number)
        late = time.monotonic() + GRACE_S
        while time.monotonic() < late:
            if select.select([heard], [], [], _REMINDED_S)[0] and os.read(heard, 1)[0] in _SAID:
                break
            if not self._raised:
                signal.pthread_kill(self._main, _REMINDER)
        self._leave()

    def _say(self, number: int) -> None:
        """Say that one was stopped, once, and let nobody say anything afterwards."""
        if not self._first.acquire(blocking=False):
            self._quiet.wait(GRACE_S)
            return
        self._number = number
        before = "\n" if _in_a_bar() else "\r" * os.isatty(self._stderr)
        line = f"{before}headbook: {_SAID[signal.Signals(number)]}; what was finished is kept\n"
        with suppress(OSError):
            if select.select([], [self._stderr], [], 1.0)[1]:  # nobody may read what we say
                os.write(self._stderr, line.encode())
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        self._quiet.set()

    def _leave(self) -> None:
        """End now, and with this process all that it started."""
        for process in list(_descendants(os.getpid())):
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        with suppress(OSError):
            self._put_back()
        os._exit(128 + self._number)


def _terminal() -> Callable[[], None]:
    """What sets the terminal as it is now: who reads a line changes it meanwhile."""
    if not os.isatty(0):
        return lambda: None
    import termios  # noqa: PLC0415 - only where there is one

    now = termios.tcgetattr(0)

    def put_back() -> None:
        if os.tcgetpgrp(0) == os.getpgrp():  # one in the background would be held for it
            with suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, now)

    return put_back


def _in_an_extension(frame: FrameType | None) -> bool:
    """Whether a module in C is being imported, which may end the process if anything is raised."""
    while frame is not None:
        loads = "importlib" in frame.f_code.co_filename
        if loads and type(frame.f_locals.get("self")).__name__ == "ExtensionFileLoader":
            return True
        frame = frame.f_back
    return False


def _in_a_bar() -> bool:
    """Whether a bar of tqdm has begun a line on the terminal."""
    bars = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    with suppress(Exception):
        for bar in list(getattr(bars, "_instances", ())):
            if not bar.disable and (not bar.delay or bar.last_print_t > bar.start_t):
                return True
    return False


def _descendants(process: int) -> Iterator[int]:
    """Processes that this one started, and theirs; none where the system does not tell.

    There, they end as their stdin does.
    """
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):  # noqa: PTH208 - nothing is imported
            with open(f"/proc/{process}/task/{thread}/children") as file:  # noqa: PTH123
                children = [int(child) for child in file.read().split()]
            for child in children:
                yield child
                yield from _descendants(child)
