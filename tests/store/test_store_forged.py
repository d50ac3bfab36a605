"""A store made by somebody else: read as data, checked before it is believed, never a traceback."""

import io
import json
import os
from collections.abc import Callable
from hashlib import blake2b, sha256
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal
from pyarrow import parquet

from book.cli import cli
from store import (
    SCHEMA_VERSION,
    Store,
    StoreError,
    compact,
    damages,
    export_tables,
    merge,
    run_key,
    snapshot,
)
from store.files import _usual
from store.sandbox import _MANY_FILES, tables_named
from store.schema import LATER, schema

from .store_fakes import MODEL, Scores, Sweep, Told

SQL = "SELECT count(*), sum(value) FROM head_scores"
HEAD_SCORES = "FROM head_scores ORDER BY ALL"


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "store")
    store.recall(Sweep(seeds=(1, 2)))
    return store


def folder_of(store: Store, seed: int) -> Path:
    run = run_key(Scores(seed=seed))
    return next(part.folder for part in store.parts.current() if run in part.keys)


def forge(folder: Path, table: str, data: bytes | None, rows: int | None = None) -> None:
    """Put other bytes in the place of a file, with a manifest that promises them."""
    path, manifest = folder / f"{table}.parquet", folder / "part.json"
    told = json.loads(manifest.read_text())
    path.unlink()
    if data is None:
        del told["files"][table]
    else:
        path.write_bytes(data)
        file = told["files"][table]
        file |= {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
        file["rows"] = file["rows"] if rows is None else rows
    manifest.unlink()
    manifest.write_text(json.dumps(told))


def written(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def rows(store: Store, seed: int) -> pl.DataFrame:
    return pl.read_parquet(folder_of(store, seed) / "head_scores.parquet")


FORGERIES = {
    "another type": lambda frame: written(frame.with_columns(pl.col("layer").cast(pl.Int64))),
    "a column less": lambda frame: written(frame.drop("chance")),
    "a column more": lambda frame: written(frame.with_columns(more=1)),
    "another table": lambda frame: written(pl.DataFrame({"x": [1]})),
    "no Parquet": lambda frame: b"PAR1 nothing PAR1",
    "a footer too long": lambda frame: written(frame)[:-8] + b"\xff\xff\xff\x7fPAR1",
    "fewer rows": lambda frame: written(frame.head(3)),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_what_does_not_fit_its_table_is_named_and_set_aside(store, how):
    folder = folder_of(store, 1)
    forge(folder, "head_scores", FORGERIES[how](rows(store, 1)))
    reader = Store.existing(store.root)
    assert reader.sql(SQL).row(0)[0] == 32
    (error,) = reader.parts.unfit.values()
    assert folder.name in str(error) and "head_scores.parquet" in str(error)
    assert "\n" not in str(error) and "run" in str(error)
    with pytest.raises(StoreError, match="headbook store prune"):
        reader.recall(Scores(seed=1))
    assert reader.recall(Scores(seed=2))["head_scores"].height == 32


@pytest.mark.parametrize("n_runs", [1, _MANY_FILES + 1])
def test_a_part_of_before_reads_as_null_what_came_later(tmp_path, n_runs):
    """Claims of schema 6 beside such as are written today, whichever file is read first."""
    store, names = Store.open(tmp_path / "store"), list(schema().tables["claims"])
    claim = dict.fromkeys(("claim", "statement", "statistic", "verdict", "chapter"), "x")
    numbers = dict.fromkeys(names[4:11], 0.5) | {"p": 0.25, "n_null": 3, "evidence": "[]"}
    frame = pl.DataFrame([claim | numbers])
    asked = [Told(answer={"claims": frame}, asked={"n": n}) for n in range(2 * n_runs)]
    for one in asked:
        store.recall(one)
    for one in asked[::2]:
        run = run_key(one)
        folder = next(part.folder for part in store.parts.current() if run in part.keys)
        before = pl.read_parquet(folder / "claims.parquet").drop(LATER["claims"])
        forge(folder, "claims", written(before))
    reader = Store.existing(store.root)
    counts = "SELECT count(*), count(p), sum(n_null), count(beyond) FROM claims"
    expected = (2 * n_runs, n_runs, 3 * n_runs, 0)
    assert reader.sql(counts).row(0) == expected
    assert reader.connect().execute(counts).fetchone() == expected
    assert reader.sql("SELECT count(p) FROM verdicts").item() == n_runs
    old, new = (reader.recall(one)["claims"] for one in asked[:2])
    assert old.schema == new.schema
    assert (old["p"].item(), new["p"].item()) == (None, 0.25)
    assert damages(reader) == {} and not reader.parts.unfit
    compact(reader)
    assert Store.existing(store.root).sql(counts).row(0) == expected


def null(name: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.lit(None, frame.schema[name]).alias(name))


LIES = {
    "NaN": ("head_scores", lambda frame: frame.with_columns(value=pl.lit(float("nan")))),
    "NaN where NULL may be": ("head_scores", lambda frame: frame.with_columns(lower=float("nan"))),
    "NULL": ("head_scores", null("score")),
    "one NULL": (
        "head_scores",
        lambda frame: pl.concat([frame[1:], null("value")(frame[:1])]),
    ),
    "no run": ("head_scores", null("run")),
    "rows of another run": ("head_scores", lambda frame: frame.with_columns(run=pl.lit("0" * 32))),
    "text that is none": ("head_scores", lambda frame: frame.with_columns(text=pl.lit("q" * 9))),
    "two rows of a run": ("runs", lambda frame: pl.concat([frame, frame])),
    "NULL of a run": ("runs", null("parameters")),
    "NULL of a model": ("models", null("weights")),
    "a text without its id": ("texts", null("text")),
}
"""What is promised by a manifest, and can be in no table."""

EVERY = "SELECT count(*), sum(value) FROM head_scores JOIN runs USING (run), models, texts"


def lie(store: Store, how: str) -> Path:
    """Forge the part of seed 1, as a stranger can whose manifest fits."""
    folder, (table, change) = folder_of(store, 1), LIES[how]
    path = folder / f"{table}.parquet"
    buffer = io.BytesIO()
    frame = change(pl.read_parquet(path))
    frame.write_parquet(buffer, compression="uncompressed")
    forge(folder, table, buffer.getvalue().replace(b"q" * 9, b"\xff" * 9), frame.height)
    return folder


@pytest.mark.parametrize("how", LIES)
def test_rows_that_cannot_be_are_damage_and_are_not_merged(store, how):
    folder, (table, _) = lie(store, how), LIES[how]
    if table == "head_scores":
        with pytest.raises(StoreError, match=rf"{folder.name}.*headbook store prune") as refusal:
            Store.open(store.root).recall(Scores(seed=1))
        assert "\n" not in str(refusal.value)
    writer = Store.open(store.root)
    assert compact(writer) == 0
    assert list(writer.parts.unfit) == [folder.name]
    assert writer.sql(SQL).row(0)[0] == 32


@pytest.mark.parametrize("how", LIES)
def test_a_query_sets_rows_that_cannot_be_aside(store, how):
    folder = lie(store, how)
    reader = Store.existing(store.root)
    assert reader.sql(EVERY).row(0)[0] == 32
    assert list(reader.parts.unfit) == [folder.name]


def test_a_query_checks_the_values_of_few_parts_and_leaves_those_of_many(store, monkeypatch):
    lie(store, "one NULL")
    monkeypatch.setattr("store.results._FEW_PARTS", 0)
    reader = Store.existing(store.root)
    assert reader.sql(SQL).row(0)[0] == 64
    assert not reader.parts.unfit


@pytest.mark.parametrize("how", LIES)
def test_a_lie_is_not_copied_from_another_store_and_the_rest_is(store, tmp_path, how):
    folder, ours = lie(store, how), Store.open(tmp_path / "ours")
    fresh, (error,) = merge(ours, store.root)
    assert fresh == 1 and folder.name in str(error) and str(store.root) in str(error)
    assert damages(ours) == {} and ours.present([run_key(Scores(seed=2))])
    done = CliRunner().invoke(cli, ["merge", str(store.root), "--store", str(tmp_path / "more")])
    assert done.exit_code == 2 and "1 new runs" in done.stdout
    assert f"headbook: not copied: expected the part {folder}" in done.stderr


@pytest.mark.parametrize("how", LIES)
@pytest.mark.parametrize("form", ["parquet", "duckdb"])
def test_a_lie_is_named_and_not_exported_and_the_rest_is(store, tmp_path, how, form):
    folder, out = lie(store, how), tmp_path / "out"
    given = ["export", str(out), "--store", str(store.root), "--format", form]
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == 2, done.output
    assert folder.name in done.stderr and len(done.stderr.splitlines()) == 1
    found = f"'{out}/parquet/head_scores.parquet'" if form == "parquet" else "head_scores"
    with duckdb.connect(":memory:" if form == "parquet" else out / "results.duckdb") as connection:
        assert connection.execute(f"SELECT count(*) FROM {found}").fetchall() == [(32,)]


def test_a_lie_stops_no_snapshot(store):
    folder = lie(store, "one NULL")
    reader = Store.existing(store.root)
    with duckdb.connect(snapshot(reader), read_only=True) as connection:
        assert connection.execute(SQL).fetchall()[0][0] == 32
    assert list(reader.parts.unfit) == [folder.name]


def test_a_lie_in_a_large_part_hides_none_of_the_small_ones_that_it_was_made_of(store, tmp_path):
    sound = store.sql(HEAD_SCORES)
    compact(store)
    (large,) = [part for part in store.parts.current() if len(part.keys) == 2]
    forge(large.folder, "head_scores", written(null("score")(rows(store, 1))))
    assert Store.existing(store.root).sql(HEAD_SCORES).equals(sound)
    assert merge(Store.open(tmp_path / "ours"), store.root)[0] == 2


@pytest.mark.parametrize("number", [float("inf"), float("-inf")])
def test_infinity_is_a_value(store, tmp_path, number):
    frame = rows(store, 1).with_columns(value=number)
    forge(folder_of(store, 1), "head_scores", written(frame))
    reader, ours = Store.existing(store.root), Store.open(tmp_path / "ours")
    asked = "SELECT DISTINCT value FROM head_scores WHERE isinf(value)"
    assert reader.sql(asked).item() == reader.recall(Scores(seed=1))["head_scores"]["value"][0]
    assert merge(ours, store.root) == (2, []) and ours.sql(asked).item() == number
    export_tables(ours, tmp_path / "out", ["csv"])
    told = (tmp_path / "out" / "csv" / "head_scores.csv").read_text()
    assert told.count(f",{number},") == 32
    assert damages(ours) == damages(reader) == {}


def test_an_answer_without_a_table_says_run_again_and_no_key_error(store):
    answer = store.recall(Scores(seed=1))
    with pytest.raises(StoreError, match=rf"rows of claims .*run {answer.runs[0]} again"):
        answer["claims"]
    folder = folder_of(store, 2)
    forge(folder, "head_scores", None)
    with pytest.raises(StoreError, match=r"part\.json of something else"):
        Store.open(store.root).recall(Scores(seed=2))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "6"},
        {"schema": True},
        {"schema": -1},
        {"files": []},
        {"keys": {"x": 1}},
        {"keys": None},
        {"files": {"../../x": {"sha256": "", "bytes": 0, "rows": 0}}},
        {"files": {"head_scores": {"sha256": 1, "bytes": 1.5, "rows": 2**70}}},
    ],
)
def test_a_forged_manifest_is_damage_of_its_part_alone(store, change):
    manifest = folder_of(store, 1) / "part.json"
    told = json.loads(manifest.read_text()) | change
    manifest.unlink()
    manifest.write_text(json.dumps(told))
    reader = Store.existing(store.root)
    assert reader.sql(SQL).row(0)[0] == 32
    assert list(reader.parts.unfit) == [manifest.parent.name]


