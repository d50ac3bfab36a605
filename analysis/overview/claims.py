"""Claims arranged for a reader: how many hold, which figure shows each, what to filter by."""

from fnmatch import fnmatchcase

import numpy as np
import polars as pl

from analysis.questions.verdicts.verdict import LEVEL, Verdict
from analysis.statistics.comparisons import discoveries
from analysis.studies import studies

EVERY = "all"
"""The choice that filters nothing."""

VERDICTS = tuple(verdict.value for verdict in Verdict)

FALSE = 0.05
"""Share of false ones among discoveries, on average."""


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
        claims: Rows of the table `claims`; those of older runs may have verdicts of then, which
            come last.

    Returns:
        Columns `chapter` in words, `verdict`, `n` and `order`, the place of the verdict.
    """
    place = pl.col("verdict").replace_strict(
        {v: i for i, v in enumerate(VERDICTS)}, default=len(VERDICTS)
    )
    counted = claims.group_by("chapter", "verdict").agg(n=pl.len())
    words = pl.col("chapter").str.replace_all("_", " ")
    return counted.with_columns(chapter=words, order=place).sort("chapter", "order")


def counted(claims: pl.DataFrame) -> str:
    """How many claims could have failed, and what became of them, as a sentence in Markdown."""
    tested = claims.filter(pl.col("verdict") != Verdict.NOT_TESTABLE.value)
    counts = [(tested.filter(verdict=v).height, v) for v in VERDICTS]
    told = ", ".join(f"**{n} {verdict}**" for n, verdict in counts if n)
    left = claims.height - tested.height
    rest = f"; {left} more could not be tested on it" if left else ""
    return f"{tested.height} claims could have failed: {told}{rest}."


def false_discoveries(claims: pl.DataFrame) -> str:
    """How many claims stay if of those with a p no more than `FALSE` are to be false.

    Args:
        claims: Rows of the table `claims`.

    Returns:
        A sentence; claims whose null allows no small p are left out.
    """
    tested = claims.filter(
        pl.col("p").is_not_null(),
        pl.col("verdict") != Verdict.NOT_TESTABLE.value,
        1 / (pl.col("n_null") + 1) < LEVEL,
    )
    supported = tested["verdict"] == Verdict.SUPPORTED.value
    adjusted = discoveries(tested["p"].cast(pl.Float64).to_numpy())
    kept = int(np.sum(supported.to_numpy() & (adjusted <= FALSE)))
    return (
        f"Of the {int(supported.sum())} supported claims that have a p, {kept} are discoveries at "
        f"a false-discovery rate of {FALSE:g} among all {tested.height} with one."
    )


def claim_table(claims: pl.DataFrame) -> pl.DataFrame:
    """Claims with all that decides them.

    Args:
        claims: Rows of the table `claims`.

    Returns:
        Columns `claim` (the statement, which links to the cell that shows it), `verdict`,
        `estimate`, `95 %`, `control`, `threshold`, `p`, `null` (how many alternatives p comes
        from), `run`, which links to the run that weighed the evidence, the interval of the
        control and that of the distance to it, and `statistic`: which number decides.
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
        p=pl.col("p").cast(pl.Float64).round(4),
        null="n_null",
        run=pl.lit("run"),
        run_link=pl.format("run:{}", "run"),
        **{"beyond control 95 %": _intervals(claims, "beyond_lower", "beyond_upper")},
        **{"control 95 %": _intervals(claims, "control_lower", "control_upper")},
        statistic=pl.col("statistic").str.replace_all("`", ""),
    )


def _intervals(claims: pl.DataFrame, lower: str, upper: str) -> pl.Series:
    """Ends of intervals in words; null where an end is unknown."""
    ends = claims.select(pl.col(lower, upper).round(3) + 0.0).iter_rows()  # no negative zero
    texts = [None if None in pair else "{:.3f} to {:.3f}".format(*pair) for pair in ends]
    return pl.Series(texts, dtype=pl.String)
