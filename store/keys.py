"""A question's key: the hash of its canonical JSON. The key is the id of the run that answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .experiment import Experiment

KEY_FORMAT = 1
"""Part of every key: raised when canonical JSON or the key's make-up changes."""


def _plain(value: object, where: str) -> object:
    """The JSON value that stands for `value`: tuples as lists, -0.0 as 0.0, nothing guessed."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number at {where}, got {value}; use None")
        return value + 0.0
    if isinstance(value, (list, tuple)):
        items = cast("list[object] | tuple[object, ...]", value)
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(items)]
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value)
        if wrong := [name for name in pairs if not isinstance(name, str)]:
            raise TypeError(f"expected string keys at {where}, got {wrong[0]!r}; convert it")
        return {str(name): _plain(item, f"{where}.{name}") for name, item in pairs.items()}
    raise TypeError(
        f"expected a JSON value at {where}, got {type(value).__name__}; "
        "convert it in question() to numbers, strings, lists or dicts"
    )


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII, integers stay integers.

    Args:
        value: None, booleans, integers, finite floats, strings, and lists, tuples and
            string-keyed mappings of these. A tuple equals the list of its items.

    Returns:
        The text that keys are hashed from.

    Raises:
        TypeError: Something in it has no JSON form, so a key could not be stable.
        ValueError: NaN or an infinity, which JSON does not have.
    """
    plain = _plain(value, "$")
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(value: object) -> str:
    """Hash a value's canonical JSON.

    Args:
        value: Whatever `canonical` takes.

    Returns:
        32 hexadecimal characters of blake2b.
    """
    return blake2b(canonical(value).encode(), digest_size=16).hexdigest()


def name_of(experiment: Experiment) -> str:
    """The experiment's name: that of its class.

    Args:
        experiment: Any experiment.

    Returns:
        What the key hashes and `runs.experiment` holds.
    """
    return type(experiment).__name__


def run_key(unit: Experiment) -> str:
    """The id of the run that answers a unit's question.

    Args:
        unit: One unit of an experiment.

    Returns:
        The key: nothing but name, version and question moves it.

    Raises:
        ValueError: The question uses a name that the key itself needs.
    """
    question: dict[str, Any] = unit.question()
    header = {"format": KEY_FORMAT, "experiment": name_of(unit), "version": unit.version}
    if taken := sorted(header.keys() & question.keys()):
        raise ValueError(f"expected a question without {taken}, which the key adds; rename them")
    return key_of(header | question)


MOST_JSON = 16_000_000
"""Bytes of the largest JSON file that a store has; a part of 256 units takes some 50,000."""


def parsed(data: bytes) -> Any:
    """The value of a JSON text that somebody may have forged.

    Args:
        data: UTF-8, as large as it may be.

    Returns:
        None, booleans, integers, finite floats, strings, lists and dictionaries.

    Raises:
        ValueError: It is no JSON, nested too deeply, names something twice, or holds a number
            that no computer does.
    """
    try:
        return json.loads(
            data, object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite
        )
    except RecursionError:
        raise ValueError("expected a few levels of JSON, got too many; see to the file") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("expected every name once in an object of JSON, got one twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {text[:20]}")
    return number
