"""The same query for other tools: no query ends the text that it stands in, or is changed by it."""

from __future__ import annotations

import ast
import subprocess
import unicodedata

import pytest
from hypothesis import strategies as st
from selenium.webdriver.common.by import By

from book.cli import cli
from tests.commands.hostile import NAMES, hostile

from .browser import CHROMIUM, DRIVER, NO_BROWSER, browser, served, visit
from .test_sql_console import built

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)

SONG = "touch sung"
ENDINGS = (
    *(f"SELECT 1\nSQL\n{SONG}", f"SELECT 1;\nEOF\n{SONG}\n", f"'; {SONG}; '", f"'\n{SONG}\n'"),
    *(f"$({SONG})", f"`{SONG}`", f"\\'; {SONG} #", f"'\\''; {SONG}; '\\''", f"$'; {SONG}; '"),
    *(
        "'",
        "''",
        "\\",
        "x\\",
        "\\\\'",
        '"',
        '"""',
        "x\\\n",
        'x"',
        '"" """',
        "r'''",
        "\\N{DIGIT ONE}",
    ),
    *(f'""")\n__import__("os").system("{SONG}")\n("""', "\\x41", "\\101", "\\u0041", "{x}", "%s"),
    *(f".shell {SONG}", f".system {SONG}", f"-- x\n.shell {SONG}", ".5", "...", f"|{SONG}", "!!"),
    *("--csv", "--store=elsewhere", "-h", "--help", "--", "-- top heads\nFROM runs", "-c", "-"),
    *(f"\x15{SONG}\r", f"\x1b[201~\n{SONG}\n", f"\x03\n{SONG}\n", "\x04", "a\tb", "\r\n", "\x7f"),
    *("\u202eSELECT 1", "a\u2066b", "\ufeff", "\u2028", "\x85", "\U000e0041", "é", "日本", "😀"),
    *("a\u00adb1", "\x011", "\x0b9", "\u200bf"),
)
QUERIES = (
    st.sampled_from([*ENDINGS, *NAMES])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.text("'\"\\\n$`.-;#! \x1b\u202eaE01", max_size=12)
)
STUBS = """
gunzip() { :; }
told() { printf '%s\\0' "$@"; }
duckdb() { told duckdb "$@"; }
headbook() { told headbook "$@"; }
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser() as driver, served(built(tmp_path_factory.mktemp("elsewhere"))) as address:
        visit(driver, f"{address}/11_ask.html")
        yield driver


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


def texts(driver, query: str) -> dict[str, str]:
    """What the page makes of a query that stands in the editor."""
    return driver.execute_script(
        "const text = document.querySelector('.hb-sql-text'); text.value = arguments[0];"
        "text.dispatchEvent(new Event('input'));"
        "return Object.fromEntries([...document.querySelectorAll('.hb-sql-as')]"
        ".map((place) => [place.dataset.as, place.textContent]))",
        query,
    )


def asked(driver) -> str:
    """The query in the editor, as it is run: browsers keep one kind of line end."""
    return driver.execute_script("return document.querySelector('.hb-sql-text').value.trim()")


def arguments(shell: str, text: str, folder) -> list[str]:
    """The one command that a shell runs where it is given a text."""
    ran = subprocess.run(
        [shell, "-c", f"{STUBS}\n{text}"],
        cwd=folder,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    assert ran.stderr == b""
    assert list(folder.iterdir()) == []
    return ran.stdout.decode().split("\0")[:-1]


def literals(code: str) -> list[str]:
    """Texts in a piece of Python."""
    return [
        node.value
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def shape(code: str) -> str:
    """A piece of Python without its last text."""
    tree = ast.parse(code)
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "sql"
    ]
    ast.literal_eval(call.args[0])
    call.args = []
    return ast.dump(tree)


@hostile(400, query=QUERIES)
def test_a_query_is_one_word_for_every_tool(page, folder, query):
    shown = texts(page, query)
    sql = asked(page)
    assert sorted(shown) == ["headbook", "python", "shell"]
    for text in shown.values():
        unseen = {unicodedata.category(c) for c in text if c != "\n"} & {"Cc", "Cf", "Zl", "Zp"}
        assert not unseen
    word = sql.replace("\0", "\ufffd")
    shells = ["bash"] if "$'" in shown["shell"] else ["bash", "sh"]
    for shell in shells:
        dotted = f" {word}" if word.startswith(".") else word
        called = ["duckdb", "-readonly", "results.duckdb", "-c", dotted]
        assert arguments(shell, shown["shell"], folder) == called
        called = arguments(shell, shown["headbook"], folder)
        assert called[:2] == ["headbook", "sql"]
        assert cli.commands["sql"].make_context("sql", called[2:]).params["query"] == word
    assert shape(shown["python"]) == shape(texts(page, "SELECT 1")["python"])


@hostile(400, query=QUERIES)
def test_a_query_is_the_same_text_in_python(page, query):
    shown = texts(page, query)["python"]
    assert asked(page) in {literal.strip("\n") for literal in literals(shown)} | set(
        literals(shown)
    )


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_stubs_do_sing(folder, shell):
    """Without this, their silence would show nothing."""
    old = f"duckdb <<'SQL'\nSELECT 1\nSQL\n{SONG}\nSQL\n"
    subprocess.run([shell, "-c", STUBS + old], cwd=folder, capture_output=True, check=False)
    assert [path.name for path in folder.iterdir()] == ["sung"]
    (folder / "sung").unlink()


def test_plain_queries_can_be_read_where_they_stand(page):
    query = "SELECT layer, head\nFROM head_scores\nWHERE score = 'induction'  -- strong ones"
    shown = texts(page, query)
    assert query in shown["python"]
    assert query.replace("'", "'\\''") in shown["shell"]
    assert page.find_element(By.CSS_SELECTOR, ".hb-sql-as").is_displayed()
