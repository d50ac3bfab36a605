"""Looking after a store: what is in it, is it sound, merge small parts, drop what none needs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import polars as pl

from .beneath import Folder
from .errors import DamagedPartError
from .experiment import terminal_bar
from .manifests import check_part, read_part
from .parts import DAY_S
from .pins import Pinned, pin, rank
from .schema import SUBJECTS, schema
from .values import rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .experiment import Progress
    from .manifests import Part
    from .results import Store

SMALL_ROWS, SMALL_UNITS = 50_000, 64
"""A part with fewer rows and fewer units than these is worth merging."""

FULL_ROWS, FULL_UNITS = 1_000_000, 256
"""A merged part grows no further than this."""


def contents(store: Store) -> pl.DataFrame:
    """What a store holds.

    Args:
        store: The store.

    Returns:
        One row per table: `table`, `rows` as a query counts them, `bytes`, and in how many
        `parts`.
    """
    counts = {table: [0, 0, 0] for table in schema().tables}
    pins = store.pins(None, ())  # whose files are not opened
    for pinned in pins:
        for table, file in pinned.part.files.items():
            for place, more in enumerate((file.rows, file.bytes, int(file.rows > 0))):
                counts[table][place] += more
    partly = {table for one in pins if not one.whole for table in one.part.files}
    for table in partly - {*SUBJECTS}:
        counts[table][0] = store.sql(f"SELECT count(*) FROM {table}").item()
    for table in SUBJECTS:
        found = _distinct(store, [one.part for one in pins if table in one.part.files], table)
        if found is None:
            return contents(store)
        counts[table][0] = found
    names = ("table", "rows", "bytes", "parts")
    return pl.DataFrame([(table, *count) for table, count in counts.items()], names, orient="row")


def _distinct(store: Store, parts: Sequence[Part], table: str) -> int | None:
    """How many subjects parts are about: they repeat them, mostly in files of the same bytes.

    None where one of them had to be set aside.
    """
    different = {part.files[table].sha256: part for part in parts}.values()
    if not all([store.parts.check(part, [table]) for part in different]):  # noqa: C419
        return None
    if not different:
        return 0
    paths = [part.path(table) for part in different]
    files = pl.scan_parquet(paths, glob=False, hive_partitioning=False, cache=False)
    try:
        return files.select(pl.col(next(iter(schema().tables[table]))).n_unique()).collect().item()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        store.true_pins()  # sets it aside
        return None


def damages(store: Store, progress: Progress | None = None) -> dict[str, DamagedPartError]:
    """Read every byte of every part, and compare with what was published.

    Args:
        store: The store.
        progress: Shows a bar; None for one on stderr after two seconds.

    Returns:
        What is wrong, by the name of the part; empty for a sound store.
    """
    found: dict[str, DamagedPartError] = {}
    names = store.parts.names()
    if not names:
        return found
    with (
        (progress or terminal_bar)("Verifying") as report,
        Folder.open(store.root) as root,
        root.below("parts") as parts,
    ):
        for index, name in enumerate(names):
            try:
                part = read_part(parts, name)
                check_part(part)
                for table in part.files:
                    rows_of(part, part.keys, table)
            except DamagedPartError as error:
                if parts.entry(name):  # else someone else has pruned it
                    found[name] = error
            report(index + 1, len(names), "")
    return found


def conflicts(store: Store) -> dict[str, tuple[str, ...]]:
    """Runs that lie in several parts with other rows in each: two answers to one question.

    When and where a run was computed may differ; what it answered may not.

    Args:
        store: The store.

    Returns:
        Names of the parts by run id, the first of which readers see.
    """
    holders: dict[str, list[Part]] = {}
    for part in sorted(store.parts.current(), key=rank):
        for run in part.keys:
            holders.setdefault(run, []).append(part)
    shared: dict[str, list[Part]] = {run: held for run, held in holders.items() if held[1:]}
    answers: dict[tuple[str, str], list[object]] = {}
    for part in {id(part): part for held in shared.values() for part in held}.values():
        with suppress(DamagedPartError):  # it is named as damaged
            for run, answer in _answers(part, part.keys.keys() & shared.keys()).items():
                answers[run, part.name] = answer
    found: dict[str, tuple[str, ...]] = {}
    for run, held in shared.items():
        told = [part.name for part in held if (run, part.name) in answers]
        if any(answers[run, name] != answers[run, told[0]] for name in told[1:]):
            found[run] = tuple(told)
    return found


def _answers(part: Part, runs: Collection[str]) -> dict[str, list[object]]:
    """What tells the answers of runs apart: tables, counts of rows, and hashes in any order."""
    check_part(part)
    found: dict[str, list[object]] = {run: [sorted(part.keys[run].tables)] for run in sorted(runs)}
    for table in sorted({table for run in runs for table in part.keys[run].tables}):
        rows = rows_of(part, runs, table)
        hashed = rows.select("run", row=rows.hash_rows())
        for run, n, total in hashed.group_by("run").agg(pl.len(), pl.col("row").sum()).rows():
            found[run].append((table, n, total))
    return found


def _rows(pinned: Pinned) -> int:
    return sum(file.rows for file in pinned.part.files.values())


def _groups(pins: Sequence[Pinned]) -> Iterator[list[Pinned]]:
    """Small parts in groups that make a merged one; never a group of one."""
    small = [
        pinned
        for pinned in pins
        if 0 < len(pinned.runs) < SMALL_UNITS and _rows(pinned) < SMALL_ROWS
    ]
    group: list[Pinned] = []
    for pinned in small:
        units = sum(len(member.runs) for member in [*group, pinned])
        if units > FULL_UNITS or sum(map(_rows, [*group, pinned])) > FULL_ROWS:
            yield group
            group = []
        group.append(pinned)
    if len(group) > 1:
        yield group


def _merged(group: Sequence[Pinned], table: str) -> pl.DataFrame:
    merged = pl.concat(
        rows_of(pinned.part, pinned.runs, table) for pinned in group if table in pinned.part.files
    )
    return merged.unique(maintain_order=True) if table in SUBJECTS else merged


def compact(store: Store, progress: Progress | None = None) -> int:
    """Merge small parts into larger ones, so that queries open fewer files.

    The small ones stay until `prune`; readers skip them, and those that had pinned them before
    go on undisturbed.

    Args:
        store: The store. Runs may be writing to it.
        progress: Shows a bar; None for one on stderr after two seconds.

    Returns:
        How many parts were merged.

    Raises:
        StoreError: The disk refuses.
    """
    groups, merged = list(_groups(store.pins())), 0
    with (progress or terminal_bar)("Merging parts") as report:
        for index, group in enumerate(groups):
            merged += len(group) * _publish(store, group)
            report(index + 1, len(groups), "")
    store.catalog.refresh()
    return merged


def _publish(store: Store, group: Sequence[Pinned]) -> bool:
    """Whether a group could be merged: forged rows of one part leave all as they are."""
    tables = dict.fromkeys(table for pinned in group for table in pinned.part.files)
    keys = {run: pinned.part.keys[run] for pinned in group for run in sorted(pinned.runs)}
    try:
        frames = {table: _merged(group, table) for table in tables}
    except DamagedPartError as error:
        store.parts.set_aside(next(one.part for one in group if error.runs & one.runs), error)
        return False
    store.parts.publish(frames, keys)
    return True


def _covered(store: Store, grace_s: float) -> list[str]:
    """Parts whose runs have all been shown by merged ones for longer than the grace."""
    parts = store.parts.current()
    pins = pin(parts)
    shown = {pinned.part.name for pinned in pins}
    since = {run: pinned.part.folder.stat().st_mtime for pinned in pins for run in pinned.runs}
    latest = store.parts.now() - grace_s
    return [
        part.name
        for part in parts
        if part.name not in shown and max(since[run] for run in part.keys) <= latest
    ]


def prune(store: Store, grace_s: float = DAY_S) -> list[str]:
    """Drop damaged parts, parts that merged ones have replaced, and stale temporary files.

    Args:
        store: The store.
        grace_s: Seconds that a replaced part is kept for readers that pinned it before, and
            that a dropped one is kept in `tmp/`.

    Returns:
        Names of the dropped parts; the runs of damaged ones are computed anew when asked for.

    Raises:
        StoreError: The disk refuses.
    """
    dropped = [name for name in damages(store) if store.parts.drop(name)]
    store.parts.create()
    dropped += [name for name in _covered(store, grace_s) if store.parts.drop(name)]
    store.parts.sweep(grace_s)
    store.catalog.refresh()
    return dropped
