"""Small answers of every experiment: what the version lock renews itself by."""

import polars as pl
import pytest

from store import StoreError, lock_entries

from . import canary, lock

ROWS = pl.DataFrame({"run": ["a", "b"], "head": ["L0H0", "L1H1"], "value": [0.5, 2.0]})
CHANGES = {
    "a number": ROWS.with_columns(value=pl.Series([0.5, 2.1])),
    "rows that change places": ROWS.with_columns(value=ROWS["value"].reverse()),
    "a word": ROWS.with_columns(head=pl.Series(["L0H0", "L1H2"])),
    "a row": ROWS.head(1),
    "a number that is missing": ROWS.with_columns(value=pl.Series([0.5, None])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_answer_is_told_apart(change):
    before = canary.told({"head_scores": ROWS})
    assert not canary.alike(before, canary.told({"head_scores": CHANGES[change]}))
    assert not canary.alike(before, {})
    assert not canary.alike(before, None)


def test_rounding_and_runs_are_no_other_answer():
    other = ROWS.with_columns(pl.col("value") * (1 + 1e-5), run=pl.lit("c"))
    told = [canary.told({"head_scores": rows}) for rows in (ROWS, other)]
    assert canary.alike(*told)


def test_the_answers_of_the_reference_model_are_those_that_the_lock_was_written_with(real_book):
    now, kept = canary.answers(real_book.store), canary.kept()
    assert now.keys() == kept.keys()
    assert not [name for name in now if not canary.alike(now[name], kept[name])]


def test_the_lock_renews_itself_only_where_answers_stay(monkeypatch, tmp_path):
    for module, name, file in ((lock, "LOCK", "lock.json"), (canary, "PATH", "canary.json")):
        monkeypatch.setattr(module, name, tmp_path / file)
    found = {kind.__name__: kind for kind in lock.all_experiments()}
    asked = [found["HeadClaims"], found["SinkClaims"]]
    monkeypatch.setattr(lock, "all_experiments", lambda: asked)
    answers = {name: canary.told({"claims": ROWS}) for name in ("HeadClaims", "SinkClaims")}
    monkeypatch.setattr(canary, "answers", lambda: answers)
    lock.renew()
    whole = lock.LOCK.read_text()

    def moved() -> None:
        hashes = [entry.hash for entry in lock_entries(asked, lock.PACKAGES).values()]
        text = whole
        for hashed in hashes:
            text = text.replace(hashed, "0" * 32)
        lock.LOCK.write_text(text)

    moved()
    lock.renew()
    assert lock.LOCK.read_text() == whole

    moved()
    answers = {**answers, "SinkClaims": canary.told({"claims": ROWS.head(1)})}
    monkeypatch.setattr(canary, "answers", lambda: answers)
    with pytest.raises(StoreError, match=r"higher version of \['SinkClaims'\]"):
        lock.renew()
    lock.renew(["SinkClaims"])
    assert lock.LOCK.read_text() == whole
    assert canary.alike(canary.kept()["SinkClaims"], answers["SinkClaims"])
