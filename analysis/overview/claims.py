"""Claims arranged for a reader: how many hold, which figure shows each, what to filter by."""

from fnmatch import fnmatchcase

import polars as pl

from analysis.questions.judgement import Verdict
from analysis.studies import studies

EVERY = "all"
"""The choice that filters nothing."""

VERDICTS = tuple(verdict.value for verdict in Verdict)


def figure_of(claim: str, chapter: str) -> str:
    """Where a claim is shown.

    Args:
        claim: Its name.
        chapter: The chapter that argues it.

    Returns:
        `<notebook>#<cell>`; the chapter alone for a claim without a figure of its own.
    """
    cells = (cell for study in studies() for cell in study.FIGURES.items())
    fits = (cell for pattern, cell in cells if fnmatchcase(claim, pattern))
    return next(fits, chapter)


def chapter_title(stem: str) -> str:
    """A chapter's name in words, its number first: `02 induction circuit`."""
    return stem.replace("_", " ")


def chapter_choices(claims: pl.DataFrame) -> dict[str, str]:
    """The chapters to choose among.

    Args:
        claims: Rows of the table `claims`.

    Returns:
        Names of chapters by what a reader calls them, after the choice of all.
    """
    stems = claims["chapter"].unique().sort().to_list()
    return {EVERY: EVERY} | {chapter_title(stem): stem for stem in stems}


def chosen_claims(claims: pl.DataFrame, verdict: str, chapter: str) -> pl.DataFrame:
    """The claims that a reader asks for.

    Args:
        claims: Rows of the table `claims`.
        verdict: One of `VERDICTS`, or `EVERY`.
        chapter: A chapter, or `EVERY`.

    Returns:
        The rows that fit, by chapter.
    """
    wanted = {"verdict": verdict, "chapter": chapter}
    fixed = {column: value for column, value in wanted.items() if value != EVERY}
    return claims.filter(**fixed).sort("chapter", maintain_order=True)


def verdict_counts(claims: pl.DataFrame) -> pl.DataFrame:
    """How many claims of each chapter have each verdict.

    Args:
        claims: Rows of the table `claims`.

    Returns:
        Columns `chapter` in words, `verdict`, `n` and `order`, the place of the verdict.
    """
    place = pl.col("verdict").replace_strict({v: i for i, v in enumerate(VERDICTS)})
    counted = claims.group_by("chapter", "verdict").agg(n=pl.len())
    words = pl.col("chapter").str.replace_all("_", " ")
    return counted.with_columns(chapter=words, order=place).sort("chapter", "order")


def claim_table(claims: pl.DataFrame) -> pl.DataFrame:
    """Claims with all that decides them.

    Args:
        claims: Rows of the table `claims`.

    Returns:
        Columns `claim` (the statement, which links to the cell that shows it), `verdict`,
        `estimate`, `95 %`, `control`, `threshold`, `run`, which links to the run that weighed the
        evidence, the control's own interval, and `statistic`: which number decides.
    """
    targets = [figure_of(*names) for names in claims.select("claim", "chapter").iter_rows()]
    return claims.select(
        claim=pl.col("statement").str.replace_all("`", ""),
        claim_link=pl.Series(targets, dtype=pl.String),
        verdict="verdict",
        estimate=pl.col("estimate").round(3),
        **{"95 %": _intervals(claims, "lower", "upper")},
        control=pl.col("control").round(3),
        threshold="threshold",
        run=pl.lit("run"),
        run_link=pl.format("run:{}", "run"),
        **{"control 95 %": _intervals(claims, "control_lower", "control_upper")},
        statistic=pl.col("statistic").str.replace_all("`", ""),
    )


def _intervals(claims: pl.DataFrame, lower: str, upper: str) -> pl.Series:
    """Ends of intervals in words; null where an end is unknown."""
    ends = claims.select(pl.col(lower, upper).round(3) + 0.0).iter_rows()  # no negative zero
    texts = [None if None in pair else "{:.3f} to {:.3f}".format(*pair) for pair in ends]
    return pl.Series(texts, dtype=pl.String)
