"""The page that says where every number of the book comes from: one entry per run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from .inputs import digest, write_aside
from .links import RUNS_PAGE, page_name
from .page import inert

if TYPE_CHECKING:
    from pathlib import Path

    from .chapters import Record, RunStore

_INTRODUCTION = """(runs)=
# Runs

Every number in this book was read from a store of results. Each entry is one run: the question
that was asked, the model and the text it was asked of, and what answered it. The id is a digest
of the whole question, so the same question has the same id everywhere.
"""
_PRIVATE = ("host",)
_HASHES = ("weights", "tokens", "commit")


def write_runs(source: Path, records: Mapping[str, Record], store: RunStore) -> int:
    """Write the source of the page, unless it stands there already.

    Args:
        source: Folder of the pages' source.
        records: The chapters by name.
        store: Where the runs are.

    Returns:
        The number of runs.
    """
    used: dict[str, list[tuple[str, str]]] = {}
    for stem, record in sorted(records.items()):
        for run in record.runs:
            used.setdefault(run, []).append((f"{page_name(stem)}.html", record.title))
    mark = f"<!-- {digest([json.dumps(used, sort_keys=True).encode(), _layout()])} -->"
    page, fragments = source / f"{RUNS_PAGE}.md", source / f"{RUNS_PAGE}.fragments.json"
    if fragments.is_file() and mark in fragments.read_text(encoding="utf-8"):
        return len(used)
    text, pieces = _INTRODUCTION, [mark]
    if used:
        rows = store.run_rows(sorted(used)).sort("experiment", "version", "started", "run")
        groups = rows.group_by("experiment", "version", maintain_order=True)
        for (experiment, version), group in groups:
            entries = "".join(_entry(row, used[row["run"]]) for row in group.iter_rows(named=True))
            pieces.append(f'<div class="hb-run-list">{entries}</div>')
            text += (
                f"\n## {experiment}, version {version}\n\n```{{hb-html}} {len(pieces) - 1}\n```\n"
            )
    write_aside(page, text.encode())
    write_aside(fragments, json.dumps(pieces).encode())
    return len(used)


def _layout() -> bytes:
    """What else the page is made of: this module."""
    return __spec__.loader.get_data(__file__) if __spec__ else b""  # pyright: ignore


def _entry(row: dict[str, Any], used: list[tuple[str, str]]) -> str:
    run = str(row["run"])
    facts = {
        "model": row.get("model_name") or row.get("model"),
        "weights": row.get("model_weights"),
        "text": row.get("text_name") or row.get("text"),
        "tokens": row.get("text_tokens"),
        "computed": _when(row),
        "with": _versions(row.get("packages")),
        "commit": row.get("git"),
    }
    lines = "".join(
        f"<div><dt>{name}</dt><dd>{_fact(name, str(value))}</dd></div>"
        for name, value in facts.items()
        if value not in (None, "")
    )
    pages = ", ".join(f'<a href="{escape(href)}">{escape(title)}</a>' for href, title in used)
    question = _pretty(row.get("parameters"))
    return (
        f'<section class="hb-run" id="run-{escape(run)}"><h3><code>{escape(run)}</code></h3>'
        f"<dl>{lines}<div><dt>shown in</dt><dd>{pages}</dd></div></dl>"
        f"<details><summary>the whole question</summary>"
        f'<pre class="hb-json">{question}</pre></details></section>'
    )


def _fact(name: str, value: str) -> str:
    return f"<code>{escape(value)}</code>" if name in _HASHES else escape(value)


def _when(row: dict[str, Any]) -> str:
    started, seconds, device = row.get("started"), row.get("seconds"), row.get("device")
    when = f"{started:%Y-%m-%d %H:%M} UTC" if started is not None else "at an unknown time"
    took = f", {seconds:.3g} s" if seconds is not None else ""
    return f"{when}{took}" + (f" on {device}" if device else "")


def _versions(packages: object) -> str:
    try:
        versions: dict[str, Any] = json.loads(str(packages))
    except ValueError:
        return ""
    return ", ".join(f"{name} {text}" for name, text in versions.items() if name not in _PRIVATE)


def _pretty(parameters: object) -> str:
    try:
        return escape(json.dumps(json.loads(str(parameters)), indent=2, ensure_ascii=False))
    except ValueError:
        return escape(inert(str(parameters)))
