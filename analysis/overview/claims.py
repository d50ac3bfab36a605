"""Claims arranged for a reader: how many hold, which figure shows each, what to filter by."""

from fnmatch import fnmatchcase

import polars as pl

from analysis.questions.judgement import Verdict

EVERY = "all"
"""The choice that filters nothing."""

VERDICTS = tuple(verdict.value for verdict in Verdict)

FIGURES = {
    "induction_head": "02_induction_circuit#induction_against_shuffled",
    "model_copies": "02_induction_circuit#copy_losses",
    "previous_token_head": "02_induction_circuit#previous_against_random",
    "previous_token_positional": "02_induction_circuit#previous_against_random",
    "previous_token_below_induction": "00_claims#circuit_picture",
    "previous_needed_*": "02_induction_circuit#ablated",
    "key_path_loss": "02_induction_circuit#path_loss",
    "key_path_*": "02_induction_circuit#path_effects",
    "k_composition_outlier": "02_induction_circuit#weights",
    "copiers_needed": "02_induction_circuit#copying_loss",
    "copier_writes_next_token": "02_induction_circuit#direct_logits",
    "components_needed": "02_induction_circuit#components_together",
    "components_additive": "02_induction_circuit#components_together",
    "components_concentrated": "02_induction_circuit#concentration_table",
    "components_needed_loss": "02_induction_circuit#component_claim_chart",
    "sink_attends": "03_bos_sink#sink_grid",
    "sink_is_token": "03_bos_sink#designs",
    "sink_needs_both": "03_bos_sink#designs",
    "sink_without_bos": "03_bos_sink#designs",
    "sink_carries_little": "03_bos_sink#carried_table",
    "sink_value_unused": "03_bos_sink#value_effects",
    "sink_attention_needed": "03_bos_sink#key_effects",
    "sink_rests": "03_bos_sink#resting",
    "sink_massive": "03_bos_sink#massive",
    "no_op_sink": "03_bos_sink#claims_chart",
    "value_redundant_attention_*": "04_previous_token_redundancy#index_in_attention",
    "value_redundant_predictions_*": "04_previous_token_redundancy#index_in_predictions",
    "value_redundant_*": "04_previous_token_redundancy#methods_table",
    "zero_and_*_rank_alike": "05_ablation_kinds#agreement",
    "top_heads_against_*": "05_ablation_kinds#top_against_random",
    "q_zero_is_uniform": "05_ablation_kinds#identity_text",
    "zero_is_not_uniform": "05_ablation_kinds#identity_text",
    "component_redundant_attention_*": "07_component_redundancy#pair_in_attention",
    "component_redundant_predictions_*": "07_component_redundancy#pair_in_predictions",
    "component_*specific": "07_component_redundancy#pair_in_attention",
    "component_adversary": "07_component_redundancy#adversary_chart",
    "component_shared_draws": "07_component_redundancy#ways_table",
    "retrieval_baseline": "08_retrieval_heads#needle_map",
    "retrieval_*_against_*": "08_retrieval_heads#curves_by_ranking",
    "retrieval_*_specific": "08_retrieval_heads#retrieval_claims_chart",
    "retrieval_*_valid": "08_retrieval_heads#retrieval_claims_chart",
    "retrieval_uniform_is_query_zeroing": "08_retrieval_heads#curves_by_method",
    "lag_successor_longest": "09_lag_profiles#lag_lengths",
    "lag_successor_*": "09_lag_profiles#lag_chart",
    "lag_recency_*": "09_lag_profiles#lag_table",
    "lag_top_heads_*": "09_lag_profiles#lag_levels",
    "lag_upper_half_*": "09_lag_profiles#lag_falls",
}
"""The cell that shows each claim, by its name or a pattern of names; the first that fits."""


def figure_of(claim: str, chapter: str) -> str:
    """Where a claim is shown.

    Args:
        claim: Its name.
        chapter: The chapter that argues it.

    Returns:
        `<notebook>#<cell>`; the chapter alone for a claim without a figure of its own.
    """
    fits = (cell for pattern, cell in FIGURES.items() if fnmatchcase(claim, pattern))
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
