"""How a cell is laid out: its output in every state, the caption, its runs and its code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.python import PythonLexer

from .markdown import colons

if TYPE_CHECKING:
    from .page import Page

State = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A rendered output: a fragment of HTML, or the MyST text of prose."""

    html: str
    text: str

    def __bool__(self) -> bool:
        return bool(self.html or self.text)


def state_blocks(names: Sequence[str], contents: Mapping[State, str], default: State) -> str:
    """The contents of all states, of which the page shows the chosen one.

    Args:
        names: The controls, in the order of the places in a state.
        contents: HTML by state; equal contents are written once.
        default: The state shown first.

    Returns:
        The content itself if it is the same in every state.
    """
    by_content: dict[str, list[State]] = {}
    for state, content in contents.items():
        by_content.setdefault(content, []).append(state)
    if len(by_content) <= 1:
        return "".join(by_content)
    blocks = "".join(
        f'<div class="hb-state" data-states="{state_names(states)}"'
        f"{'' if default in states else ' hidden'}>{content}</div>"
        for content, states in by_content.items()
    )
    return f'<div class="hb-states" data-controls="{escape(" ".join(names))}">{blocks}</div>'


def state_names(states: Sequence[State]) -> str:
    """How the page names states: places joined by commas, states by spaces."""
    return " ".join(",".join(map(str, state)) for state in states)


def code_fold(cells: Sequence[str]) -> str:
    """The code since the last output, folded."""
    if not cells:
        return ""
    code = highlight("\n\n".join(cells), PythonLexer(), HtmlFormatter[str]())
    return (
        '<details class="hb-code"><summary>code</summary>'
        f'<div class="highlight-python notranslate mathjax_ignore">{code}</div></details>'
    )


def foot(code: str, runs: str) -> str:
    """What stands under an output: where its numbers come from, and its code."""
    return f'<div class="hb-foot">{runs}{code}</div>' if code or runs else ""


def figure(
    page: Page,
    name: str,
    body: str,
    below: str,
    captions: tuple[Sequence[str], Mapping[State, str], State],
) -> str:
    """A numbered figure, `fig-<name>`, whose caption follows the controls.

    Args:
        page: Keeps the fragments.
        name: Name of the cell.
        body: Its output.
        below: What stands under the caption.
        captions: Names of the controls, caption by state, and the state shown first.

    Returns:
        MyST with a directive of `sphinx_ext`.
    """
    controls, texts, default = captions
    by_text: dict[str, list[State]] = {}
    for state, text in texts.items():
        by_text.setdefault(text, []).append(state)
    entries: list[Any] = [
        {"states": state_names(states), "text": text, "hidden": default not in states}
        for text, states in by_text.items()
    ]
    number = page.fragment([{"controls": " ".join(controls), "captions": entries}])
    inner = page.block(body)
    fence = colons(inner)
    under = f"\n\n{page.block(below)}" if below else ""
    return f"{fence}{{hb-figure}} {number}\n:name: fig-{name}\n\n{inner}\n{fence}{under}"
