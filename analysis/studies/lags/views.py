"""Recall by lag arranged for a reader: profiles, measures and curves."""

import polars as pl

from analysis.questions.verdicts.head_sets import mixture
from analysis.questions.verdicts.judgement import Evidence
from analysis.statistics.resampling import band_columns

from .claims import Case, LagEvidence, drawn_drops, judged_size, sizes

AS_IT_IS = "nothing ablated"
CONTROL = "after a word that is not in the list"
_ENDS = {"p": ("lower", "upper"), "log_odds": ("log_odds_lower", "log_odds_upper")}
MEASURES = ("successor", "predecessor", "ratio", "log_odds", "rank", "mass", "recency")
"""In the order of the table."""


def profiles(evidence: LagEvidence, case: Case, value: str, window: int) -> pl.DataFrame:
    """One profile for each condition: as it is, without induction heads, without random ones.

    Args:
        evidence: What recall is judged by.
        case: Which heads, replaced by what, in which design.
        value: `p` or `log_odds`.
        window: The largest lag, either way.

    Returns:
        Columns `lag`, `series`, `value`, `lower`, `upper` and `n`, series in order; of random
        heads those of the judged size.
    """
    base = evidence.base[case.design]["lag_profiles"]
    top = evidence.top[case]["lag_profiles"]
    found = _sizes(top)
    frames = [(AS_IT_IS, base)]
    if case in evidence.random:
        size, random = judged_size(found), evidence.random[case]["lag_profiles"]
        frames.append((_heads(size, "random"), random.filter(size=size)))
    frames += [(_heads(size, "induction"), top.filter(size=size)) for size in found]
    return pl.concat(_curve(rows, name, value, window) for name, rows in frames)


def control_profiles(evidence: LagEvidence, design: str, value: str, window: int) -> pl.DataFrame:
    """The profile as it is, and after words that are not in the list.

    Args:
        evidence: What recall is judged by.
        design: A value of `Design`.
        value: `p` or `log_odds`.
        window: The largest lag, either way.

    Returns:
        Columns as of `profiles`.
    """
    both = ((AS_IT_IS, evidence.base), (CONTROL, evidence.control))
    return pl.concat(
        _curve(answers[design]["lag_profiles"], name, value, window) for name, answers in both
    )


def levels(evidence: LagEvidence, case: Case) -> pl.DataFrame:
    """The successor's log odds by how many heads are ablated.

    Args:
        evidence: What recall is judged by.
        case: Which heads, replaced by what, in which design.

    Returns:
        Columns `family`, `size`, `value`, `lower`, `upper` and `n`: bootstrap intervals of the
        top heads, the mean and 95 % of draws of random ones.
    """
    start = _aggregates(evidence.base[case.design], "log_odds")
    columns = ("family", "size", "value", "lower", "upper", "n")
    top = pl.concat([start, _aggregates(evidence.top[case], "log_odds")])
    frames = [top.with_columns(family=pl.lit("top")).select(columns)]
    if case in evidence.random:
        drawn = _aggregates(evidence.random[case], "log_odds").group_by("size")
        band = drawn.agg(
            pl.col("value").mean(), pl.len().cast(pl.Int32).alias("n"), **band_columns("value")
        )
        frames.append(band.with_columns(family=pl.lit("random")).select(columns).sort("size"))
    return pl.concat(frames)


def measures(evidence: LagEvidence, case: Case) -> pl.DataFrame:
    """What every condition's recall comes to.

    Args:
        evidence: What recall is judged by.
        case: Which heads, replaced by what, in which design.

    Returns:
        A row for each condition of the model as it is and without induction heads, a column for
        each of `MEASURES`, and the interval of the log odds.
    """
    both = [evidence.base[case.design], evidence.top[case]]
    found = pl.concat([_aggregates(answer, None) for answer in both])
    ends = pl.format("{} to {}", pl.col("lower").round(2), pl.col("upper").round(2))
    odds = found.filter(measure="log_odds").select("condition", ends.alias("log_odds 95 %"))
    wide = found.pivot("measure", index=("condition", "size", "heads"), values="value")
    return wide.join(odds, on="condition").select("size", "heads", *MEASURES, "log_odds 95 %")


