"""Charts by their shape; altair appears nowhere else."""

from .bars import ablation_strip, composition_strip, place_bars, verdict_bars
from .curves import (
    contribution_lines,
    curves,
    importance_curves,
    induction_lag,
    lag_profile,
    offset_profile,
    training_losses,
)
from .designs import residual_norms, resting_place, two_by_two, value_norms
from .differences import attention_moved, condition_effects, race_seconds, sink_effects
from .graph import circuit_graph
from .grids import (
    agreement_grid,
    effect_grid,
    head_grid,
    pair_grids,
    path_grid,
    share_map,
    verdict_grid,
)
from .intervals import (
    against_control,
    by_data,
    claim_intervals,
    divergence_intervals,
    losses,
    ranking_checks,
    verdict_margins,
)
from .levels import accuracy_curves, cumulative_curve, method_curves, published_drops, ranked_heads
from .patterns import effects_along, pattern_pair, prompt_pattern
from .points import (
    best_by_label,
    component_heads,
    effect_against_effect,
    heads_against_sum,
    spread_points,
)

__all__ = [
    "ablation_strip",
    "accuracy_curves",
    "against_control",
    "agreement_grid",
    "attention_moved",
    "best_by_label",
    "by_data",
    "circuit_graph",
    "claim_intervals",
    "component_heads",
    "composition_strip",
    "condition_effects",
    "contribution_lines",
    "cumulative_curve",
    "curves",
    "divergence_intervals",
    "effect_against_effect",
    "effect_grid",
    "effects_along",
    "head_grid",
    "heads_against_sum",
    "importance_curves",
    "induction_lag",
    "lag_profile",
    "losses",
    "method_curves",
    "offset_profile",
    "pair_grids",
    "path_grid",
    "pattern_pair",
    "place_bars",
    "prompt_pattern",
    "published_drops",
    "race_seconds",
    "ranked_heads",
    "ranking_checks",
    "residual_norms",
    "resting_place",
    "share_map",
    "sink_effects",
    "spread_points",
    "training_losses",
    "two_by_two",
    "value_norms",
    "verdict_bars",
    "verdict_grid",
    "verdict_margins",
]
