"""Charts as the page's script draws them: Vega-Lite specs, their data kept once by column."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from html import escape
from typing import TYPE_CHECKING, Any, cast

from .errors import BookError
from .markdown import without_minus_zero

if TYPE_CHECKING:
    from .page import Json, Page

_WORDS = ("title", "text", "description")
_DIGITS = 7
"""Significant digits of chart data: what a float32 holds."""


def is_chart(value: object) -> bool:
    """Whether a value is a chart: it makes a spec and comes from the charting package."""
    package = type(value).__module__.partition(".")[0]
    return package == "altair" and hasattr(value, "to_dict") and hasattr(value, "_repr_mimebundle_")


_held: set[str] = set()
"""Shapes of charts that have been held against the schema of Vega-Lite."""


def chart_spec(chart: object) -> Json:
    """The chart's spec with all of its rows, whatever transformer or cap the notebook has set.

    Each shape of a chart is held against the schema once, whatever its rows and titles.
    """
    library: Any = sys.modules["altair"]
    with library.data_transformers.enable("default", max_rows=None):
        spec: Json = cast("Any", chart).to_dict(validate=False)
        shape = json.dumps(_shape(spec), sort_keys=True)
        if shape not in _held:
            cast("Any", chart).to_dict()
            _held.add(shape)
    return spec


def _shape(value: Any) -> Any:
    """A spec without its rows, its words for readers, and the numbers of its lists."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        read = {"title", "description", "name"}
        return {
            key: type(part).__name__ if key in read and isinstance(part, str) else _shape(part)
            for key, part in items
            if key != "datasets"
        }
    if isinstance(value, list):
        listed = cast("list[Any]", value)
        return ["number" if type(part) in {int, float} else _shape(part) for part in listed]
    return value


@contextmanager
def unchecked() -> Generator[None]:
    """Inside, parts of charts are not held against the schema as they are made, only charts are."""
    library: Any = sys.modules.get("altair")
    with nullcontext() if library is None else library.utils.schemapi.debug_mode(False):
        yield


def chart_html(spec: Json, page: Page, *, inner: bool) -> str:
    """The place where the script draws a chart.

    Args:
        spec: A Vega-Lite spec with its data inside.
        page: Keeps spec and data sets.
        inner: The chart stands in a tab or fold, so its caption goes with it, without a number.

    Returns:
        An element that carries the chart's title and description as its text alternative.

    Raises:
        BookError: The chart has no description, or loads its data from elsewhere.
    """
    datasets = spec.get("datasets", {})
    spec = {key: value for key, value in spec.items() if key not in {"$schema", "datasets"}}
    if not spec.get("description"):
        raise BookError(
            "a chart with a description (it becomes the caption and the text alternative)",
            f"a chart titled {_title(spec)!r} without one",
            "pass `description=` in the plots module",
        )
    if _loads(spec):
        raise BookError("a chart whose data is inside it", "a data url", "chart a polars frame")
    page.data.update({name: by_column(rows) for name, rows in datasets.items()})
    spec = _worded(_renumbered(spec))
    name, caption = page.chart(spec), escape(str(spec["description"]))
    where = "data-inner " if inner else ""
    box = (
        f'<div class="hb-chart mathjax_ignore" {where}data-spec="{name}" role="img" '
        f'aria-label="{escape(alternative(spec))}"></div>'
    )
    return f'{box}<p class="hb-caption">{caption}</p>' if inner else box


def _worded(value: Any) -> Any:
    """A spec whose titles and captions have no `-0.00`."""
    if isinstance(value, dict):
        items = cast("Json", value).items()
        return {
            key: without_minus_zero(part)
            if key in _WORDS and isinstance(part, str)
            else _worded(part)
            for key, part in items
        }
    return (
        [_worded(part) for part in cast("list[Any]", value)] if isinstance(value, list) else value
    )


def alternative(spec: Json) -> str:
    """What a reader who cannot see a chart is told: the finding, then the caption.

    Args:
        spec: A Vega-Lite spec with a description.

    Returns:
        Sentences.
    """
    title = _title(spec).strip()
    end = "" if not title or title.endswith((".", "?", "!")) else "."
    return f"{title}{end} {spec['description']}".strip()


def by_column(rows: list[Json]) -> Json:
    """The rows of a data set as columns, which take a third of the room.

    Args:
        rows: Records; those that lack a key hold null there.

    Returns:
        `names` and `values`, one list a column; floats with seven significant digits.
    """
    names = list(dict.fromkeys(key for row in rows for key in row))
    return {"names": names, "values": [[_short(row.get(name)) for row in rows] for name in names]}


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _renumbered(spec: Json) -> Json:
    """Number the chart library's own names (`param_7`) from 1, so that equal charts are equal."""
    text = json.dumps(spec)
    own = list(dict.fromkeys(re.findall(r'"name": "((?:param|view)_\d+)"', text)))
    new = {name: f"{name.partition('_')[0]}_{place}" for place, name in enumerate(own, 1)}
    if not new or set(new) == set(new.values()):
        return spec
    return json.loads(
        re.sub(r"\b(?:param|view)_\d+\b", lambda found: new.get(found[0], found[0]), text)
    )


def _title(spec: Json) -> str:
    title: Any = spec.get("title") or ""
    text: Any = cast("Json", title).get("text", "") if isinstance(title, dict) else title
    return " ".join(cast("list[str]", text)) if isinstance(text, list) else str(text)


def _loads(node: Any) -> bool:
    if isinstance(node, dict):
        fields = cast("Json", node)
        data: Any = fields.get("data")
        return (isinstance(data, dict) and "url" in data) or any(map(_loads, fields.values()))
    return isinstance(node, list) and any(map(_loads, cast("list[Any]", node)))
