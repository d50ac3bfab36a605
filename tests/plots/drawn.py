"""What a chart comes to when it is drawn."""

from __future__ import annotations

from typing import Any

import vl_convert

COLUMN = 705
"""Pixels of the text's column where the window is 784 wide."""


def drawn(spec: dict[str, Any]) -> tuple[int, float]:
    """Marks of a chart, and its width with axes and legends.

    Args:
        spec: Vega-Lite with its data inside.

    Returns:
        Marks beside those of axes and legends, a point of a line each; pixels.
    """
    scene = vl_convert.vegalite_to_scenegraph(spec)
    return _marks(scene["scenegraph"]), scene["width"]


def _marks(node: dict[str, Any]) -> int:
    items = node.get("items") or []
    own = node.get("role") == "mark" and node["marktype"] != "group"
    return len(items) if own else sum(map(_marks, items))
