"""What code says of itself: docstrings of functions, classes, and of their members and fields."""

import ast
import inspect
import re
from collections.abc import Callable
from textwrap import dedent
from typing import Any

_SECTION = re.compile(r"^(?P<name>[A-Z]\w+):\n(?P<body>(?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)


def summary(thing: Callable[..., Any] | type) -> str:
    """The first sentence or paragraph of a docstring, as one line.

    Args:
        thing: A function or class of ours.

    Returns:
        The text, without backticks.

    Raises:
        ValueError: There is no docstring.
    """
    return _line(_docstring(thing).split("\n\n")[0])


def section(thing: Callable[..., Any] | type, name: str) -> str:
    """A section of a docstring, as one line.

    Args:
        thing: A function or class of ours.
        name: Of the section, such as `Returns` or `Source`.

    Returns:
        The text, without backticks; empty where there is no such section.
    """
    found = {match["name"]: match["body"] for match in _SECTION.finditer(_docstring(thing) + "\n")}
    return _line(found.get(name, ""))


def members(kind: type) -> dict[str, str]:
    """What is written under the members of an enum, or the fields of a dataclass.

    Args:
        kind: The class.

    Returns:
        Texts by name, in order; names without a text are left out.
    """
    (body,) = ast.parse(dedent(inspect.getsource(kind))).body
    found: dict[str, str] = {}
    if isinstance(body, ast.ClassDef):
        for one, following in zip(body.body, body.body[1:], strict=False):
            text = _text(following)
            if text is not None and isinstance(one, (ast.Assign, ast.AnnAssign)):
                target = one.target if isinstance(one, ast.AnnAssign) else one.targets[0]
                found[ast.unparse(target)] = _line(text)
    return found


def _docstring(thing: Callable[..., Any] | type) -> str:
    text = inspect.getdoc(thing)
    if not text:
        raise ValueError(f"expected a docstring of {thing.__qualname__}, got none")
    return text


def _text(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else None
    return None


def _line(text: str) -> str:
    return " ".join(text.replace("`", "").split())
