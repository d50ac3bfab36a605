import json
import os
import time
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

from book.cli import cli
from store import (
    SCHEMA_VERSION,
    Store,
    StoreError,
    compact,
    conflicts,
    contents,
    damages,
    prune,
    run_key,
)
from store.manifests import Unit, part_name
from store.pins import pin

from .store_fakes import MODEL, TEXT, Scores, Sweep, Told, head_scores


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


def part_of(store: Store, seed: int):
    run = run_key(Scores(seed=seed))
    return next(pinned.part for pinned in pin(store.parts.current()) if run in pinned.part.keys)


def merged(store: Store, *seeds: int) -> None:
    """Publish some stored units again, as one part."""
    answer = store.recall(Sweep(seeds=seeds))
    frames = {
        "head_scores": answer["head_scores"],
        "runs": store.run_rows(answer.runs).select(store.sql("FROM runs").columns),
    }
    units = dict.fromkeys(answer.runs, Unit("Scores", ["head_scores"]))
    store.parts.publish(frames, units)


def test_publishing_twice_changes_nothing(store):
    frames = {"head_scores": head_scores(1, 5).with_columns(run=pl.lit("a"))}
    units = {"a": Unit("Scores", ["head_scores"])}
    name = store.parts.publish(frames, units)
    before = sorted((path, path.stat().st_mtime_ns) for path in store.parts.folder.rglob("*"))
    assert store.parts.publish(frames, units) == name == part_name(["a"])
    assert before == sorted((p, p.stat().st_mtime_ns) for p in store.parts.folder.rglob("*"))
    assert list(store.parts.tmp.iterdir()) == []


