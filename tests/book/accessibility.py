"""What axe-core finds wrong with a page, and how legible two colours are on each other."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from selenium import webdriver

from .browser import visit

SERIOUS = frozenset({"serious", "critical"})

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
"""The script, from a package of the test extras: nothing is loaded from elsewhere."""

_RUN = """
const [only, done] = arguments;
document.querySelectorAll('.hb-state[hidden], #hb-page, svg.marks > *')
  .forEach((part) => part.remove());
Promise.all(document.getAnimations().map((change) => change.finished))  // of colours, by the theme
  .then(() => axe.run(document, {resultTypes: ['violations'], ...(only && {runOnly: only})}))
  .then((found) => done({violations: found.violations}), (error) => done({error: String(error)}));
"""
"""What nobody sees or hears is taken out first, since the checker would walk through it: other
states, data, and the parts of charts, which as pictures have one text alternative each."""


def findings(driver: webdriver.Chrome, url: str, theme: str) -> list[str]:
    """Serious and critical findings on a page.

    Args:
        driver: A browser.
        url: The page.
        theme: `light`, or `dark`, where only what depends on colours is looked at again.

    Returns:
        A line for each element: the rule, what it asks for, and where it is broken.
    """
    visit(driver, url)
    driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    driver.execute_script(AXE)
    only = ["color-contrast"] if theme == "dark" else None
    result: dict[str, Any] = driver.execute_async_script(_RUN, only)
    assert "error" not in result, result
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:160]} {_why(node)}"
        for rule in result["violations"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


def _why(node: dict[str, Any]) -> str:
    return " ".join(check["message"] for check in (*node["any"], *node["all"], *node["none"]))


def contrast(first: str, second: str) -> float:
    """Contrast of two colours, from 1 to 21.

    Args:
        first: As `#rrggbb`.
        second: The other.

    Returns:
        The ratio.

    Source:
        Web Content Accessibility Guidelines 2.1, success criterion 1.4.3.
    """
    lights = sorted((_luminance(first), _luminance(second)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
