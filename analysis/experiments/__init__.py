"""Frozen questions about a model; the store keeps their answers."""

from .claims import HeadClaims, Verdict, verdict
from .cost import Cost, cost
from .experiment import Experiment, Report
from .heads import parse_heads
from .induction_scores import InductionScores
from .request import Profile, Request
from .s_inhibition_scores import SInhibitionScores
from .successor_scores import SuccessorScores
from .text_scores import TextScores

__all__ = [
    "Cost",
    "Experiment",
    "HeadClaims",
    "InductionScores",
    "Profile",
    "Report",
    "Request",
    "SInhibitionScores",
    "SuccessorScores",
    "TextScores",
    "Verdict",
    "cost",
    "parse_heads",
    "verdict",
]