def test_parts_are_plain_parquet_and_immutable(store):
    store.recall(Scores(seed=1))
    folder = part_of(store, 1).folder
    files = sorted(path.name for path in folder.iterdir())
    assert files == [
        "head_scores.parquet",
        "models.parquet",
        "part.json",
        "runs.parquet",
        "texts.parquet",
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    assert pl.read_parquet(folder / "head_scores.parquet").height == 32


def test_a_connection_sees_one_moment_across_tables(store):
    store.recall(Scores(seed=1))
    with store.connect() as connection:
        for query in ("FROM head_scores", "FROM runs"):
            before = connection.sql(query).pl()
            store.recall(Scores(seed=before.height + 2))
            assert_frame_equal(connection.sql(query).pl(), before)
    assert store.sql("SELECT count(*) FROM runs").item() == 3


def test_stale_leftovers_are_swept_and_fresh_ones_are_not(store):
    store.recall(Scores(seed=1))
    dead, alive, strange = f"{'a' * 32}-{'d' * 32}", f"{'b' * 32}-{'d' * 32}", "not-ours"
    for name, age in ((dead, 2), (alive, 0), (strange, 2)):
        (store.parts.tmp / name).mkdir()
        (store.parts.tmp / name / "x.parquet").write_bytes(b"half")
        then = time.time() - age * 24 * 3600
        os.utime(store.parts.tmp / name, (then, then))
    store.recall(Scores(seed=2))
    assert sorted(path.name for path in store.parts.tmp.iterdir()) == [alive, strange]


def damage(store: Store, seed: int, how: str) -> None:
    path = Path(part_of(store, seed).path("head_scores"))
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flip":
        data[len(data) // 2] ^= 1
    elif how == "truncate":
        del data[-10:]
    if how == "symlink":
        path.symlink_to("/etc/passwd")
    elif how != "delete":
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["flip", "truncate", "delete", "symlink"])
def test_a_damaged_part_names_the_run_to_repeat_and_can_be_repaired(store, tmp_path, how):
    undisturbed = store.recall(Sweep(seeds=(1, 2)))["head_scores"]
    name = part_of(store, 1).name
    damage(store, 1, how)
    reader = Store.open(tmp_path / "store")
    remedy = f"`headbook store prune`, then repeat the run {run_key(Scores(seed=1))} \\(Scores\\)"
    with pytest.raises(StoreError, match=remedy) as refusal:
        reader.recall(Scores(seed=1))
    assert "\n" not in str(refusal.value)
    reader = Store.open(tmp_path / "store")
    assert reader.sql("SELECT DISTINCT n FROM head_scores").rows() == [(2,)]
    assert str(reader.parts.unfit[name]) == str(refusal.value)
    assert reader.recall(Scores(seed=2))["head_scores"].height == 32
    assert list(damages(reader)) == [name]
    assert prune(reader) == [name]
    again = Sweep(seeds=(1, 2))
    assert_frame_equal(reader.recall(again)["head_scores"], undisturbed)
    assert again.runs == [1]
    assert damages(store) == {}
    assert_frame_equal(store.recall(again)["head_scores"], undisturbed)


@pytest.mark.parametrize("text", ["", "{}", '{"keys": {}, "schema": 1, "files": {}}', "[]"])
def test_a_damaged_manifest_is_damage(store, text):
    store.recall(Scores(seed=1))
    manifest = part_of(store, 1).folder / "part.json"
    manifest.unlink()
    manifest.write_text(text)
    reader = Store.open(store.root)
    with pytest.raises(StoreError, match=r"part\.json.*headbook store prune") as refusal:
        reader.recall(Scores(seed=1))
    assert manifest.parent.name in str(refusal.value)
    assert reader.recall(Scores(seed=2))["head_scores"].height == 32
    prune(reader)
    assert reader.recall(Scores(seed=1))["head_scores"].height == 32


def test_a_part_of_a_newer_headbook_is_not_damage(store):
    store.recall(Scores(seed=1))
    manifest = part_of(store, 1).folder / "part.json"
    newer = manifest.read_text().replace(
        f'"schema": {SCHEMA_VERSION}', f'"schema": {SCHEMA_VERSION + 1}'
    )
    manifest.unlink()
    manifest.write_text(newer)
    with pytest.raises(StoreError, match=rf"got schema {SCHEMA_VERSION + 1} .*update headbook"):
        prune(Store.open(store.root))
    assert manifest.exists()


def test_compaction_changes_no_answer(store):
    seeds = tuple(range(12))
    before = store.recall(Sweep(seeds=seeds))
    runs = store.sql("FROM runs ORDER BY run")
    assert compact(store) == 12
    assert compact(store) == 0 or len(pin(store.parts.current())) == 2
    assert len(store.parts.names()) == 14
    after = Sweep(seeds=seeds)
    assert_frame_equal(store.recall(after)["head_scores"], before["head_scores"])
    assert_frame_equal(store.sql("FROM runs ORDER BY run"), runs)
    assert store.sql("SELECT count(*) FROM head_scores").item() == 12 * 32
    assert prune(store) == []
    assert len(prune(store, grace_s=-1)) == 12
    assert_frame_equal(store.recall(after)["head_scores"], before["head_scores"])
    assert after.runs == []
    assert store.sql("FROM models").height == 1


def test_a_reader_goes_on_through_compaction(store):
    store.recall(Sweep(seeds=(1, 2, 3)))
    with store.connect() as connection:
        before = connection.sql("FROM head_scores").pl()
        compact(store)
        prune(store)
        assert_frame_equal(connection.sql("FROM head_scores").pl(), before)


def test_no_row_is_seen_twice_where_parts_overlap(store):
    store.recall(Sweep(seeds=(1, 2, 3, 4)))
    merged(store, 1, 2)
    merged(store, 2, 3, 4)
    merged(store, 1, 2, 4)
    count = "SELECT count(*), count(DISTINCT (run, layer, head)) FROM head_scores"
    assert store.sql(count).row(0) == (128, 128)
    with store.connect() as connection:
        assert connection.execute(count).fetchall() == [(128, 128)]
    before = store.recall(Sweep(seeds=(4, 3, 2, 1)))["head_scores"]
    compact(store)
    prune(store, grace_s=-1)
    assert store.sql(count).row(0) == (128, 128)
    assert_frame_equal(store.recall(Sweep(seeds=(4, 3, 2, 1)))["head_scores"], before)


def test_contents_count_what_is_visible(store):
    store.recall(Sweep(seeds=(1, 2)))
    row = contents(store).row(by_predicate=pl.col("table") == "head_scores", named=True)
    assert (row["rows"], row["parts"]) == (64, 2)
    assert contents(store).filter(table="claims")["rows"].item() == 0


def test_contents_count_as_queries_do(store):
    """A model twice in a part, by different provenance, and in many parts; runs in two parts."""
    store.recall(Sweep(seeds=(1, 2, 3, 4)))
    merged(store, 1, 2)
    merged(store, 2, 3, 4)
    moved = pl.DataFrame([MODEL, {**MODEL, "name": "moved"}])
    store.recall(Told(answer={}, about={"models": moved, "texts": pl.DataFrame([TEXT])}))
    told = dict(contents(store).select("table", "rows").iter_rows())
    counted = {table: store.sql(f"SELECT count(*) FROM {table}").item() for table in told}
    assert told == counted
    assert told["models"] == told["texts"] == 1 and told["head_scores"] == 128
    shown = CliRunner().invoke(cli, ["store", "--store", str(store.root)]).output
    assert "…" not in shown and all(f" {table} " in shown for table in told)


def test_what_is_no_part_is_named_and_left_alone(store):
    store.recall(Scores(seed=1))
    odd = ("notes.txt", "A" * 32, "0" * 31, ".DS_Store", "copy of a part")
    for name in odd:
        (store.parts.folder / name).mkdir()
    for action in ("show", "verify", "compact", "prune"):
        done = CliRunner().invoke(cli, ["store", action, "--store", str(store.root)])
        told = [line for line in done.stderr.splitlines() if "left alone" in line]
        assert done.exit_code == 0
        assert told == [f"headbook: not headbook's, left alone: parts/{x}" for x in sorted(odd)]
    assert all((store.parts.folder / name).is_dir() for name in odd)


@pytest.mark.parametrize("name", ["notes.txt", "forged\nheadbook: all is well"])
def test_what_is_not_ours_in_a_part_is_named_where_it_keeps_the_part(store, name):
    store.recall(Scores(seed=1))
    (part,) = (part for part in store.parts.current() if part.keys)
    (part.folder / name).write_text("mine")
    Path(part.path("runs")).write_text("damage")
    for action in ("verify", "prune"):
        done = CliRunner().invoke(cli, ["store", action, "--store", str(store.root)])
        *_, line = (line for line in done.stderr.splitlines() if "left alone" in line)
        shown = name.replace("\n", "\\n")
        assert line == f"headbook: not headbook's, left alone: parts/{part.name}/{shown}"
        assert done.exit_code == 2
    assert (part.folder / name).read_text() == "mine"


TWOFOLD = {
    "other values": (lambda frame: frame.with_columns(value=pl.col("value") + 1), True),
    "a row less": (lambda frame: frame.tail(-1), True),
    "a row twice": (lambda frame: pl.concat([frame, frame.tail(1)]), True),
    "NULL for a value": (lambda frame: frame.with_columns(chance=pl.lit(None, pl.Float64)), True),
    "another order": (lambda frame: frame.reverse(), False),
    "the same": (lambda frame: frame, False),
}


@pytest.mark.parametrize("how", TWOFOLD)
def test_two_answers_to_one_question_are_named(store, how):
    store.recall(Sweep(seeds=(1, 2, 3)))
    change, differs = TWOFOLD[how]
    merged(store, 1, 2)
    run = run_key(Scores(seed=1))
    (part,) = (part for part in store.parts.current() if part.keys.keys() == {run})
    path, manifest = Path(part.path("head_scores")), part.folder / "part.json"
    frame = change(pl.read_parquet(path))
    path.unlink()
    frame.write_parquet(path)
    told = json.loads(manifest.read_text())
    told["files"]["head_scores"] = {
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "rows": frame.height,
    }
    manifest.unlink()
    manifest.write_text(json.dumps(told))
    reader = Store.existing(store.root)
    assert damages(reader) == {}
    found = conflicts(reader)
    assert list(found) == [run] * differs
    done = CliRunner().invoke(cli, ["store", "verify", "--store", str(store.root)])
    assert done.exit_code == 2 * differs
    assert len(done.stderr.splitlines()) == differs and (run in done.stderr) == differs
    if differs:
        large = next(one.name for one in reader.parts.current() if len(one.keys) == 2)
        assert found[run] == (large, part.name)
        before = Store.open(store.root).recall(Scores(seed=1))["head_scores"]
        assert not before.equals(frame), "the larger part shows the run"
        ours = str(store.root.with_name("ours"))
        done = CliRunner().invoke(cli, ["merge", str(store.root), "--store", ours])
        assert (done.exit_code, run in done.stderr) == (2, True), "it shows one of the two"
        prune(reader, grace_s=-1)
        assert conflicts(reader) == {}
        assert_frame_equal(reader.recall(Scores(seed=1))["head_scores"], before)
