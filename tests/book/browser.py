"""Looks at pages of a built book in headless Chromium: does all of it work, from here alone?"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from book.serve import server_of

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NO_BROWSER = "needs chromium and chromedriver; runs where both are installed"
PATIENCE_S = 20

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --window-size=1300,1000"
)
_TROUBLE = frozenset({"WARNING", "SEVERE"})
_VISIBLE_UNDRAWN = """
return [...document.querySelectorAll('.hb-chart')]
  .filter((box) => box.offsetParent !== null && !box.dataset.done)
  .map((box) => box.dataset.spec + ': ' + (box.dataset.failed ? box.textContent : 'not drawn'));
"""
_SCROLL = """
const done = arguments[0];
const boxes = [...document.querySelectorAll('.hb-chart')].filter((box) => box.offsetParent);
(async () => {
  for (const box of boxes) {
    box.scrollIntoView();
    for (let i = 0; i < 200 && !box.dataset.done && !box.dataset.failed; i++)
      await new Promise((next) => setTimeout(next, 25));
  }
  done(boxes.length);
})();
"""
_SHOW_ALL = """
document.querySelectorAll('.hb-state[hidden], [role=tabpanel][hidden]')
  .forEach((block) => { block.hidden = false; });
document.querySelectorAll('details').forEach((fold) => { fold.open = true; });
"""
_SHOWN = """
const control = arguments[0];
return [...document.querySelectorAll('[data-controls]')]
  .filter((block) => block.dataset.controls.split(' ').includes(control))
  .flatMap((block) => block.matches('.hb-state') ? [block] : [...block.children])
  .filter((state) => !state.hidden).map((state) => state.dataset.states + state.textContent);
"""


@contextmanager
def browser(*flags: str) -> Generator[webdriver.Chrome]:
    """A headless Chromium with a profile of its own that logs its requests."""
    profile = tempfile.mkdtemp(prefix="headbook-chromium-")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*_FLAGS.split(), f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_script_timeout(PATIENCE_S * 6)
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


@contextmanager
def served(folder: Path) -> Generator[str]:
    """The address of a built book, served on this machine."""
    with server_of(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def visit(driver: webdriver.Chrome, url: str) -> None:
    """Open a page and wait until its scripts have run and its formulas are set."""
    for log in ("performance", "browser"):
        driver.get_log(log)  # pyright: ignore[reportUnknownMemberType]
    driver.get(url)
    ready = "return document.readyState === 'complete' && document.documentElement.dataset.hbReady"
    WebDriverWait(driver, PATIENCE_S).until(lambda page: page.execute_script(ready))


def page_problems(driver: webdriver.Chrome, url: str, *, every_state: bool = True) -> list[str]:
    """What is wrong with a page.

    Args:
        driver: A browser from `browser()`.
        url: The page, under http or file.
        every_state: Draw the charts of all states and tabs, not only of those shown first.

    Returns:
        One line for each request elsewhere, message on the console, and chart not drawn.
    """
    visit(driver, url)
    driver.execute_async_script(_SCROLL)
    if every_state:
        driver.execute_script(_SHOW_ALL)
        driver.execute_async_script(_SCROLL)
    found = [f"chart {line}" for line in driver.execute_script(_VISIBLE_UNDRAWN)]
    found += [f"request {request}" for request in foreign_requests(driver, url)]
    lines = [line for line in logged(driver, "browser") if line["level"] in _TROUBLE]
    found += [f"console: {line['message']}" for line in lines]
    return found


def drawn_again(driver: webdriver.Chrome, theme: str) -> list[str]:
    """Turn the page that is open to a theme; which of its charts are not drawn then."""
    driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    driver.execute_async_script(_SCROLL)
    return driver.execute_script(_VISIBLE_UNDRAWN)


@contextmanager
def phone(driver: webdriver.Chrome) -> Generator[int]:
    """A window as narrow as a phone's; its width in pixels."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield size["width"]
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def logged(driver: webdriver.Chrome, log: str) -> list[dict[str, Any]]:
    """What a log of the browser gained since it was last read."""
    return driver.get_log(log)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def foreign_requests(driver: webdriver.Chrome, url: str) -> list[str]:
    """Requests since the page was opened that left its host, or failed."""
    home = urlsplit(url)
    found: list[str] = []
    for entry in logged(driver, "performance"):
        message: dict[str, Any] = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked = urlsplit(str(message["params"]["request"]["url"]))
            local = asked.scheme in {"data", "blob", "about", "chrome"}
            if not local and (asked.scheme, asked.netloc) != (home.scheme, home.netloc):
                found.append(asked.geturl())
        elif message["method"] == "Network.responseReceived":
            response = message["params"]["response"]
            if response["status"] >= 400:
                found.append(f"{response['status']} {response['url']}")
    return found


def shown_states(driver: webdriver.Chrome, control: str) -> list[str]:
    """What the blocks that depend on a control show now."""
    return driver.execute_script(_SHOWN, control)


def controls_of(driver: webdriver.Chrome) -> dict[str, WebElement]:
    """The first visible place of every working control on the page, by variable."""
    found = driver.find_elements(By.CSS_SELECTOR, ".hb-control")
    places = [place for place in found if place.is_displayed()]
    return {str(place.get_attribute("data-control")): place for place in reversed(places)}


def dead_controls(driver: webdriver.Chrome, url: str) -> list[str]:
    """Controls of a page that change nothing, worked as a reader would with the keyboard.

    Args:
        driver: A browser.
        url: The page.

    Returns:
        Their variables; the page is left in another state.
    """
    visit(driver, url)
    dead: list[str] = []
    for name in controls_of(driver):
        before = shown_states(driver, name)
        press(driver, controls_of(driver)[name])
        if shown_states(driver, name) == before:
            dead.append(name)
    return dead


def press(driver: webdriver.Chrome, control: WebElement) -> None:
    """Move a control to another value with keys."""
    checked = control.find_elements(By.CSS_SELECTOR, "input:checked")
    field = (checked or control.find_elements(By.CSS_SELECTOR, "select, input"))[0]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
    kind = field.get_attribute("type")
    if kind == "checkbox":
        field.send_keys(" ")
        return
    up, down = "\ue013", "\ue015"
    last = driver.execute_script(
        "const f = arguments[0]; return f.tagName === 'SELECT' ? f.selectedIndex === f.length - 1"
        " : f.type === 'range' ? f.value === f.max"
        " : f === [...document.getElementsByName(f.name)].at(-1)",
        field,
    )
    rises = kind == "range"
    field.send_keys((down if rises else up) if last else (up if rises else down))
