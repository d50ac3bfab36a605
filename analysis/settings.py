"""JSON and YAML of users as data: bounded, finite, each field once, and nothing else is made."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import yaml

from analysis.errors import UserError, reason
from analysis.files import regular_bytes

SETTINGS = 16 * 2**20
"""Bytes of a JSON file of settings or figures that is read."""
_YAML = 2**18
"""Bytes of a YAML file: its parser takes seconds for a megabyte."""
_DEEPEST = 100
"""Values inside each other."""
_MOST_VALUES = 2**20
"""Values of a YAML file, whose aliases repeat others."""
_DIGITS = 64
"""Of a whole number in settings: some name 10^30 as their limit."""


def strict_json(text: str, digits: int) -> Any:
    """Read JSON as its standard has it, and no more.

    Args:
        text: One JSON value.
        digits: That a whole number may have.

    Returns:
        The value: its numbers are finite, its objects name no field twice, and it nests at most
        100 deep.

    Raises:
        ValueError: It is not JSON (a `JSONDecodeError`), or one of those is not so.
    """

    def integer(said: str) -> int:
        if len(said) > digits:
            raise ValueError(
                f"expected whole numbers of up to {digits} digits, got one of {len(said)}"
            )
        return int(said)

    try:
        value = json.loads(
            text,
            parse_constant=_refused_constant,
            parse_int=integer,
            parse_float=_finite,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise ValueError("expected results, got JSON that nests too deeply") from None
    if not _fits(value, len(text) + 1):
        raise ValueError("expected results, got JSON that nests too deeply")
    return value


def _refused_constant(text: str) -> NoReturn:
    raise ValueError(f"expected finite numbers, got {text}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected finite numbers, got {short(text)}")
    return number


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = set[str]()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"expected each field once, got {short(twice)} twice")
    return made


def short(said: object) -> str:
    """A value as a message shows it, in at most 63 characters."""
    if isinstance(said, (dict, list)):
        many = cast("list[object]", said)
        return f"{'an object' if isinstance(said, dict) else 'a list'} of {len(many)}"
    shown = repr(said)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def _fits(value: object, most: int) -> bool:
    """Whether lists and objects nest no deeper than they may, and hold no more than `most`."""
    level, n_values = [value], 1
    for _ in range(_DEEPEST + 1):
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return True
        inside: list[object] = []
        for item in level:
            held = cast("dict[object, object] | list[object]", item)
            inside += held.values() if isinstance(held, dict) else held
            if n_values + len(inside) > most:
                return False
        level, n_values = inside, n_values + len(inside)
    return False


def json_object(path: Path, most: int = SETTINGS) -> dict[str, Any]:
    """The JSON object in a file of settings or figures.

    Args:
        path: The file.
        most: Bytes that it may have.

    Returns:
        The object.

    Raises:
        UserError: The file cannot be read, or holds something else.
    """
    data = regular_bytes(path, most)
    try:
        read = strict_json(data.decode("utf-8"), _DIGITS)
    except ValueError as error:
        raise UserError(
            f"expected JSON of finite numbers, {path} is not ({reason(error)}); write or copy it "
            "again"
        ) from None
    return _mapping(path, read)


def yaml_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a file of YAML, in which nothing but data is made.

    Args:
        path: The file.

    Returns:
        Values by name.

    Raises:
        UserError: The file cannot be read, or holds something else.
    """
    data = regular_bytes(path, _YAML)
    try:
        read: object = _Loader(data.decode("utf-8")).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"expected YAML, {path} is not ({reason(error)}); copy it again") from None
    if not _fits(read, _MOST_VALUES):
        raise UserError(
            f"expected settings in {path}, got YAML that nests too deeply or repeats itself too "
            "often; copy it again"
        )
    return _mapping(path, read)


class _Loader(yaml.SafeLoader):
    """Data alone, with each field once and whole numbers that can be printed."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Values by name, each once."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        _object([(name, None) for name in names])
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number."""
        if len(node.value) > _DIGITS:
            raise ValueError(f"expected whole numbers of up to {_DIGITS} digits, got a longer one")
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _mapping(path: Path, read: object) -> dict[str, Any]:
    if not isinstance(read, dict) or not all(isinstance(key, str) for key in read):
        raise UserError(f"expected a mapping by name in {path}, found another value; copy it again")
    return cast("dict[str, Any]", read)
