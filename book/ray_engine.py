"""Units computed side by side by the workers of a Ray cluster, of this machine or of many."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import UserError

from .children import child_environment
from .inputs import CHECKOUT

if TYPE_CHECKING:
    from analysis.questions.experiment import Experiment

Function = Callable[["Experiment"], str]
"""Computes a unit wherever it is called, and returns the name of the part that it left."""

RETRIES = 3
"""Workers that one unit may outlive; the one that it kills once more ends the run."""

PATIENCE_S = 5.0
"""For a cluster to answer."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Nothing is sent anywhere, and only who has the cluster's token is listened to."""


class Caller:
    """A process of its own, where a model stays loaded from unit to unit.

    Args:
        folder: The driver's current folder, to which a unit's paths may be relative.
    """

    def __init__(self, folder: str) -> None:
        with suppress(OSError):  # a machine of the cluster may lack it
            os.chdir(folder)

    def call(self, function: Function, unit: Experiment) -> str:
        """The part that a unit's answer was left in."""
        return function(unit)


@dataclass(frozen=True)
class RayEngine:
    """Workers that are there until the block of `ray_engine` ends."""

    n_workers: int
    n_gpus: int
    """For each worker."""

    def map_units(self, function: Function, units: Sequence[Experiment]) -> Iterator[str]:
        """Call a function on every unit; a worker that is killed is replaced, its unit repeated.

        Args:
            function: Publishes whole parts only, so that a repetition does no harm.
            units: In the order in which they are begun.

        Yields:
            What the function returns, in the order in which units are finished.

        Raises:
            UserError: A unit killed one worker too many.
            Exception: What the function raised.
        """
        ray: Any = import_module("ray")
        kind = ray.remote(Caller).options(
            num_cpus=1, num_gpus=self.n_gpus, max_restarts=-1, max_task_retries=RETRIES
        )
        here = str(Path.cwd())
        idle: list[Any] = [kind.remote(here) for _ in range(min(self.n_workers, len(units)))]
        running, waiting = dict[Any, Any](), deque(units)
        while waiting or running:
            while idle and waiting:
                worker = idle.pop()
                # a copy, since a unit that was looked at carries its model's text with it
                running[worker.call.remote(function, replace(waiting.popleft()))] = worker
            (ready,), _ = ray.wait(list(running), num_returns=1)
            idle.append(running.pop(ready))
            try:
                yield ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayActorError:
                raise UserError(
                    f"expected a worker to survive each unit, one killed {RETRIES + 1} of them; "
                    "is there memory enough? Try fewer --workers; what was finished is kept"
                ) from None


@contextmanager
def ray_engine(address: str | None, n_workers: int | None, *, gpus: bool) -> Generator[RayEngine]:
    """Start a cluster on this machine, or join one.

    Args:
        address: Of a cluster that runs; None for one on this machine alone, gone with the block.
        n_workers: How many; None for one on every GPU or, without `gpus`, on every core.
        gpus: Whether each worker gets a GPU to itself.

    Yields:
        The engine; what is printed in the block goes to stderr, beside what Ray prints.

    Raises:
        UserError: Ray is not installed, the cluster cannot be reached, or it has no GPU.
    """
    os.environ.update({name: os.environ.get(name, text) for name, text in _QUIET.items()})
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise UserError(
            "expected Ray for --engine ray, found none; install headbook[ray]"
        ) from None
    _reach(address)
    here: dict[str, Any] = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    try:
        with _from_our_folder(), _signals_left_alone():
            ray.init(
                address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **({} if address else here),
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(address, str(error).strip().splitlines()[0]) from None
    try:
        found = ray.cluster_resources()
        n_here = int(found.get("GPU" if gpus else "CPU", 0))
        if not n_here:
            raise UserError(
                "expected a GPU in the cluster for --device cuda, found none; choose --device cpu"
            )
        if (n_workers or 0) > n_here:
            raise UserError(
                f"expected up to {n_here} workers, as many as the cluster has "
                f"{'GPUs' if gpus else 'cores'}, got {n_workers}; lower --workers"
            )
        with redirect_stdout(sys.stderr):  # where Ray says that a worker died
            yield RayEngine(n_workers or n_here, int(gpus))
    finally:
        ray.shutdown()


@contextmanager
def _from_our_folder() -> Generator[None]:
    """Be in the folder of our packages: from where Ray is started, its workers import first."""
    before = dict(os.environ)
    os.environ.update(child_environment())
    try:
        with chdir(CHECKOUT):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _ignored(handler: object) -> None:
    """Install no handler."""
    del handler


@contextmanager
def _signals_left_alone() -> Generator[None]:
    """Keep who obeys SIGTERM, and from the terminal what Ray's library would say of one."""
    utils: Any = import_module("ray._private.utils")
    obeyed, theirs = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler
    utils.set_sigterm_handler = _ignored
    shown, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    except Exception:
        os.dup2(shown, 2)  # but where a signal ends us, nothing is shown any more
        raise
    else:
        os.dup2(shown, 2)
    finally:
        os.close(shown)
        os.close(null)
        utils.set_sigterm_handler = theirs
        signal.signal(signal.SIGTERM, obeyed)


def _reach(address: str | None) -> None:
    """Knock at a cluster's door, since Ray tries for minutes.

    Raises:
        UserError: Nobody is there.
    """
    host, _, port = (address or "").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.rpartition("/")[2], int(port)), PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from None


def _unreachable(address: str | None, got: str) -> UserError:
    return UserError(
        f"expected a Ray cluster at {address or 'this machine'}, got: {got}; start it with "
        "`ray start --head`, or leave --address out"
    )
