"""Result files of published studies on the command line and in SQL."""

import json
from statistics import fmean

import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

from analysis.studies.published import PublishedFile, PublishedFiles, beside_printed, printed_tables
from book.cli import cli
from store import Store

from . import published_files as made


def invoke(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def said(done) -> list[str]:
    """Lines on stderr, without those of a bar that a slow disk makes show."""
    return [line for line in done.stderr.splitlines() if line and "PublishedFiles:" not in line]


@pytest.fixture
def place(tmp_path):
    return ("--store", tmp_path / "store")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store")


def test_sql_recomputes_the_published_table_as_plain_python_does(tmp_path, store, place):
    files = made.folder(tmp_path / "results", 16)
    done = invoke("import", *files, *place)
    assert done.exit_code == 0, done.output
    assert "16 files read (16 new, 0 stored before), 0 refused; 208 rows" in done.stdout
    assert not said(done)
    contents = [json.loads(file.read_text()) for file in files]
    drops = store.sql("FROM published_drops ORDER BY method, size")
    assert drops.height == 2 * len(made.LEVELS)
    for row in drops.iter_rows(named=True):
        of_method = [each for each in contents if each["method"] == row["method"]]
        assert row["files"] == len(of_method) == 8
        for family in ("top", "random"):
            expected = fmean(
                100 * (each["baseline"]["accuracy"] - one["accuracy"])
                for each in of_method
                for one in each[f"{family}_heads_ablations"]
                if one["num_heads"] == row["size"]
            )
            assert row[family] == pytest.approx(expected, abs=1e-9)


def test_a_file_with_more_random_sets_counts_once(tmp_path, store, place):
    one = made.ablation(0)
    (tmp_path / "one.json").write_text(json.dumps(one))
    other = made.ablation(2)
    other["random_heads_ablations"] *= 10
    (tmp_path / "two.json").write_text(json.dumps(other))
    assert invoke("import", tmp_path / "one.json", tmp_path / "two.json", *place).exit_code == 0
    drops = store.sql("SELECT random FROM published_drops ORDER BY size")["random"]
    expected = [
        50 * (a["accuracy_drop"] + b["accuracy_drop"])
        for a, b in zip(
            one["random_heads_ablations"], other["random_heads_ablations"], strict=False
        )
    ]
    assert drops.to_list() == pytest.approx(expected)


def test_importing_twice_or_under_another_name_adds_nothing(tmp_path, store, place):
    files = made.folder(tmp_path / "results", 3)
    twin = tmp_path / "twin.json"
    twin.write_bytes(files[0].read_bytes())
    assert "3 new" in invoke("import", *files, files[0], *place).stdout
    before = {table: store.sql(f"FROM {table}") for table in ("runs", "published_curves")}
    again = invoke("import", twin, *files, *place)
    assert again.exit_code == 0
    assert "(0 new, 4 stored before)" in again.stdout
    for table, rows in before.items():
        assert_frame_equal(store.sql(f"FROM {table}"), rows, check_row_order=False)
    assert set(before["published_curves"]["file"]) == {file.name for file in files}


def test_files_asked_together_say_what_each_says(tmp_path):
    files = tuple(PublishedFile.read(path) for path in made.folder(tmp_path / "results", 3))
    together = PublishedFiles(files=files).run(lambda *_: None)["published_curves"]
    apart = [file.run(lambda *_: None)["published_curves"] for file in files]
    assert_frame_equal(together, pl.concat(apart))
    assert together["file"].n_unique() == 3


def test_every_format_in_one_call(tmp_path, store, place):
    texts = {
        "a": json.dumps(made.ablation(0)),
        "b": json.dumps(made.detection()),
        "c": json.dumps(made.LISTED),
        "d": json.dumps(made.PAIRS),
        "e": made.TABLE,
        "f": made.LAG,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert invoke("import", *(tmp_path / name for name in texts), *place).exit_code == 0
    formats = store.sql("SELECT DISTINCT file, format FROM published_rankings ORDER BY file").rows()
    assert formats == [("b", "detection"), ("c", "listed"), ("d", "pairs"), ("e", "table")]
    assert store.sql("SELECT lag, p FROM published_lags").rows() == [(-1, 0.125), (0, 0), (1, 0.75)]
    assert store.sql("SELECT DISTINCT experiment FROM runs").rows() == [("PublishedFile",)]


def test_what_cannot_be_read_is_named_and_the_rest_is_kept(tmp_path, store, place):
    good, *_ = made.folder(tmp_path / "results", 1)
    bad, odd = tmp_path / "bad.json", tmp_path / "odd.json"
    bad.write_text("{\n]")
    wrong = made.ablation(1)
    wrong["top_heads_ablations"][0]["accuracy_drop"] = 0.99
    odd.write_text(json.dumps(wrong))
    done = invoke("import", bad, good, tmp_path / "none.json", tmp_path, odd, *place)
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    lines = said(done)
    assert len(lines) == 4, done.stderr
    assert lines[0].startswith(f"headbook: {bad}: expected JSON, got a mistake at line 2")
    assert "none.json: expected a file, found none" in lines[1]
    assert lines[2].startswith(f"headbook: {tmp_path}: expected a file")
    assert "odd.json: kept as stated; first of all, " in lines[3]
    assert "2 files read (2 new, 0 stored before), 3 refused" in done.stdout
    kept = "SELECT count(*), max(stated_drop) FROM published_curves WHERE remark IS NOT NULL"
    assert store.sql(kept).rows() == [(1, 0.99)]


def test_nothing_but_refusals_leaves_an_empty_store(tmp_path, store, place):
    bad = tmp_path / "bad.json"
    bad.write_bytes(b"\xff\xfe")
    done = invoke("import", bad, *place)
    assert done.exit_code == 2
    assert "0 files read (0 new, 0 stored before), 1 refused; no rows" in done.stdout
    assert store.runs() == ()


def test_a_file_without_permission_and_one_too_large(tmp_path, place, monkeypatch):
    file, *_ = made.folder(tmp_path / "results", 1)
    monkeypatch.setattr("analysis.studies.published.question.LARGEST_FILE", 100)
    assert "expected at most 0 MB" in invoke("import", file, *place).stderr
    monkeypatch.undo()

    def refused(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("analysis.studies.published.question.opened", refused)
    assert "got Permission denied; check" in invoke("import", file, *place).stderr


def test_a_detection_without_a_success_says_so(tmp_path, store, place):
    none = made.detection() | {"head_rankings": [], "successful_retrievals": 0}
    (tmp_path / "none.json").write_text(json.dumps(none))
    assert invoke("import", tmp_path / "none.json", *place).exit_code == 0
    absent = store.sql("SELECT model, score, reason FROM absences").rows()
    reason = "published file: 0 of 120 answered correctly, no scores"
    assert absent == [("model-0", "wu24", reason)]


def test_the_printed_tables_agree_with_their_files_in_the_last_row_only():
    tables = printed_tables().pivot("kind", index=("method", "family", "size"), values="points")
    top = tables.filter(family="top").with_columns(
        apart=(pl.col("printed") - pl.col("recomputed")).abs()
    )
    assert top.height == 2 * 6
    assert top.filter(size=50)["apart"].max() < 0.05
    assert top.filter((pl.col("size") < 50) & (pl.col("apart") < 0.05)).is_empty()
    assert printed_tables()["source"].str.len_chars().min() > 0


def test_printed_numbers_stand_beside_imported_ones(tmp_path, store, place):
    empty = beside_printed(store.sql("FROM published_drops"))
    assert (empty.height, empty["imported"].null_count()) == (24, 24)
    invoke("import", *made.folder(tmp_path / "results", 4), *place)
    drops = store.sql("FROM published_drops")
    beside = beside_printed(drops)
    assert (beside.height, beside["imported"].null_count()) == (24, 0)
    (row,) = beside.filter(method="Wu24", size=50, family="random").to_dicts()
    expected = drops.filter(method="wu24", size=50)["random"].item()
    assert (row["imported"], row["files"]) == (expected, 2)


@pytest.mark.parametrize("command", ["import", "export"])
def test_commands_show_an_example(command):
    assert f"headbook {command} " in invoke(command, "--help").output.split("Example:")[1]
