"""The version lock: did the code behind an experiment change while its version did not?

A key holds an experiment's version, never its source. So that nobody forgets to raise it, a
lock file maps each experiment to its version and to a hash of everything of ours that it
reaches: read from the source, docstrings and comments left out, nothing imported or run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .disk import replace_file
from .errors import StoreError
from .sources import Place, Sources

if TYPE_CHECKING:
    from pathlib import Path

    from .experiment import Experiment


@dataclass(frozen=True)
class Locked:
    """What the lock file holds of an experiment."""

    version: int
    hash: str


@dataclass(frozen=True)
class _Definition:
    """A definition of ours that is reached, or, without a name, what importing its module does."""

    name: str
    hash: str
    """Of what it does."""
    uses: frozenset[Place]


def _reached(sources: Sources, start: Place) -> dict[Place, _Definition]:
    """Everything of ours that a definition can reach."""
    found: dict[Place, _Definition] = {}
    waiting = [start]
    while waiting:
        place = waiting.pop()
        module = sources.module(place[0])
        if place in found or module is None:
            continue
        name = place[1]
        nodes = module.definitions[name] if name else module.effects
        uses = frozenset(used for node in nodes for used in sources.uses(module, node))
        found[place] = _Definition(name, _hash([sources.syntax(module, n) for n in nodes]), uses)
        waiting += [(place[0], ""), *uses]
    return found


def _hash(of: object) -> str:
    return blake2b(repr(of).encode(), digest_size=16).hexdigest()


def _hash_of_all(reached: Mapping[Place, _Definition]) -> str:
    """Wherever each of them lies: what counts is what it does, and which ones it uses."""
    every = {
        (own.name, own.hash, tuple(sorted((reached[u].name, reached[u].hash) for u in own.uses)))
        for own in reached.values()
        if own.name or own.hash != _hash([])
    }
    return _hash(sorted(every))


def lock_entries(
    experiments: Iterable[type[Experiment]], packages: Sequence[str]
) -> dict[str, Locked]:
    """Hash each experiment with every function, class and constant of ours that it reaches.

    Reached is what the source names: calls, bases, decorators, annotations, constants, through
    imports and re-exports. A method called on an object is covered by the class that some
    reached code names; what is looked up by a computed string is not seen.

    Args:
        experiments: The classes.
        packages: Top-level packages that are ours.

    Returns:
        Version and hash by class name.

    Raises:
        StoreError: Two experiments share a name, or one lies outside the packages.
    """
    sources = Sources(packages)
    entries: dict[str, Locked] = {}
    for experiment in experiments:
        name = experiment.__name__
        start = sources.resolve((experiment.__module__, name))
        if start is None or name in entries:
            raise StoreError(
                f"expected one experiment `{name}` at the top of a module in {list(packages)}, "
                f"got {'another' if name in entries else experiment.__module__}; move or rename it"
            )
        entries[name] = Locked(experiment.version, _hash_of_all(_reached(sources, start)))
    return dict(sorted(entries.items()))


def _stored(path: Path) -> dict[str, Locked]:
    if not path.is_file():
        return {}
    entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: Locked(**entry) for name, entry in entries.items()}


def lock_problems(
    path: Path, experiments: Iterable[type[Experiment]], packages: Sequence[str]
) -> dict[str, str]:
    """Compare the lock file with the source.

    Args:
        path: The lock file.
        experiments: The classes.
        packages: Top-level packages that are ours.

    Returns:
        By experiment, what is wrong and the remedy; empty when the lock fits.
    """
    stored, now = _stored(path), lock_entries(experiments, packages)
    problems: dict[str, str] = {}
    for name in sorted(stored.keys() | now.keys()):
        old, new = stored.get(name), now.get(name)
        if old == new:
            continue
        if old and new and old.version >= new.version:
            problems[name] = (
                f"expected {name} as locked at version {old.version}, got other code at version "
                f"{new.version}; raise its version and run `make lock`, or, if no number can have "
                "changed, vouch for it"
            )
        else:
            problems[name] = f"expected {name} in {path.name} as it is now; run `make lock`"
    return problems


def write_lock(
    path: Path,
    experiments: Sequence[type[Experiment]],
    packages: Sequence[str],
    vouched: Collection[str] = (),
) -> None:
    """Write the lock file anew.

    Args:
        path: The lock file; replaced at once.
        experiments: The classes.
        packages: Top-level packages that are ours.
        vouched: Experiments whose code changed and whose numbers did not, on the caller's word.

    Raises:
        StoreError: Code changed behind another experiment whose version was not raised.
    """
    now = lock_entries(experiments, packages)
    stored = _stored(path)
    moved = [
        name
        for name in stored.keys() & now.keys() - set(vouched)
        if stored[name].hash != now[name].hash and stored[name].version >= now[name].version
    ]
    if moved:
        raise StoreError(
            f"expected a higher version of {sorted(moved)}, whose code changed, got the locked "
            "one; raise it, or vouch that no number can have changed"
        )
    lines = {name: asdict(entry) for name, entry in now.items()}
    replace_file(path, (json.dumps(lines, indent=2) + "\n").encode())
    path.chmod(0o644)
