"""The lab in a real browser: it answers what is typed, and says what it cannot answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import Select, WebDriverWait

from analysis.models.files.card import read_card
from book.site import find_notebooks

from .browser import CHROMIUM, DRIVER, NO_BROWSER, browser

LAB = Path(__file__).resolve().parents[2] / "notebooks" / "lab.py"
PATIENCE_S = 400

_ALL = """
const all = (root) => [...root.querySelectorAll(arguments[0]),
  ...[...root.querySelectorAll('*')].filter((e) => e.shadowRoot).flatMap((e) => all(e.shadowRoot))];
return all(document);
"""

needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A lab with a store of its own."""
    port, store = free_port(), tmp_path_factory.mktemp("lab") / "store"
    command = [sys.executable, "-m", "marimo", "run", str(LAB), "--headless", "--no-token"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "HEADBOOK_STORE": str(store), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


class Lab:
    """What a reader does with the lab."""

    def __init__(self, driver, address: str) -> None:
        self.driver = driver
        self._wait = WebDriverWait(driver, PATIENCE_S, 0.5, [WebDriverException])
        self.until(lambda: driver.get(address) or True)
        self.until(self.table)

    def until(self, found) -> None:
        self._wait.until(lambda _driver: found())

    def all(self, query: str) -> list:
        """Elements of the page and of every shadow root."""
        return self.driver.execute_script(_ALL, query)

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def table(self) -> str:
        return "".join(table.text for table in self.all("table"))

    def chips(self) -> str:
        """The tokens of the prompt, as they are shown."""
        return "".join(chip.text for chip in self.all("div[style*='line-height: 2'] span"))

    def type(self, prompt: str) -> None:
        everything = f"{Keys.CONTROL}a{Keys.NULL}"
        self.all("textarea")[0].send_keys(everything + (prompt or Keys.DELETE))

    def choose(self, value: str) -> None:
        """Choose from the one dropdown that offers a value."""
        (select,) = (s for s in self.all("select") if value in s.text.splitlines())
        Select(select).select_by_visible_text(value)

    def says(self, message: str) -> None:
        """Wait for a message, and make sure that it is no traceback."""
        self.until(lambda: message in self.text())
        assert not [word for word in ("Traceback", "internal error") if word in self.text()]
        assert not self.table()


@pytest.fixture(scope="module")
def lab(address):
    with browser() as driver:
        yield Lab(driver, address)


@needs_browser
def test_another_head_and_another_prompt_change_the_table(lab):
    before = lab.table()
    lab.choose("L1H2")
    lab.until(lambda: "L1H2" in lab.table() and lab.table() != before)
    of_head = lab.table()
    lab.type("Mary went to the shop and Mary")
    lab.until(lambda: "Mary·went" in lab.chips() and lab.table() not in {"", of_head})
    lab.choose("mask_key")
    lab.until(lambda: "mask_key @" in lab.table())
    assert "Traceback" not in lab.text()


@needs_browser
def test_a_script_in_a_prompt_is_text(lab):
    lab.type("a <script>alert(1)</script>")
    lab.until(lambda: lab.chips().endswith("<script>alert(1)</script>") and lab.table())
    assert expected_conditions.alert_is_present()(lab.driver) is False
    assert not [s for s in lab.all("script") if "alert(1)" in s.get_attribute("textContent")]


@needs_browser
def test_what_cannot_be_answered_gets_a_message(lab):
    lab.type("")
    lab.says("expected a prompt of at least one token")
    lab.type("the " * (read_card("reference").n_ctx + 1))
    lab.says("expected a prompt of at most")
    lab.choose("mean_value")
    lab.says("expected a prompt of at most")
    lab.type("a")
    lab.until(lab.table)
    lab.choose("t-2")
    lab.says("expected t of at least 2 for t-2")
    lab.choose("t-1")
    lab.until(lambda: "mean_value @0" in lab.table())


def test_the_lab_is_not_a_chapter():
    assert LAB.is_file()
    assert LAB not in find_notebooks(LAB.parent)
