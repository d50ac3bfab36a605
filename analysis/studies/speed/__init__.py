"""The timed tasks: ours beside plain hooks, TransformerLens and nnsight, in one run."""

from analysis.studies.speed.contenders.tasks import Task
from analysis.studies.speed.contenders.timing import machine, versions

from .growth import AXES, SHAPE, Growth, growth_text
from .question import PACKAGES, CostGrowth, Plan, Timings, here, usable_device
from .report import Table, as_json, listed, table, text

__all__ = [
    "AXES",
    "PACKAGES",
    "SHAPE",
    "CostGrowth",
    "Growth",
    "Plan",
    "Table",
    "Task",
    "Timings",
    "as_json",
    "growth_text",
    "here",
    "listed",
    "machine",
    "table",
    "text",
    "usable_device",
    "versions",
]
