"""`--budget` as it is typed: bad input, shares that agree, and a kill in the middle of it."""

import re
import signal
import subprocess
import time

import pytest

from book.planning import said, within
from store import Store
from tests.book.real_book import HEADBOOK

from .test_cli import invoke, refused


@pytest.fixture(scope="module")
def asked(worded, tmp_path_factory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 60)
    return {"model": str(worded), "text": str(path), "profile": "tiny", "chapters": "01,03,05"}


def words(asked: dict[str, str], store, *more: object) -> list[object]:
    named = (word for name, value in asked.items() for word in (f"--{name}", value))
    return ["run", *named, "--store", store, *more]


@pytest.mark.parametrize("wrong", ["60", "1x", "", "m", "0s", "-5m", "1m30", "5 m", "9999999h"])
def test_a_budget_that_cannot_be_read_says_what_is_expected(asked, tmp_path, wrong):
    done = invoke(*words(asked, tmp_path / "store", "--budget", wrong))
    assert done.exit_code == 2
    assert "expected a time such as 60m, 1h30m or 90s" in done.output
    assert not (tmp_path / "store").exists()


def test_a_budget_that_holds_nothing_says_the_smallest_that_does(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.questions.cost.UNIT_S", 40.0)
    monkeypatch.setattr("analysis.overview.budget.UNIT_S", 40.0)
    place = tmp_path / "store"
    line = refused(*words(asked, place, "--budget", "1s"))
    least = re.search(r"expected a --budget of at least (\d+s), which chapter 01", line)
    assert least is not None and not place.exists()
    done = invoke(*words(asked, place, "--budget", least[1], "--dry-run"))
    assert done.exit_code == 0 and "chapters 01 (" in done.output
    assert "left out, and what each would take: 03 (" in done.output and not place.exists()


def test_shares_plan_alike_and_a_later_budget_keeps_the_sizes(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.overview.budget.UNIT_S", 5.0)
    options = {**asked, "profile": "quick"}
    store = Store.planned(tmp_path / "store")
    first, plan = within(store, options, (40, 2), keep=True)
    monkeypatch.setattr("analysis.questions.cost.Rates.measured", None)  # the pace is noted
    again, _ = within(Store.open(tmp_path / "store"), options, (40, 2), keep=True)
    assert again == first != options and plan.halvings > 0
    more, larger = within(store, options, (4_000, 2), keep=True)
    assert (larger.halvings, more["profile"]) == (plan.halvings, first["profile"])
    assert ", as far as verdicts allow: " in said(plan, 2)[1]
    assert "as the first budget in this store chose: " in said(larger, 2)[1]
    assert set(plan.inside) < set(larger.inside) and not larger.outside


def test_a_killed_budget_goes_on_with_a_larger_one(asked, tmp_path):
    place = tmp_path / "store"
    planned = invoke(*words(asked, place, "--budget", "1000h", "--dry-run"))
    assert planned.exit_code == 0, planned.output
    command = [*HEADBOOK, *map(str, words(asked, place, "--budget", "2h"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if place.exists() and len(list((place / "parts").glob("*"))) > 4:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = {path.name: path.stat().st_ino for path in (place / "parts").iterdir()}
    notes = {path.name: path.read_bytes() for path in (place / "notes").glob("*.json")}
    assert len(before) > 4 and len(notes) == 2
    assert invoke(*words(asked, place, "--budget", "3h")).exit_code == 0
    after = {path.name: path.stat().st_ino for path in (place / "parts").iterdir()}
    assert before.items() < after.items(), "what was finished is there, the very same"
    assert notes == {path.name: path.read_bytes() for path in (place / "notes").glob("*.json")}
    runs = Store.open(place).sql("SELECT count(*) AS n, count(DISTINCT run) AS runs FROM runs")
    assert runs["n"][0] == runs["runs"][0]
    done = invoke(*words(asked, place, "--budget", "3h", "--dry-run"))
    assert "nothing to compute: every answer is stored" in done.output


def test_pages_that_sum_up_ask_nothing_of_chapters_that_are_left_out(tmp_path):
    """Of a model that copies and answers, these pages draw a circuit and check rankings."""
    places = ("--store", tmp_path / "store", "--out", tmp_path / "html")
    done = invoke("build", "--profile", "tiny", "--chapters", "00,01,12", *places)
    assert done.exit_code == 0, done.output
    rows = Store.existing(tmp_path / "store").sql("SELECT DISTINCT experiment FROM runs")
    kinds = set(rows["experiment"])
    assert "TextScores" in kinds
    left_out = re.compile("Circuit|Composition|PathPatching|Retrieval|BosSink")
    assert not [kind for kind in kinds if left_out.match(kind)]


@pytest.mark.parametrize("held", ['{"other":1}', '{"halvings":-3}', '{"halvings":1e300}', "[]"])
def test_a_note_of_something_else_is_as_none(asked, tmp_path, held):
    """Whoever can write into a store can write into its notes."""
    place = tmp_path / "store"
    options = dict(asked)
    told, plan = within(Store.planned(place), options, (4_000, 2), keep=True)
    for note in (place / "notes").iterdir():
        note.chmod(0o644)
        note.write_text(held)
    again, same = within(Store.open(place), options, (4_000, 2), keep=True)
    assert (again, same.inside) == (told, plan.inside)
