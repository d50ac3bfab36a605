"""Controls that work in the static book: their choices, their states, their HTML.

A state is named by the places of the chosen values among the choices, so that what Python wrote
and what the browser looks up cannot differ by a rounding or a quote.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, cast

import marimo as mo

from ._compat import allows_nothing, label_of

if TYPE_CHECKING:
    from .page import Page

CHOICES = (mo.ui.dropdown, mo.ui.radio)
SWITCHES = (mo.ui.checkbox, mo.ui.switch)


def choices(element: object) -> list[Any] | None:
    """All values that a control can take, as its constructor takes them.

    Args:
        element: Any object.

    Returns:
        The values in the order shown; None if it is no control or has no finite list of them.
    """
    if isinstance(element, CHOICES):
        options: list[Any] = list(element.options)
        if isinstance(element, mo.ui.radio):
            return None if element.value is None else options
        return [None, *options] if allows_nothing(element) else options
    if isinstance(element, SWITCHES):
        return [False, True]
    if isinstance(element, mo.ui.slider):
        return _slider_steps(element)
    return None


def _slider_steps(element: mo.ui.slider) -> list[float] | None:
    if element.steps:
        return list(element.steps)
    whole = isinstance(element.start, int) and isinstance(element.stop, int)
    step = element.step or (1 if whole else None)
    if step is None:
        return None
    count = int((element.stop - element.start) / step + 1e-9) + 1
    values = [element.start + place * step for place in range(count)]
    return [value if isinstance(value, int) else round(value, 10) for value in values]


def chosen(element: object) -> int:
    """The place of a control's present value among its choices."""
    values = choices(element) or []
    value: Any = cast("Any", element).value
    if isinstance(element, CHOICES):
        value = _selected_key(element)
    if isinstance(element, mo.ui.slider):
        return min(range(len(values)), key=lambda place: abs(values[place] - value))
    return values.index(value)


def _selected_key(element: mo.ui.dropdown | mo.ui.radio) -> str | None:
    if isinstance(element, mo.ui.dropdown):
        return element.selected_key
    return next(key for key, option in element.options.items() if option is element.value)


def set_to(element: object, place: int) -> object:
    """A fresh control of the same kind and label, set to one of the choices."""
    value: Any = (choices(element) or [])[place]
    label = label_of(element)
    if isinstance(element, mo.ui.dropdown):
        nothing = allows_nothing(element)
        return mo.ui.dropdown(element.options, value, allow_select_none=nothing, label=label)
    if isinstance(element, mo.ui.radio):
        return mo.ui.radio(options=element.options, value=value, label=label)
    if isinstance(element, SWITCHES):
        return type(element)(value=value, label=label)
    slider = cast("mo.ui.slider", element)
    if slider.steps:
        return mo.ui.slider(steps=list(slider.steps), value=value, label=label)
    return mo.ui.slider(slider.start, slider.stop, slider.step, value=value, label=label)


def shortened(element: object, n: int) -> object:
    """A fresh control with fewer choices, at the same value.

    Args:
        element: A control with more than so many.
        n: How many to keep, 2 or more.

    Returns:
        Of a slider the ends and what lies evenly between; of a menu, whose first options are the
        ones to look at first, these and the last; what is chosen stays among them.
    """
    values, place = choices(element) or [], chosen(element)
    last = len(values) - 1
    if isinstance(element, mo.ui.slider):
        wanted = [round(i * last / (n - 1)) for i in range(n)]
    else:
        wanted = [*range(n - 1), last]
    if place not in wanted:
        nearest = min(wanted[1:-1] or wanted[1:], key=lambda each: abs(each - place))
        wanted[wanted.index(nearest)] = place
    kept = [values[each] for each in sorted(wanted)]
    at, label = kept.index(values[place]), label_of(element)
    if isinstance(element, mo.ui.slider):
        return mo.ui.slider(steps=kept, value=kept[at], label=label)
    menu = cast("mo.ui.dropdown | mo.ui.radio", element)
    options = {key: menu.options[key] for key in kept if key is not None}
    if isinstance(menu, mo.ui.radio):
        return mo.ui.radio(options=options, value=kept[at], label=label)
    nothing = allows_nothing(menu)
    return mo.ui.dropdown(options, kept[at], allow_select_none=nothing, label=label)


def control_html(name: str, element: object, label: str, page: Page) -> str:
    """A working control of the static page.

    Args:
        name: The notebook's variable, which ties all places that show this control together.
        element: The control, at the value to show first.
        label: Its label as HTML; empty shows the variable's name.
        page: Hands out names for groups of radio buttons.

    Returns:
        Native inputs, so that keyboard and screen readers work as the reader expects.
    """
    values, place = choices(element) or [], chosen(element)
    texts = [choice_text(value) for value in values]
    label = label or escape(name.replace("_", " "))
    shown = f'<span class="hb-label">{label}</span>'
    if isinstance(element, mo.ui.radio):
        group = page.radio_name()
        buttons = "".join(
            f'<label><input type="radio" name="{group}" value="{i}"{_on(i == place, "checked")}>'
            f" {escape(text)}</label>"
            for i, text in enumerate(texts)
        )
        return (
            f'<fieldset class="hb-control" data-control="{escape(name)}">'
            f"<legend>{label}</legend>{buttons}</fieldset>"
        )
    if isinstance(element, SWITCHES):
        role = ' role="switch"' if isinstance(element, mo.ui.switch) else ""
        body = f'<input type="checkbox"{role}{_on(bool(place), "checked")}>'
        return _label(name, body + shown)
    if isinstance(element, mo.ui.slider):
        listed = escape("\t".join(texts))
        body = (
            f'<input type="range" min="0" max="{len(values) - 1}" step="1" value="{place}" '
            f'data-values="{listed}" aria-valuetext="{escape(texts[place])}">'
            f"<output>{escape(texts[place])}</output>"
        )
        return _label(name, shown + body)
    options = "".join(
        f'<option value="{i}"{_on(i == place, "selected")}>{escape(text)}</option>'
        for i, text in enumerate(texts)
    )
    return _label(name, f"{shown}<select>{options}</select>")


def _label(name: str, body: str) -> str:
    return f'<label class="hb-control" data-control="{escape(name)}">{body}</label>'


def _on(state: bool, word: str) -> str:
    return f" {word}" if state else ""


def choice_text(value: object) -> str:
    """How a choice is shown; no choice at all is an en dash."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def note_html(note: str) -> str:
    """A word on what a control does not offer here."""
    return f'<span class="hb-fixed"><small>{escape(note)}</small></span>'


def fixed_html(label: str, value: object, note: str) -> str:
    """A control that the static page cannot offer: its value, and why it stays."""
    shown = f'<span class="hb-label">{label}</span> ' if label else ""
    return (
        f'<span class="hb-fixed">{shown}<b>{escape(choice_text(value))}</b>'
        f" <small>{escape(note)}</small></span>"
    )
