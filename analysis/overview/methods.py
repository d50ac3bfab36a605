"""How the book measures, arranged for a reader: what numbers mean, what they rest on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import polars as pl

from analysis.interventions import Method
from analysis.overview.documented import members, section, summary
from analysis.overview.own_sizes import size_tables
from analysis.questions.asked import Profile
from analysis.questions.experiment import Question
from analysis.questions.verdicts.verdict import Verdict
from analysis.scores.registry import functions, registered
from analysis.statistics.comparisons import (
    discoveries,
    holm,
    mcnemar_p,
    permutation_p,
    shuffle_p,
    sign_flip_p,
    spearman,
    wilson,
)
from analysis.statistics.resampling import band, bootstrap, ratio_of_sums
from analysis.statistics.stability import rank_interval

TESTS = (
    bootstrap,
    ratio_of_sums,
    band,
    wilson,
    mcnemar_p,
    sign_flip_p,
    permutation_p,
    shuffle_p,
    holm,
    discoveries,
    spearman,
    rank_interval,
)
"""Where intervals, p-values and correlations come from."""

Answer = Mapping[str, pl.DataFrame]


def score_meanings() -> pl.DataFrame:
    """What each score of a head is, as the function that computes it says.

    Returns:
        Columns `score`, as rows of `head_scores` are called, `function`, `what it is and gives`,
        with unit and range, and `source`; scores of the atlas first, what else is scored behind.
    """
    atlas = {score.function: score.name for score in registered()}
    every = dict.fromkeys((*atlas, *functions()))
    names = pl.DataFrame({"function": [f.__name__ for f in atlas], "score": list(atlas.values())})
    told = _meanings(every).join(names, on="function", how="left", maintain_order="left")
    return told.select("score", pl.exclude("score"))


def test_meanings() -> pl.DataFrame:
    """The same of intervals, p-values and correlations."""
    return _meanings(TESTS)


test_meanings.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def _meanings(functions: Iterable[Callable[..., Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "function": one.__name__,
            "what it is and gives": f"{summary(one)} {given}",
            "source": section(one, "Source") or None,
        }
        for one in functions
        if (given := section(one, "Returns"))
    )


def kind_meanings() -> pl.DataFrame:
    """What stands in for a head: columns `method` and `what the head then reads or writes`."""
    told = members(Method)
    rows = {method.value: told[method.name] for method in Method}
    return pl.DataFrame(
        {"method": list(rows), "what the head then reads or writes": list(rows.values())}
    )


def verdict_meanings() -> dict[str, str]:
    """What each verdict says, by its name."""
    told = members(Verdict)
    return {one.value: told[one.name] for one in Verdict}


def question_meanings(asked: Iterable[str]) -> pl.DataFrame:
    """What experiments ask.

    Args:
        asked: Names of experiments; one may come often.

    Returns:
        Columns `experiment`, `version`, `question` (the first words of its documentation) and
        `runs`, how often it comes, by name.
    """
    counted = pl.Series("experiment", list(asked), dtype=pl.String).value_counts(name="runs")
    known = {kind.__name__: kind for kind in _kinds(Question)}
    rows = [
        {
            "experiment": name,
            "version": known[name].version,
            "question": summary(known[name]),
            "runs": runs,
        }
        for name, runs in counted.sort("experiment").iter_rows()
        if name in known
    ]
    return pl.DataFrame(rows)


def _kinds(kind: type[Question]) -> list[type[Question]]:
    found = [one for one in kind.__subclasses__() if "version" in vars(one)]
    return [*found, *(deep for one in kind.__subclasses__() for deep in _kinds(one))]


def size_table() -> pl.DataFrame:
    """How large experiments are.

    Returns:
        Columns `study` (`all` for what several share), `size`, one for each profile, and `meaning`.
    """
    return pl.concat(_sizes(room or "all", table) for room, table in size_tables().items())


def _sizes(room: str, table: Mapping[Profile, Any]) -> pl.DataFrame:
    told = members(type(table[Profile.QUICK]))
    return pl.DataFrame(
        {
            "study": room.replace("_", " "),
            "size": field.name.replace("_", " "),
            **{p.value: str(getattr(table[p], field.name)).strip("(),") for p in Profile},
            "meaning": told.get(field.name, ""),
        }
        for field in fields(table[Profile.QUICK])
    )


def control_rows(claims: pl.DataFrame) -> pl.DataFrame:
    """Do the controls themselves stay on the other side of the threshold?

    Args:
        claims: Rows of the table `claims`.

    Returns:
        Columns `chapter`, `claims`, `controls below` (whose whole interval lies below the
        threshold) and `controls at or above`.
    """
    below = pl.col("control_upper") < pl.col("threshold")
    return (
        claims.group_by(pl.col("chapter").str.replace_all("_", " "))
        .agg(
            claims=pl.len(),
            **{"controls below": below.sum(), "controls at or above": (~below).sum()},
        )
        .sort("chapter")
    )


def check_rows(answers: Iterable[Answer]) -> pl.DataFrame:
    """Checks of rankings of heads.

    Args:
        answers: Such as have the table `ranking_checks`, and others.

    Returns:
        Columns `ranking`, `check` (the measure, with the number of heads where it has one),
        `value`, `lower`, `upper`, `chance` and `n`; none where nothing was ranked.
    """
    frames = [answer["ranking_checks"] for answer in answers if "ranking_checks" in answer]
    wanted = ("ranking", "check", "value", "lower", "upper", "chance", "n")
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(wanted, pl.String))
    rows = pl.concat(frames, how="diagonal_relaxed").with_columns(
        ranking=pl.col("score").str.replace_all("_", " "),
        check=pl.when(pl.col("size").is_null())
        .then(pl.col("measure").str.replace_all("_", " "))
        .otherwise(pl.format("{} of top {}", "measure", "size")),
    )
    return rows.select(wanted)


def checks_title(checks: pl.DataFrame) -> str:
    """The finding of `check_rows`: of those checks that could be made."""
    told = (
        ("split half", "two halves of the items agree at {:.2f} or more", pl.Series.min),
        ("validity", "rankings and costs of single heads at {:.2f} at most", pl.Series.max),
    )
    values = ((words, end(checks.filter(check=check)["value"])) for check, words, end in told)
    said = [words.format(value) for words, value in values if value is not None]
    found = "; ".join(said) or "no ranking has two halves to compare"
    return found[0].upper() + found[1:]
