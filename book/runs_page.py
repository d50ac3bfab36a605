"""The page that says where every number of the book comes from: one entry per run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from .inputs import BOOK, digest, file_digest, write_aside
from .links import RUNS_PAGE
from .page import Page, inert
from .places import Place, shown_in
from .tables import table_html

if TYPE_CHECKING:
    from pathlib import Path

    from .chapters import Record, RunStore

_INTRODUCTION = """(runs)=
# Runs

Every number in this book was read from a store of results. Each entry is one run: the question
that was asked, the model and the text it was asked of, what answered it, and the figures that show
it. The id is a digest of the whole question, so the same question has the same id everywhere.
"""
_MADE_BY = ("runs_page.py", "places.py", "tables.py")
_MACHINE = ("system", "processor", "cores")
_PRIVATE = ("host", *_MACHINE)
_HASHES = ("weights", "tokens", "commit")
_LONG = 90
"""Characters of a parameter's value that an entry shows; the whole question is folded below."""


def write_runs(source: Path, records: Mapping[str, Record], store: RunStore) -> int:
    """Write the source of the page, unless it stands there already.

    Args:
        source: Folder of the pages' source, all chapters written.
        records: The chapters by name.
        store: Where the runs are.

    Returns:
        The number of runs.
    """
    used = sorted({run for record in records.values() for run in record.runs})
    places = shown_in(source)
    known = json.dumps([used, {run: [str(p) for p in found] for run, found in places.items()}])
    mark = f"<!-- {digest([known.encode(), _layout()])} -->"
    page_path, fragments = source / f"{RUNS_PAGE}.md", source / f"{RUNS_PAGE}.fragments.json"
    if fragments.is_file() and mark in fragments.read_text(encoding="utf-8"):
        return len(used)
    page = Page()
    page.fragment(mark)
    text = _INTRODUCTION
    if used:
        rows = store.run_rows(used).sort("experiment", "version", "started", "run")
        text += f"\n{_summary(rows)}\n\n{page.block(table_html(_overview(rows), page))}\n"
        groups = rows.group_by("experiment", "version", maintain_order=True)
        for (experiment, version), group in groups:
            listed = "".join(
                _entry(row, places.get(row["run"], []), page) for row in group.iter_rows(named=True)
            )
            block = page.block(_folded(group, listed))
            text += f"\n## {experiment}, version {version}\n\n{block}\n"
        text += f"\n{page.block(page.island())}\n"
    write_aside(page_path, text.encode())
    write_aside(fragments, json.dumps(page.fragments).encode())
    return len(used)


def _folded(rows: pl.DataFrame, listed: str) -> str:
    """The entries of an experiment, behind how many there are; a link to one opens them."""
    count = f"{rows.height} {'run' if rows.height == 1 else 'runs'}"
    models = rows["model"].drop_nulls().n_unique()
    beside = f" on {models} models" if models > 1 else ""
    return (
        f'<details class="hb-accordion"><summary>{count}{beside}, in {_spent(rows)}</summary>'
        f'<div class="hb-run-list">{listed}</div></details>'
    )


def _spent(rows: pl.DataFrame) -> str:
    """How long runs took together."""
    took = float(rows["seconds"].sum())
    return f"{took / 60:.0f} minutes" if took >= 120 else f"{took:.2g} seconds"


def _layout() -> bytes:
    """What else the page is made of: these modules."""
    return "".join(file_digest(BOOK / name) for name in _MADE_BY).encode()


def _summary(rows: pl.DataFrame) -> str:
    """What all runs come to, as a sentence."""
    models = rows["model"].drop_nulls().n_unique()
    return (
        f"{rows.height} runs of {rows['experiment'].n_unique()} experiments on {models} "
        f"{'model' if models == 1 else 'models'} took {_spent(rows)} of computing."
    )


def _overview(rows: pl.DataFrame) -> pl.DataFrame:
    """All runs as a table to sort and filter."""
    return rows.select(
        run=pl.col("run").str.head(8),
        run_link=pl.format("run:{}", "run"),
        question="experiment",
        model=pl.coalesce("model_name", "model"),
        text=pl.coalesce("text_name", "text"),
        seconds="seconds",
    )


