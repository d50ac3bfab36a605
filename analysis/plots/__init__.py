"""Every chart of the book. Titles say the finding; scores share [0, 1]."""

from .ablation import (
    agreement_grid,
    cumulative_curve,
    effect_against_effect,
    effect_grid,
)
from .comparisons import against_control, by_data, claim_intervals, losses, verdict_bars
from .curves import curves
from .graph import circuit_graph
from .grids import head_grid, pattern_pair
from .profiles import induction_lag, offset_profile

__all__ = [
    "against_control",
    "agreement_grid",
    "by_data",
    "circuit_graph",
    "claim_intervals",
    "cumulative_curve",
    "curves",
    "effect_against_effect",
    "effect_grid",
    "head_grid",
    "induction_lag",
    "losses",
    "offset_profile",
    "pattern_pair",
    "verdict_bars",
]
