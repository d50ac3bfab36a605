"""`headbook export`: the store's tables for others, or in the formats of published studies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import polars as pl

from analysis.errors import UserError
from book.options import PATH, with_store
from book.terminal import say
from book.unfit import tell_unfit
from store import FORMS, Store, check_apart, export_tables

EPILOG = """\b
Example:
  headbook export public/results
  headbook export public/results --format parquet
  headbook export public/rankings --format published"""

PUBLISHED = "published"

_LONGEST_STEM = 160
"""Characters of a file's name: what a store says may be longer than a name can be."""

RETRIEVAL_SCORES = ("summed_attention", "needle_share", "retrieval_score", "qr_score")
"""Scores of `head_scores` that are exported."""

_RANKINGS = """
WITH items AS (
    SELECT
        run,
        coalesce(fact, 'all') AS data,
        max(n_tokens) AS n_tokens,
        count(*) AS n_items,
        count(*) FILTER (WHERE correct) AS n_correct
    FROM retrieval_items
    WHERE split <> 'test'
    GROUP BY GROUPING SETS ((run), (run, fact))
)
SELECT head_scores.*, items.* EXCLUDE (run, data), models.name
FROM head_scores JOIN items USING (run, data) JOIN models ON models.model = head_scores.model
WHERE score IN (SELECT unnest(?))
ORDER BY run, score, data, sequence, layer, head
"""
"""Our rankings, each with the items that the heads were detected on."""

_CURVES = """
WITH tops AS (
    SELECT DISTINCT
        run AS curve, model, ranking, size, list_sort(string_split(heads, ',')) AS heads
    FROM retrieval_curves
    WHERE family = 'top' AND size > 0
), evidence AS (
    SELECT curve, asked.run
    FROM (SELECT DISTINCT run AS curve FROM retrieval_curves)
    JOIN runs ON runs.run = curve
    JOIN (SELECT DISTINCT run FROM retrieval_outcomes) AS asked
        ON contains(runs.parameters, asked.run)
), counted AS (
    SELECT
        run,
        condition,
        fact,
        n_tokens,
        count(*) FILTER (WHERE correct)::INTEGER AS correct,
        count(*)::INTEGER AS total
    FROM retrieval_outcomes
    GROUP BY ALL
), conditions AS (
    SELECT DISTINCT
        curve, text, fact, n_tokens, method, scope, family, size,
        list_sort(string_split(heads, ',')) AS heads, correct, total
    FROM evidence JOIN ablations USING (run) JOIN counted USING (run, condition)
), sets AS (
    SELECT conditions.*, ranking, model
    FROM conditions JOIN tops USING (curve, size)
    WHERE (family = 'top' AND conditions.heads = tops.heads)
        OR (
            family = 'random' AND ranking <> 'overlap'
            AND NOT list_has_any(conditions.heads, tops.heads)
        )
), bases AS (
    SELECT DISTINCT
        base.* EXCLUDE (method, scope), sets.method, sets.scope, sets.ranking, sets.model
    FROM conditions AS base JOIN sets USING (curve, text)
    WHERE base.size = 0 AND sets.family = 'top'
)
SELECT every.* REPLACE (list_aggregate(heads, 'string_agg', ',') AS heads), name
FROM (FROM bases UNION ALL BY NAME FROM sets) AS every JOIN models USING (model)
ORDER BY curve, text, ranking, method, scope, family, size, heads
"""
"""Our curves by ranking, kind and scope of ablation, and question.

A curve's run names the runs that it judges. Beside a top set stand all random sets of its size
that share no head with it; beside what all rankings share stand none.
"""


@click.command(epilog=EPILOG)
@click.argument("folder", type=PATH)
@click.option(
    "--format",
    "forms",
    type=click.Choice([*FORMS, PUBLISHED]),
    multiple=True,
    default=FORMS,
    show_default=True,
    help="Any number; published: retrieval scores and curves as `headbook import` reads them.",
)
@with_store
def export(folder: Path, forms: tuple[str, ...], store_path: Path) -> None:
    """Write the store's tables to a new or empty folder, or our results as others write theirs.

    Tables grow in a folder beside it, `.FOLDER.` and 32 characters, which becomes FOLDER when it
    is whole. Cells of CSV are exactly as in the data: a spreadsheet may take one that begins with
    =, +, - or @ for a formula.
    """
    if PUBLISHED in forms and set(forms) != {PUBLISHED}:
        raise UserError("expected published alone, got other formats too; export them apart")
    store = Store.existing(store_path)
    if PUBLISHED in forms:
        store.true_pins()  # what is not true is set aside, of however many parts
        _export_published(folder, store)
    else:
        rows = export_tables(store, folder, forms)
        say(f"{len(rows)} tables, {sum(rows.values()):,} rows in {folder}: {', '.join(forms)}")
    tell_unfit(store)


def _export_published(folder: Path, store: Store) -> None:
    check_apart(folder, store.root)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"expected a new or empty folder, got {folder} with files; choose another")
    files = dict((*_rankings(store), *_curves(store)))
    if not files:
        raise UserError(
            f"expected retrieval scores in the store {store.root}, found none; "
            "compute them with `headbook run`"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise UserError(
            f"expected to write to {folder}, got {error.strerror}; choose another folder"
        ) from None
    say(f"{len(files)} files in {folder}")


def _rankings(store: Store) -> Iterator[tuple[str, str]]:
    """Names and texts of the files that hold our rankings, in every shape."""
    from analysis.studies import published  # noqa: PLC0415

    rows = store.sql(_RANKINGS, [list(RETRIEVAL_SCORES)])
    for (run, score, data), scores in rows.group_by("run", "score", "data", maintain_order=True):
        heads = scores.filter(pl.col("sequence").is_null())
        samples = scores.filter(pl.col("sequence").is_not_null())
        heading = published.Heading(
            method=str(score),
            model_key=scores["name"][0],
            question=str(data),
            total_tokens=scores["n_tokens"][0],
        )
        counts = published.Samples(
            samples_processed=scores["n_items"][0], successful_retrievals=scores["n_correct"][0]
        )
        stem = _stem(score, data, run)
        yield f"{stem}.detection.json", published.detection_json(heads, heading, counts)
        yield f"{stem}.pairs.json", published.pairs_json(heads)
        yield f"{stem}.csv", published.table_csv(heads)
        if samples.height:
            yield f"{stem}.listed.json", published.listed_json(samples)


def _curves(store: Store) -> Iterator[tuple[str, str]]:
    """Names and texts of the files that hold our ablation curves."""
    from analysis.studies import published  # noqa: PLC0415

    rows = store.sql(_CURVES).with_columns(
        family=pl.when(size=0).then(pl.lit("base")).otherwise("family")
    )
    by = ("curve", "text", "ranking", "method", "scope")
    for (curve, _, *kind), sets in rows.group_by(by, maintain_order=True):
        if "base" not in sets["family"]:
            continue
        fact, n_tokens, model = sets.select("fact", "n_tokens", "name").row(0)
        heading = published.Heading(
            method=" ".join(map(str, kind)), model_key=model, question=fact, total_tokens=n_tokens
        )
        stem = _stem(*kind, fact, n_tokens, curve)
        yield f"{stem}.ablation.json", published.ablation_json(sets, heading)


def _stem(*parts: object) -> str:
    """Beginning of a file's name, which ends in the first characters of a run."""
    *words, run = map(str, parts)
    told = re.sub(r"[^A-Za-z0-9_]+", "-", "_".join(words))
    return f"{told[:_LONGEST_STEM]}_{re.sub(r'[^A-Za-z0-9]', '-', run[:8])}"
