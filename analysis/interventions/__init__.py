"""Interventions: what stands in for what heads read, and what that changes."""

from .effects import METRICS, Effects
from .kinds import Condition, Head, Intervention, Method, check
from .stand_ins import NOTHING, Means, Pooling, StandIns, derangement, means, read_z
from .tapping import Block, block_taps, taps

__all__ = [
    "METRICS",
    "NOTHING",
    "Block",
    "Condition",
    "Effects",
    "Head",
    "Intervention",
    "Means",
    "Method",
    "Pooling",
    "StandIns",
    "block_taps",
    "check",
    "derangement",
    "means",
    "read_z",
    "taps",
]
