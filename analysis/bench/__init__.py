"""The timed tasks: ours beside plain hooks, TransformerLens and nnsight, in one run."""

from .growth import AXES, SHAPE, Growth, growth_text
from .models import NAMES
from .report import Table, as_json, listed, table, text
from .tasks import Task
from .timing import machine, versions
from .timings import PACKAGES, CostGrowth, Plan, Timings, here, usable_device

__all__ = [
    "AXES",
    "NAMES",
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