@pytest.mark.parametrize("number", ["9" * 999, -1, 1.5, True, 2**63, None, [1]])
@pytest.mark.parametrize("size", ["schema", "bytes of head_scores", "rows of head_scores"])
def test_a_size_that_is_no_integer_is_named_with_its_value(store, size, number):
    manifest = folder_of(store, 1) / "part.json"
    told = json.loads(manifest.read_text())
    (told["files"]["head_scores"] if " of " in size else told)[size.split(" of ")[0]] = number
    manifest.unlink()
    manifest.write_text(json.dumps(told))
    reader = Store.existing(store.root)
    assert reader.sql(SQL).row(0)[0] == 32
    (error,) = reader.parts.unfit.values()
    assert f"expected sizes as integers, got {number!r:.40} as {size})" in str(error)


IGNORED = {
    "of the part": lambda told: told | {"more": [1, {"x": None}]},
    "of a unit": lambda told: (
        told | {"keys": {run: unit | {"more": 1} for run, unit in told["keys"].items()}}
    ),
    "another experiment": lambda told: (
        told | {"keys": {run: unit | {"experiment": "X"} for run, unit in told["keys"].items()}}
    ),
    **{f"schema {n}": lambda told, n=n: told | {"schema": n} for n in range(SCHEMA_VERSION)},
}


