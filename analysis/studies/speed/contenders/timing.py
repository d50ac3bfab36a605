"""Seconds, memory and arithmetic rates, measured so that contenders can be compared."""

import gc
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import torch

from analysis.memory import give_back
from analysis.models.parts.linear import linear

MATMUL = {"cpu": (512, 2048), "cuda": (1024, 4096)}
"""Rows, and both sides of the square weight, of the product whose rate is measured."""
_N_PRODUCTS = 3
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

T = TypeVar("T")


@dataclass(frozen=True)
class Lap:
    """One measured call."""

    seconds: float
    extra_bytes: int | None
    """Peak memory during the call above what was held before; None where it cannot be known."""


def timed(function: Callable[[], T], device: torch.device) -> tuple[T, Lap]:
    """Call a function once, by `clock`.

    Args:
        function: What to measure.
        device: Where it computes; a GPU is waited for before every look at the clock.

    Returns:
        What it returned, and what it took.
    """
    gc.collect()
    _synchronize(device)
    before, now = _start_peak(device), clock(device)
    started = now()
    answer = function()
    _synchronize(device)
    seconds = now() - started
    after = _peak(device)
    extra = None if before is None or after is None else max(0, after - before)
    return answer, Lap(seconds, extra)


def clock(device: torch.device) -> Callable[[], float]:
    """What seconds are read from.

    Args:
        device: Where is computed.

    Returns:
        With a single thread on a CPU, the seconds that this process had of it, whatever else the
        machine does; otherwise those on the wall.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _start_peak(device: torch.device) -> int | None:
    """Forget earlier peaks; bytes that are held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    give_back()  # what earlier contenders freed is not to be got for free
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return None
    return _status("VmRSS")


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM")


def _status(field: str) -> int | None:
    """A size in bytes from the kernel's account of this process."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(f"{field}:")), None)
    return None if found is None else 1024 * int(found.split()[1])


def matmul_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations a second of a matrix product: the best of a few.

    Args:
        dtype: Of both factors.
        device: Where to compute.

    Returns:
        2 m n k over the seconds of a product of `MATMUL`'s sizes.
    """
    rows, width = MATMUL[device.type]
    a = torch.ones(rows, width, dtype=dtype, device=device)
    b = torch.ones(width, width, dtype=dtype, device=device)
    laps, now = list[float](), clock(device)
    with torch.inference_mode():
        _ = linear(a, b, None)
        for _ in range(_N_PRODUCTS):
            _synchronize(device)
            started = now()
            _ = linear(a, b, None)
            _synchronize(device)
            laps.append(now() - started)
    return 2 * rows * width * width / min(laps)


def machine(device: torch.device) -> dict[str, str]:
    """What the numbers depend on beside the programs."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "Python": platform.python_version(),
    }
    if device.type == "cuda":
        found["GPU"] = torch.cuda.get_device_name(device)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions; `-` for what is not installed."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "-"
    return found
