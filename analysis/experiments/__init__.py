"""Frozen questions about a model; the store keeps their answers."""

from .ablation_identities import AblationIdentities
from .ablation_sweep import AblationSweep
from .claims import HeadClaims, Verdict, verdict
from .cost import Cost, cost
from .experiment import Experiment, Report
from .head_estimates import DirectEffects, GradientEstimates
from .heads import parse_heads
from .induction_scores import InductionScores
from .kind_claims import KindClaims, KindEvidence
from .request import Profile, Request
from .s_inhibition_scores import SInhibitionScores
from .successor_scores import SuccessorScores
from .text_scores import TextScores

__all__ = [
    "AblationIdentities",
    "AblationSweep",
    "Cost",
    "DirectEffects",
    "Experiment",
    "GradientEstimates",
    "HeadClaims",
    "InductionScores",
    "KindClaims",
    "KindEvidence",
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