@pytest.mark.parametrize("how", IGNORED)
def test_what_a_manifest_may_say_besides(store, how):
    manifest, sound = folder_of(store, 1) / "part.json", store.sql("FROM runs ORDER BY run")
    told = IGNORED[how](json.loads(manifest.read_text()))
    manifest.unlink()
    manifest.write_text(json.dumps(told))
    reader = Store.existing(store.root)
    assert reader.sql("FROM runs ORDER BY run").equals(sound)
    assert reader.recall(Scores(seed=1))["head_scores"].height == 32
    assert damages(reader) == {} and not reader.parts.unfit


def test_what_a_manifest_says_of_a_file_is_three_things(store):
    manifest = folder_of(store, 1) / "part.json"
    told = json.loads(manifest.read_text())
    told["files"]["runs"]["more"] = 1
    manifest.unlink()
    manifest.write_text(json.dumps(told))
    assert list(damages(Store.existing(store.root))) == [manifest.parent.name]


def test_a_footer_that_we_write_is_known_by_its_beginning_and_others_are_parsed(tmp_path):
    """The quick way accepts what the slow one does, and neither takes another schema."""
    for table, columns in schema().tables.items():
        usual = _usual(table)
        for other in schema().tables:
            assert (
                other == table
                or not _usual(other).startswith(usual)
                or columns.keys() == (schema().tables[other].keys())
            )
    store = Store.open(tmp_path / "store")
    store.recall(Scores(seed=1))
    sound, frame = store.sql(SQL), rows(store, 1)
    buffer = io.BytesIO()
    parquet.write_table(frame.to_arrow(), buffer)
    assert _usual("head_scores") not in buffer.getvalue(), "another program's footer"
    forge(folder_of(store, 1), "head_scores", buffer.getvalue())
    reader = Store.open(store.root)
    assert reader.sql(SQL).equals(sound) and not reader.parts.unfit
    assert reader.recall(Scores(seed=1))["head_scores"].equals(frame)