def _entry(row: dict[str, Any], places: list[Place], page: Page) -> str:
    run = str(row["run"])
    facts = {
        "model": _model(row),
        "weights": row.get("model_weights"),
        "text": _text(row),
        "tokens": row.get("text_tokens"),
        "parameters": _parameters(row.get("parameters")),
        "computed": _when(row),
        "hardware": _hardware(row),
        "with": _versions(row.get("packages")),
        "commit": row.get("git"),
    }
    lines = "".join(
        f"<div><dt>{name}</dt><dd>{_fact(name, str(value))}</dd></div>"
        for name, value in facts.items()
        if value not in (None, "")
    )
    shown = page.text(_shown(places, page)) if places else "no figure of its own"
    question = _pretty(row.get("parameters"))
    return (
        f'<section class="hb-run" id="run-{escape(run)}"><h3><code>{escape(run)}</code></h3>'
        f'<dl>{lines}<div class="hb-shown"><dt>shown in</dt><dd>{shown}</dd></div></dl>'
        f"<details><summary>the whole question</summary>"
        f'<pre class="hb-json">{question}</pre></details></section>'
    )


def _shown(places: list[Place], page: Page) -> str:
    """MyST that links to the places of a run, those of a chapter on one line."""
    lines: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    for place in places:
        titles[place.page] = place.title
        lines.setdefault(place.page, [])
        if place.figure:
            lines[place.page].append(f"{{numref}}`{place.figure}`")
        elif place.cell:
            words = escape(place.cell.replace("_", " "))
            link = f'<a href="{escape(place.href)}">{words}</a>'
            lines[place.page].append(page.inline(link))
    chapters = [
        page.inline(f'<a href="{escape(name)}.html">{escape(titles[name])}</a>')
        + (f": {', '.join(found)}" if found else "")
        for name, found in lines.items()
    ]
    return "\n\n" + "\n".join(f"- {line}" for line in chapters) + "\n\n"


def _fact(name: str, value: str) -> str:
    return f"<code>{escape(value)}</code>" if name in _HASHES else escape(value)


def _model(row: dict[str, Any]) -> str:
    name = row.get("model_name") or row.get("model") or ""
    if row.get("model_architecture") is None:
        return str(name)
    sizes = f"{row['model_n_layers']} layers, {row['model_n_heads']} heads a layer"
    return f"{name} ({row['model_architecture']}, {sizes}, {row['model_n_params']:,} parameters)"


def _text(row: dict[str, Any]) -> str:
    name = row.get("text_name") or row.get("text") or ""
    if row.get("text_n_sequences") is None:
        return str(name)
    size = f"{row['text_n_sequences']:,} sequences, {row['text_n_tokens']:,} tokens"
    bos = "each after BOS" if row.get("text_bos") else "without BOS"
    return f"{name} ({size}, {bos})"


def _parameters(question: object) -> str:
    """The parameters of a question, the dtype and the seed in a line; long values cut short."""
    try:
        asked: dict[str, Any] = json.loads(str(question))
    except ValueError:
        return ""
    own: Any = asked.get("parameters")
    found: dict[str, Any] = dict(own) if isinstance(own, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    plain = {name: asked[name] for name in sorted(asked.keys() - {"model", "tokens", "parameters"})}
    return "; ".join(f"{name} {_short(value)}" for name, value in {**found, **plain}.items())


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _when(row: dict[str, Any]) -> str:
    started, seconds = row.get("started"), row.get("seconds")
    when = f"{started:%Y-%m-%d %H:%M} UTC" if started is not None else "at an unknown time"
    return when + (f", in {seconds:.3g} s" if seconds is not None else "")


def _hardware(row: dict[str, Any]) -> str:
    machine = _packages(row.get("packages"))
    cores = f"{machine['cores']} cores" if machine.get("cores") else ""
    parts = (row.get("device"), machine.get("processor"), cores, machine.get("system"))
    return ", ".join(str(part) for part in parts if part)


def _versions(packages: object) -> str:
    versions = _packages(packages)
    return ", ".join(f"{name} {text}" for name, text in versions.items() if name not in _PRIVATE)


def _packages(packages: object) -> dict[str, Any]:
    try:
        return json.loads(str(packages))
    except ValueError:
        return {}


def _pretty(parameters: object) -> str:
    try:
        return escape(json.dumps(json.loads(str(parameters)), indent=2, ensure_ascii=False))
    except ValueError:
        return escape(inert(str(parameters)))
