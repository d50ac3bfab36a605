"""The README's pictures, taken of a built book: `make pictures`."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from .browser import PATIENCE_S, browser, page_problems, served, visit

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"width": 1180, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PICTURES = {
    "claims": ("index.html", "#the-circuit"),
    "retrieval": ("08_retrieval_heads.html", "#fig-curves-by-ranking"),
    "sql": ("11_ask_the_store.html", ".hb-sql"),
}
"""Name of the file; the page, and what stands at the top of the picture."""


def main(book: Path, out: Path) -> None:
    """Take every picture.

    Args:
        book: A built book.
        out: Folder of the pictures.
    """
    out.mkdir(parents=True, exist_ok=True)
    with served(book) as address, browser() as driver:
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
        for name, (page, place) in PICTURES.items():
            url = f"{address}/{page}"
            if problems := page_problems(driver, url, every_state=False):
                raise SystemExit("\n".join(problems))
            visit(driver, url)
            if name == "sql":
                _ask(driver)
            (out / f"{name}.png").write_bytes(_picture(driver, place))
            sys.stdout.write(f"{out / name}.png\n")


def _ask(driver: webdriver.Chrome) -> None:
    """Run the query that the page begins with."""
    driver.find_element(By.CSS_SELECTOR, ".hb-sql-run").click()
    rows = ".hb-sql-answer tbody tr"
    WebDriverWait(driver, 6 * PATIENCE_S).until(
        lambda page: page.find_elements(By.CSS_SELECTOR, rows)
    )


def _picture(driver: webdriver.Chrome, place: str) -> bytes:
    """What stands from a place on, a window high."""
    drawn = (
        "const at = document.querySelector(arguments[0]); at.scrollIntoView();"
        "return [...document.querySelectorAll('.hb-chart')].filter((box) => box.offsetParent)"
        ".every((box) => box.dataset.done)"
    )
    WebDriverWait(driver, PATIENCE_S).until(lambda page: page.execute_script(drawn, place))
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return base64.b64decode(shot["data"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), ROOT / "docs")