def test_a_store_is_written_from_its_description_alone(tmp_path):
    """By the letter of docs/store_format.md, with Arrow: no line of ours helps."""
    root, run = tmp_path / "theirs", "ab" * 16
    name = blake2b(json.dumps([run]).encode(), digest_size=16).hexdigest()
    part = root / "parts" / name
    part.mkdir(parents=True)
    (root / "store.json").write_text('{"format": 1, "schema": 7}')
    scores = pa.table(
        {
            "run": [run] * 3,
            "model": [MODEL["model"]] * 3,
            "text": pa.array([None] * 3, pa.string()),
            "score": ["induction"] * 3,
            "data": ["repeated"] * 3,
            "layer": pa.array([0, 0, 1], pa.int16()),
            "head": pa.array([0, 1, 0], pa.int16()),
            "sequence": pa.array([None] * 3, pa.int32()),
            "value": [0.25, 0.5, 0.75],
            "lower": pa.array([None] * 3, pa.float64()),
            "upper": pa.array([None] * 3, pa.float64()),
            "n": pa.array([None] * 3, pa.int32()),
            "chance": pa.array([None] * 3, pa.float64()),
        }
    )
    parquet.write_table(scores, part / "head_scores.parquet")
    data = (part / "head_scores.parquet").read_bytes()
    file = {"sha256": sha256(data).hexdigest(), "bytes": len(data), "rows": 3}
    keys = {run: {"experiment": "Theirs", "tables": ["head_scores"]}}
    manifest = {"schema": 7, "keys": keys, "files": {"head_scores": file}}
    (part / "part.json").write_text(json.dumps(manifest))
    theirs, ours = Store.existing(root), Store.open(tmp_path / "ours")
    assert theirs.sql(SQL).row(0) == (3, 1.5)
    assert not theirs.parts.unfit
    ours.recall(Scores(seed=1))
    assert merge(ours, root) == (1, [])
    assert ours.sql(SQL).row(0)[0] == 35
    assert sorted(path.name for path in root.iterdir()) == ["parts", "store.json"]


