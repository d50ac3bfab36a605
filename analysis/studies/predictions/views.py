"""Answers of `PredictionTables` and `PromptProbe` arranged for a reader."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from analysis.errors import UserError
from analysis.interventions import Method
from analysis.questions.asked import Asked
from analysis.text.shown import visible_text

from .prompt_probe import PromptProbe
from .study import PredictionStudy

GROUPS = {"at t of prompts": "crafted prompts", "at t of text": "samples of text"}
"""Scopes of `ablation_means` in words."""
BEFORE, EVERYWHERE = "all before t", "all positions"
PLACES = ("t", *(f"t-{back}" for back in range(1, 17)), BEFORE, EVERYWHERE)
"""Where a reader may have a method act."""
SHOWN = 48
"""Characters of a prompt's end that a menu shows."""


def menu(prompts: pl.DataFrame, categories: Mapping[str, str]) -> dict[str, str]:
    """Prompts to choose from.

    Args:
        prompts: Rows of the table, as far as they are to be read.
        categories: What kind of prompt each text is.

    Returns:
        By label, the id of the text; labels differ.
    """
    tokens = prompts.sort("text", "position").group_by("text", maintain_order=True)
    joined = dict(tokens.agg(pl.col("token").str.join("")).iter_rows())
    labels: dict[str, str] = {}
    for i, (text, category) in enumerate(categories.items(), start=1):
        shown = visible_text(joined[text])
        end = shown if len(shown) <= SHOWN else f"…{shown[-SHOWN:]}"
        labels[f"{i}. {category}: {end}"] = text
    return labels


def top_changes(means: pl.DataFrame) -> pl.DataFrame:
    """On how many prompts the predicted token is another one.

    Args:
        means: Rows of `ablation_means`.

    Returns:
        Columns `group`, `condition`, `changed`, `n`.
    """
    rows = means.filter(metric="top1_changed")
    return rows.select(
        pl.col("scope").replace_strict(GROUPS).alias("group"),
        "condition",
        (pl.col("value") * pl.col("n")).round().cast(pl.Int32).alias("changed"),
        "n",
    )


def condition_means(means: pl.DataFrame, metric: str) -> pl.DataFrame:
    """An effect under every condition.

    Args:
        means: Rows of `ablation_means`.
        metric: Which effect.

    Returns:
        Columns `group`, `condition`, `value`, `lower`, `upper` and `n`.
    """
    rows = means.filter(metric=metric)
    group = pl.col("scope").replace_strict(GROUPS).alias("group")
    return rows.select(group, "condition", "value", "lower", "upper", "n")


def place_effects(answer: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What an intervention changes at every position of a prompt.

    Args:
        answer: Of `PromptProbe`.

    Returns:
        Columns `position`, `token` (visible), `kl_base_ablated`, `top1_changed`, `loss_change`.
    """
    place = pl.col("scope").str.strip_prefix("at ").cast(pl.Int32).alias("position")
    rows = answer["ablation_effects"].with_columns(place)
    tokens = answer["prompts"].select("position", "token")
    return rows.join(tokens, on="position").select(
        "position",
        pl.col("token").map_elements(visible_text, pl.String),
        "kl_base_ablated",
        "top1_changed",
        "loss_change",
    )


def positions_of(place: str, t: int) -> tuple[int, ...] | None:
    """The positions that a reader chose.

    Args:
        place: One of `PLACES`.
        t: The position that predicts.

    Returns:
        Positions, or None for all.

    Raises:
        UserError: There is none so far before t.
    """
    if place == EVERYWHERE:
        return None
    back = int(place.removeprefix("t-")) if place.startswith("t-") else int(place == BEFORE)
    if t < back:
        raise UserError(
            f"expected t of at least {back} for {place}, got {t}: the prompt has no position so "
            "far before it; choose a later t, another place, or type more"
        )
    return tuple(range(t)) if place == BEFORE else (t - back,)


def probe_of(asked: Asked, text: str, choice: Mapping[str, str], t: int) -> PromptProbe:
    """What a reader asks in the lab.

    Args:
        asked: Of which model.
        text: The prompt.
        choice: `head`, `method` and `place`, as they are offered.
        t: The position that predicts.

    Returns:
        The question.

    Raises:
        UserError: The prompt is empty or too long, or has no such place.
    """
    probe = PredictionStudy(asked).prompt_probe(
        text, choice["head"], Method(choice["method"]), t, None
    )
    _ = probe.tokens
    return replace(probe, positions=positions_of(choice["place"], t))


def words_of(asked: Asked, text: str) -> list[str]:
    """A prompt's tokens as text; none where it cannot be asked, as asking it will say."""
    try:
        ids = (
            PredictionStudy(asked)
            .prompt_probe(text, "L0H0", Method.ZERO, 0, None)
            .tokens.ids[0]
            .tolist()
        )
    except UserError:
        return []
    return [asked.vocabulary.display(i) for i in ids]


def token_menu(tokens: Sequence[str]) -> dict[str, int]:
    """Positions of a prompt to choose from, each with its token."""
    return {f"{i} {visible_text(token)}": i for i, token in enumerate(tokens)}
