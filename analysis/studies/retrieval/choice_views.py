"""What is answered freely and by choice, arranged for a reader."""

from collections.abc import Mapping

import polars as pl

from analysis.questions.verdicts.judgement import Evidence

from .choices import preferred
from .views import share


def choices(answers: Mapping[str, Evidence]) -> pl.DataFrame:
    """What is answered freely and by choice.

    Args:
        answers: Of `RecordChoices` by a value of `Example`.

    Returns:
        A row each: `example`, `questions`, shares `answered` and `preferred` with their Wilson
        intervals, and `chance`.
    """
    rows: list[dict[str, str | int | float]] = []
    for example, answer in answers.items():
        found, right = preferred(answer), answer["retrieval_items"]["correct"]
        row: dict[str, str | int | float] = {"example": example, "questions": len(right)}
        for name, values in (("answered", right), ("preferred", found["right"])):
            ends = share(int(values.sum()), len(values))
            row[name] = round(ends["accuracy"], 3)
            row[f"{name} 95 %"] = f"{ends['lower']:.2f} to {ends['upper']:.2f}"
        rows.append({**row, "chance": round(float(found["chance"].to_numpy().mean()), 3)})
    return pl.DataFrame(rows)


def choice_line(answer: Evidence) -> str:
    """How often the right one of the answers that questions name is the most probable."""
    found = preferred(answer)
    n, right, chance = found.height, found["right"].sum(), found["chance"].sum()
    return f"{right} of {n} preferred to the wrong answers that are named (by chance {chance:.1f})"