# what a query reads


def test_many_small_files_and_few_large_ones_answer_alike(store, monkeypatch):
    queries = [
        SQL,
        "SELECT count(*) FROM head_scores",
        "SELECT n, avg(value) FROM head_scores WHERE layer IN (1, 2) GROUP BY n ORDER BY n",
        "SELECT max(value) FROM head_scores WHERE sequence IS NULL AND score = 'induction'",
        "SELECT started < now()::TIMESTAMP, experiment FROM runs ORDER BY run",
        "SELECT bos, n_tokens, name FROM texts",
        "FROM head_atlas ORDER BY layer, head LIMIT 5",
    ]
    few = [store.sql(query) for query in queries]
    monkeypatch.setattr("store.sandbox._MANY_FILES", 0)
    many = [store.sql(query) for query in queries]
    assert _MANY_FILES > 1
    for one, other in zip(few, many, strict=True):
        assert_frame_equal(one, other)


def test_a_query_reads_the_tables_that_it_names_and_those_of_its_views():
    assert tables_named("SELECT 1") == set()
    assert tables_named('select * from "Head_Scores" -- runs') == {"head_scores", "runs"}
    assert tables_named("FROM strongest_heads") == {"head_scores"}
    assert tables_named("FROM query_table('r' || 'uns')") == schema().tables.keys()


def test_a_table_that_is_reached_without_its_name_is_read_all_the_same(store, monkeypatch):
    asked = list[frozenset[str]]()
    pins_of = Store._pins_of_query
    monkeypatch.setattr(
        Store, "_pins_of_query", lambda s, q, tables: asked.append(tables) or pins_of(s, q, tables)
    )
    monkeypatch.setattr("store.sandbox._ANYTHING", set())
    assert store.sql("SELECT count(*) FROM query_table('head_' || 'scores')").item() == 64
    assert [len(tables) for tables in asked] == [0, len(schema().tables)]
    assert store.sql("DESCRIBE claims").height == len(schema().tables["claims"])


# looking


def test_looking_writes_nothing(store):
    def seen() -> list[tuple[str, int, int]]:
        return sorted(
            (str(path), path.lstat().st_mtime_ns, path.lstat().st_ino)
            for path in [store.root, *store.root.rglob("*")]
        )

    (store.root / "tmp").rmdir()
    (store.root / "catalog.json").unlink()
    before = seen()
    reader = Store.open(store.root)
    reader.recall(Scores(seed=1))
    reader.sql(SQL)
    reader.run_rows(reader.runs())
    assert seen() == before
    with pytest.raises(StoreError, match=r"expected a store at .*got nothing there"):
        Store.existing(store.root / "none")
    assert seen() == before


def test_the_first_write_deletes_nothing_behind_a_link(store, tmp_path):
    """What was once swept: the old folders of somebody else."""
    theirs = tmp_path / "theirs"
    (theirs / f"{'a' * 32}-{'b' * 32}").mkdir(parents=True)
    (theirs / f"{'a' * 32}-{'b' * 32}" / "part.json").write_text("mine")
    for path in [*theirs.rglob("*")]:
        os.utime(path, (1, 1))
    (store.root / "tmp").rmdir()
    (store.root / "tmp").symlink_to(theirs)
    with pytest.raises(StoreError, match=r"expected a folder at .*tmp, got a symbolic link"):
        store.recall(Scores(seed=3))
    with pytest.raises(StoreError, match="got a symbolic link, which is left alone"):
        Store.open(store.root)
    assert (theirs / f"{'a' * 32}-{'b' * 32}" / "part.json").read_text() == "mine"


@pytest.mark.parametrize("how", LIES)
def test_verifying_finds_rows_that_cannot_be(store, how):
    folder = lie(store, how)
    assert list(damages(Store.existing(store.root))) == [folder.name]
