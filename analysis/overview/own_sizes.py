"""Sizes of a reader's own, from a file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.questions.asked import SIZES, Profile
from analysis.studies import STUDIES, studies

LARGEST = 1_000_000
"""A size beyond this is a slip of the finger."""


def size_tables() -> dict[str, Mapping[Profile, Any]]:
    """Sizes of every profile: under the empty name those of all studies, then by room."""
    own = {room: study.SIZES for room, study in zip(STUDIES, studies(), strict=True)}
    return {"": SIZES, **{room: table for room, table in own.items() if table}}


def read_own(path: Path) -> str:
    """Read a profile file.

    It is TOML with `profile`, the name of the one that it changes (quick by default), sizes of all
    studies, and a table for each study that has sizes of its own.

    Args:
        path: The file.

    Returns:
        What `told_sizes` takes.

    Raises:
        UserError: It cannot be read, or names what is no size, or no value for one.
    """
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        got = (error.strerror or "none") if isinstance(error, OSError) else error
        raise UserError(
            f"expected a TOML file of sizes at {path}, got: {got}; name tiny, quick, full or a "
            "file such as mine.toml"
        ) from None
    name = found.pop("profile", Profile.QUICK.value)
    names = [each.value for each in Profile]
    if name not in names:
        raise UserError(
            f"expected profile in {path} to be {', '.join(names[:-1])} or {names[-1]}, got {name!r}"
        )
    usual, least = (_by_name(each) for each in (Profile(name), Profile.TINY))
    own = dict(_flat(found))
    for key, value in own.items():
        if key not in usual:
            raise UserError(f"expected a size in {path}, got {key}; sizes are {', '.join(usual)}")
        if not _fits(value, least[key]):
            raise UserError(
                f"expected {key} in {path} to be {_range(least[key])}, such as the "
                f"{json.dumps(usual[key])} of the profile {name}, got {json.dumps(value)}"
            )
    return json.dumps({"profile": name, **own}) if own else name


def _by_name(profile: Profile) -> dict[str, Any]:
    """All sizes of a profile."""
    return {
        f"{room}.{field.name}" if room else field.name: getattr(table[profile], field.name)
        for room, table in size_tables().items()
        for field in fields(table[profile])
    }


def _flat(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in found.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", each) for inner, each in _flat(value))
        else:
            yield key, value


def _fits(value: Any, least: Any) -> bool:
    """Whether a value is of the kind of the tiny profile's, and no smaller."""
    if isinstance(least, bool):
        return isinstance(value, bool)
    if isinstance(least, tuple):
        ascending = isinstance(value, list) and value == sorted(set(value)) != []
        return ascending and all(_fits(each, min(least)) for each in value)
    return type(value) is int and least <= value <= LARGEST


def _range(least: Any) -> str:
    if isinstance(least, bool):
        return "true or false"
    several = isinstance(least, tuple)
    start = min(least) if several else least
    numbers = f"from {start}, which is tiny, to {LARGEST:,}"
    return f"a list of whole numbers {numbers}, ascending" if several else f"a number {numbers}"
