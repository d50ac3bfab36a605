"""Every command, as a real process, told to stop at many moments: one line, and nothing is left.

`HEADBOOK_MOMENTS=40` tries so many of each; else a sample.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from headbook.stopping import GRACE_S
from store import Store
from tests.book.test_book_kills import write
from tests.store.store_fakes import Sweep
from tests.studies.published import published_files as made
from tests.studies.retrieval.test_ask_command import lines
from tests.training.test_training import corpus_folder

from .real_commands import NOTHING_TO_PREPARE, Commands

__all__ = ["corpus_folder", "lines"]

MOMENTS = int(os.environ.get("HEADBOOK_MOMENTS", "1"))
HANG_S = 60.0
GONE_S = 10.0
"""For what a command had started to be gone after it."""

SAID = {
    signal.SIGINT: b"interrupted",
    signal.SIGTERM: b"terminated",
    signal.SIGHUP: b"hung up",
}
ENDLESS = (
    "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range ^ b.range = 3"
)
SORTED = "SELECT a.range FROM range(100000) a, range(100000) b ORDER BY hash(a.range + b.range)"
ON_EVERY_CORE = "import book.local_engine as engine\nengine.WORTH_S = 0.0\n"
SMALL = ("--profile", "tiny", "--tokens", 12, "--sequences", 4)


@dataclass(frozen=True)
class Case:
    """A command, and the seconds after which an undisturbed one may have ended."""

    words: tuple[object, ...]
    seconds: float
    before: str = ""


@pytest.fixture(scope="module")
def cases(worded, corpus_folder, tmp_path_factory) -> dict[str, Case]:
    """Words of every command; `{out}` stands for a folder of a case's own."""
    inputs = tmp_path_factory.mktemp("inputs")
    text, results, questions = (inputs / name for name in ("a.txt", "a.json", "a.jsonl"))
    text.write_text("Mary and John went to the shop. The cat saw a dog. " * 60)
    results.write_text(json.dumps(made.ablation(0)))
    questions.write_text("{}")
    write(inputs, "word")
    (inputs / "book").mkdir()
    (inputs / "book" / "index.html").write_text("a book")
    full = inputs / "full"
    Store.open(full).recall(Sweep(seeds=tuple(range(40))))
    model, about, mine = ("--model", worded), ("--text", text), ("--store", full)
    own, out = ("--store", "{out}/store"), "{out}/made"
    page = ("--notebooks", inputs / "notebooks", "--out", out)
    return {
        "run": Case(("run", *model, *about, *SMALL, *own), 14),
        "ray": Case(("run", *model, *about, *SMALL, *own, "--engine", "ray", "--workers", 1), 16),
        "cores": Case(("run", *model, *about, *SMALL, *own), 14, ON_EVERY_CORE),
        "dry": Case(("run", *model, *about, *SMALL, *own, "--dry-run"), 7),
        "shard": Case(("run", *model, *about, *SMALL, *own, "--shard", "1/2", "--wait", 9), 14),
        "build": Case(("build", *page, *own), 8, NOTHING_TO_PREPARE),
        "sql": Case(("sql", "FROM head_atlas", *mine), 1),
        "endless": Case(("sql", ENDLESS, *mine), 5),
        "sorted": Case(("sql", SORTED, *mine), 5),
        "verify": Case(("store", "verify", *mine), 0.45),
        "compact": Case(("store", "compact", *own), 0.7),
        "export": Case(("export", out, *mine), 1.5),
        "merge": Case(("merge", full, *own), 0.9),
        "serve": Case(("serve", inputs / "book", "--port", 0), 2),
        "decompose": Case(("decompose", *model, *about, "--out", out, "--steps", 99), 12),
        "bench": Case(
            ("bench", "--model", "small", "--tokens", 8, "--repeats", 1, "--threads", 1, *own), 9
        ),
        "grid": Case(("grid", *model, *own), 8),
        "ask": Case(("ask", questions, *model, *own), 7),
        "lags": Case(("lags", out, *model, "--method", "zero", "--layers", "all", *own), 9),
        "import": Case(("import", results, *own), 1.5),
        "train": Case(("train-reference", "--corpus", corpus_folder, "--out", out), 12),
        "figures": Case(("evaluate-reference", *model, "--only", "successor"), 6),
        "help": Case(("run", "--help"), 0.3),
    }


