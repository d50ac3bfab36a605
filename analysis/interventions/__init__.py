"""Interventions: what stands in for what heads read, and what that changes."""

from analysis.interventions.passes.drawn import Draws, worth_drawing
from analysis.interventions.passes.endings import Endings, Opening, endings, opening
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.sweep import Source, methods_of, stand_in_source, sweep
from analysis.interventions.passes.tapping import Block, block_taps, taps

from .attribution import estimated_loss_change
from .averages import Measurement
from .direct import DirectEffects, direct_effects
from .draws import HeadSet, layer_matched_sets, random_sets
from .effects import DRAWING, METRICS, Effects
from .kinds import Condition, Head, Intervention, Method, Needs, check
from .stand_ins import NOTHING, Means, Pooling, StandIns, derangement, means, read_z

__all__ = [
    "DRAWING",
    "METRICS",
    "NOTHING",
    "Block",
    "Condition",
    "DirectEffects",
    "Draws",
    "Effects",
    "Endings",
    "Head",
    "HeadSet",
    "Intervention",
    "Means",
    "Measurement",
    "Method",
    "Metrics",
    "Needs",
    "Opening",
    "Pooling",
    "Source",
    "StandIns",
    "block_taps",
    "check",
    "derangement",
    "direct_effects",
    "endings",
    "estimated_loss_change",
    "layer_matched_sets",
    "means",
    "methods_of",
    "opening",
    "random_sets",
    "read_z",
    "stand_in_source",
    "sweep",
    "taps",
    "worth_drawing",
]