def null_sets(evidence: LagEvidence, case: Case) -> pl.DataFrame:
    """What random sets of the judged size cost, by the upstream heads that they hold.

    Args:
        evidence: What recall is judged by.
        case: Which heads, replaced by what, in which design.

    Returns:
        Rows of `mixture`: falls of the successor's log odds, nats; none without random sets.
    """
    size, found = judged_size(sizes(evidence.top[case])), list[tuple[list[str], float]]()
    for group in (evidence.random, evidence.mixed):
        if case in group:
            names = group[case]["ablations"].filter(size=size).sort("condition")["heads"]
            costs = drawn_drops(evidence.base[case.design], group[case], size)
            found += [(h.split(","), float(c)) for h, c in zip(names, costs, strict=True)]
    return pl.DataFrame(mixture(found, map(str, evidence.upstream(case))))


def falls(evidence: LagEvidence, design: str) -> pl.DataFrame:
    """The successor's log odds under every method, in every part of the model.

    Args:
        evidence: What recall is judged by.
        design: A value of `Design`.

    Returns:
        Columns `method`, `layers`, `size`, `value`, `lower`, `upper` and `n`, of the judged size.
    """
    frames: list[pl.DataFrame] = []
    for case, answer in evidence.top.items():
        if case.design == design:
            size = judged_size(sizes(answer))
            row = _aggregates(answer, "log_odds").filter(size=size)
            named = {"method": pl.lit(case.method), "layers": pl.lit(case.layers)}
            frames.append(row.with_columns(**named))
    columns = ("method", "layers", "size", "value", "lower", "upper", "n")
    return pl.concat(frames).select(columns)


def by_length(evidence: LagEvidence) -> pl.DataFrame:
    """The successor's log odds by the length of the list.

    Args:
        evidence: What recall is judged by.

    Returns:
        Rows of a curve for each condition.
    """
    frames: list[pl.DataFrame] = []
    for n_words, answers in evidence.lengths.items():
        for role, answer in answers.items():
            row = _aggregates(answer, "log_odds")
            size = row["size"].item()
            name = {"base": AS_IT_IS, "control": CONTROL}.get(role, _heads(size, "induction"))
            told = {"at": pl.lit(n_words), "series": pl.lit(name), "role": pl.lit(name)}
            frames.append(row.with_columns(**told))
    rows = pl.concat(frames).select("at", "series", "role", "value", "lower", "upper", "n")
    return rows.sort("at", maintain_order=True)


def at_lag(rows: pl.DataFrame, series: str, lag: int) -> float:
    """One value of one of the profiles.

    Args:
        rows: What `profiles` gives.
        series: Which condition.
        lag: Which lag; there must be one.

    Returns:
        The value.
    """
    return float(rows.filter(series=series, lag=lag)["value"].item())


def _curve(rows: pl.DataFrame, name: str, value: str, window: int) -> pl.DataFrame:
    lower, upper = _ENDS[value]
    near = rows.filter(pl.col("lag").abs() <= window).sort("lag")
    return near.select(
        "lag",
        "n",
        series=pl.lit(name),
        value=pl.col(value),
        lower=pl.col(lower),
        upper=pl.col(upper),
    )


def _aggregates(answer: Evidence, measure: str | None) -> pl.DataFrame:
    """Aggregate measures with what their conditions replace."""
    rows = answer["lag_measures"].filter(pl.col("sequence").is_null())
    named = rows if measure is None else rows.filter(measure=measure)
    columns = ("condition", "measure", "value", "lower", "upper", "n")
    described = answer["ablations"].select("condition", "size", "heads")
    return named.select(columns).join(described, on="condition")


def _sizes(rows: pl.DataFrame) -> list[int]:
    return sorted(rows["size"].unique().to_list())


def _heads(size: int, which: str) -> str:
    return f"{size} {which} head{'s' if size > 1 else ''}"