NAMES = (
    *(
        "run",
        "ray",
        "cores",
        "dry",
        "shard",
        "build",
        "sql",
        "endless",
        "sorted",
        "verify",
        "compact",
    ),
    *("export", "merge", "serve", "decompose", "bench", "grid", "ask", "lags", "import", "train"),
    *("figures", "help"),
)


def obeys(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has begun: from here on it hears of SIGTERM, or it has ended."""
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return True
        time.sleep(0.005)
    return False


def left(mark: str) -> list[str]:
    """Processes whose environment has the mark."""
    found: list[str] = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def none_left(mark: str) -> list[str]:
    """What is left, once it had time to end."""
    deadline = time.monotonic() + GONE_S
    while (found := left(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


_ASIDE = re.compile(r"\..+\.[0-9a-f]+|.+\.tmp")


def half_files(folder: Path) -> list[Path]:
    """What was being written, beside its place or in `tmp`, where whole parts that went lie too."""
    return [
        path
        for path in folder.rglob("*")
        if _ASIDE.fullmatch(path.name)
        or (path.parent.name == "tmp" and not (path / "part.json").is_file())
    ]


def moments(name: str) -> Iterator[tuple[signal.Signals, float]]:
    """Signals, and the share of a command's time after which each is sent."""
    rng = Random(name)
    numbers = list(SAID)
    rng.shuffle(numbers)
    for i in range(MOMENTS):
        yield numbers[i % 3], (i + rng.random()) / MOMENTS


def one_line(err: bytes, number: signal.Signals) -> None:
    """The last line says that a signal ended it, and no other is about more than progress."""
    *others, last = err.replace(b"\r", b"\n").splitlines()
    assert last == b"headbook: " + SAID[number] + b"; what was finished is kept", err
    for line in others:
        assert not any(word in line for word in (b"Traceback", b"Error", b"ignored", b"headbook:"))


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_command_says_one_line_and_leaves_nothing(name, cases, tmp_path):
    case, counts = cases[name], {"stopped": 0, "by force": 0, "ended": 0}
    for i, (number, share) in enumerate(moments(name)):
        out, mark = tmp_path / str(i), uuid4().hex
        out.mkdir()
        if name == "compact":
            shutil.copytree(cases["sql"].words[-1], out / "store")
        words = [str(word).format(out=out) for word in case.words]
        commands = Commands(environment={"HEADBOOK_MARK": mark})
        with commands.start(out, *words, before=case.before, stdin=-1, stdout=-1, stderr=-1) as it:
            if obeys(it):
                time.sleep(share * case.seconds)
            it.send_signal(number)
            told = time.monotonic()
            _, err = it.communicate(timeout=HANG_S)
        force = time.monotonic() - told >= GRACE_S  # as good as killed: what is written stays
        if it.returncode in {0, 2, 3}:
            assert b"Traceback" not in err and b"; what was finished" not in err, err
            counts["ended"] += 1
        else:
            assert it.returncode == 128 + number, (it.returncode, err)
            one_line(err, number)
            counts["by force" if force else "stopped"] += 1
        assert none_left(mark) == []
        assert force or half_files(out) == []
    sys.stdout.write(f"{name}: {counts}\n")
    assert sum(counts.values()) == MOMENTS


def test_an_endless_query_obeys_the_first_signal_always(cases, tmp_path):
    words = cases["endless"].words
    for i in range(2 + MOMENTS // 2):
        with Commands().start(tmp_path, *words, stdout=-1, stderr=-1) as it:
            assert obeys(it)
            time.sleep(1.5 + i % 8 / 4)
            it.send_signal(signal.SIGINT)
            _, err = it.communicate(timeout=HANG_S)
        assert it.returncode == 130
        one_line(err, signal.SIGINT)


DEAF = """
import threading, book.cli
class Deaf(threading.Thread):
    pass
def work():
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            pass
book.cli.cli = work
"""


@pytest.mark.parametrize("second", SAID)
def test_a_second_signal_ends_at_once_what_the_first_cannot(second, tmp_path):
    """Nothing heeds the KeyboardInterrupt; no grace is waited for."""
    before = "sys.path.insert(0, {packages!r})\n" + DEAF
    with Commands().start(tmp_path, "run", before=before, stderr=-1) as it:
        assert obeys(it)
        it.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert it.poll() is None
        it.send_signal(second)
        _, err = it.communicate(timeout=HANG_S)
    assert it.returncode == 130
    one_line(err, signal.SIGINT)


@pytest.mark.parametrize("number", SAID)
def test_a_command_that_swallows_the_signal_ends_all_the_same(number, tmp_path):
    before = "sys.path.insert(0, {packages!r})\n" + DEAF
    with Commands().start(tmp_path, "run", before=before, stderr=-1) as it:
        assert obeys(it)
        it.send_signal(number)
        _, err = it.communicate(timeout=HANG_S)
    assert it.returncode == 128 + number
    one_line(err, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_who_is_told_to_ignore_a_signal_does(number, cases, tmp_path):
    """As `nohup` tells a command of SIGHUP."""
    words = ["sh", "-c", f'trap "" {number.value}; exec "$@"', "sh"]
    with Commands().start(tmp_path, *cases["sql"].words, through=words, stdout=-1) as it:
        assert obeys(it)
        it.send_signal(number)
        assert b"layer" in it.communicate(timeout=HANG_S)[0]
    assert it.returncode == 0


def test_ctrl_c_on_a_terminal_reaches_the_command_alone(cases, tmp_path):
    """The whole foreground group gets SIGINT from a terminal; what it started is in others."""
    case, mark = cases["build"], uuid4().hex
    words = [str(word).format(out=tmp_path) for word in case.words]
    commands = Commands(environment={"HEADBOOK_MARK": mark})
    controller, terminal = os.openpty()
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with commands.start(
        tmp_path, *words, before=case.before, through=["setsid", "-c"], **streams
    ) as it:
        os.close(terminal)
        while not any("book.worker" in one for one in left(mark)):
            time.sleep(0.02)
        time.sleep(0.5)
        os.write(controller, b"\x03")
        shown = _all_of(controller)
    assert it.wait(HANG_S) == 130
    last = shown.replace(b"\r", b"\n").strip().splitlines()[-1]
    assert last == b"headbook: interrupted; what was finished is kept", shown
    assert b"Traceback" not in shown
    assert none_left(mark) == []
    assert half_files(tmp_path) == []


@pytest.mark.parametrize("name", ["build", "endless", "shell"])
def test_a_closed_terminal_ends_a_command_and_all_that_it_started(name, cases, tmp_path):
    """What it says is there for whoever reads stderr; on the terminal nobody can."""
    case = cases["sql" if name == "shell" else name]
    mark = uuid4().hex
    commands = Commands(environment={"HEADBOOK_MARK": mark})
    for told in (tmp_path / "told", None):
        out = tmp_path / ("heard" if told else "unheard")  # what is built anew takes its time
        words = [str(word).format(out=out) for word in case.words]
        words = ["sql", *words[-2:]] if name == "shell" else words
        controller, terminal = os.openpty()
        err = told.open("wb") if told else None
        streams = {"stdin": terminal, "stdout": terminal, "stderr": err or terminal}
        with commands.start(
            tmp_path, *words, before=case.before, through=["setsid", "-c"], **streams
        ) as it:
            os.close(terminal)
            assert obeys(it)
            time.sleep(0.7)
            os.close(controller)
            assert it.wait(HANG_S) == 129
        if err:
            err.close()
            one_line(told.read_bytes(), signal.SIGHUP)
        assert none_left(mark) == []
        assert half_files(tmp_path) == []


@pytest.mark.parametrize("at", ["prompt", "query"])
def test_ctrl_c_ends_the_shell_and_leaves_the_terminal_as_it_was(at, cases, tmp_path):
    import termios  # noqa: PLC0415 - of this system alone

    controller, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    words = ("sql", *cases["sql"].words[-2:])
    with Commands().start(tmp_path, *words, through=["setsid", "-c"], **streams) as it:
        shown = b""
        while b"sql> " not in shown:
            shown += os.read(controller, 4096)
        assert termios.tcgetattr(terminal) != before, "a line is read key by key"
        if at == "query":
            os.write(controller, ENDLESS.encode() + b";\n")
            time.sleep(1)
        os.write(controller, b"\x03")
        assert it.wait(HANG_S) == 130
    assert termios.tcgetattr(terminal) == before
    os.close(terminal)
    assert b"headbook: interrupted" in _all_of(controller)


def _all_of(controller: int) -> bytes:
    """What a terminal shows until everybody has left it."""
    shown = b""
    while True:
        try:
            shown += os.read(controller, 4096)
        except OSError:
            return shown
