"""The row of `runs`: under what circumstances an answer was computed. Never in a key."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from .keys import canonical, name_of

if TYPE_CHECKING:
    from .experiment import Experiment

CHECKOUT = Path(__file__).resolve().parents[1]
"""The folder above this package: the checkout, unless headbook was installed from a wheel."""

_PACKAGES = ("headbook", "torch", "transformers", "tokenizers", "numpy", "polars", "duckdb")


@cache
def packages() -> str:
    """JSON of the versions of Python and of the packages used, and of the machine."""
    versions: dict[str, Any] = {
        "python": platform.python_version(),
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return json.dumps(versions)


def _processor() -> str:
    """What the processor calls itself; empty where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _device(unit: Experiment) -> str:
    """What a unit ran on; of an accelerator also what it calls itself."""
    device = str(getattr(unit, "device", "cpu"))
    torch: Any = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None or not torch.cuda.is_available():
        return device
    return f"{device}, {torch.cuda.get_device_name(device)}"


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(CHECKOUT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


@cache
def git_commit() -> str:
    """Commit of the checkout, with -dirty after local changes; empty outside one."""
    if _git("rev-parse", "--show-toplevel") != str(CHECKOUT):
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _subject(unit: Experiment, table: str, column: str) -> str | None:
    frame = unit.subjects().get(table)
    if frame is not None and frame.height:
        return str(frame[column][0]) if frame.height == 1 else None
    named = unit.question().get(column)
    return named if isinstance(named, str) else None


def run_row(unit: Experiment, run: str, started: datetime) -> pl.DataFrame:
    """Say who computed an answer, when, with what and for how long.

    Args:
        unit: The unit that has just been computed.
        run: Its key.
        started: When computing began, UTC.

    Returns:
        One row for `runs`, without waiting columns.
    """
    row = {
        "run": run,
        "experiment": name_of(unit),
        "version": unit.version,
        "model": _subject(unit, "models", "model"),
        "text": _subject(unit, "texts", "text"),
        "parameters": canonical(unit.question()),
        "started": started.replace(tzinfo=None),
        "seconds": (datetime.now(UTC) - started).total_seconds(),
        "status": "done",
        "packages": packages(),
        "device": _device(unit),
        "git": git_commit(),
    }
    return pl.DataFrame([row])
