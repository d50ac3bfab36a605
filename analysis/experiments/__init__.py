"""Frozen questions about a model; the store keeps their answers."""

from .ablation_identities import AblationIdentities
from .ablation_sweep import AblationSweep
from .claims import HeadClaims, Verdict, verdict
from .cost import Cost, cost, passes
from .decomposed_request import DecomposedRequest
from .experiment import Experiment, Question, Report
from .findings import findings, kind_evidence, redundancy_evidence, wanted
from .head_estimates import DirectEffects, GradientEstimates
from .heads import parse_heads
from .induction_scores import InductionScores
from .judgement import Judgement
from .kind_claims import KindClaims, KindEvidence
from .prediction_tables import PredictionTables
from .profiles import Profile
from .prompt_probe import PromptProbe
from .request import Request
from .s_inhibition_scores import SInhibitionScores
from .successor_scores import SuccessorScores
from .text_scores import TextScores

__all__ = [
    "AblationIdentities",
    "AblationSweep",
    "Cost",
    "DecomposedRequest",
    "DirectEffects",
    "Experiment",
    "GradientEstimates",
    "HeadClaims",
    "InductionScores",
    "Judgement",
    "KindClaims",
    "KindEvidence",
    "PredictionTables",
    "Profile",
    "PromptProbe",
    "Question",
    "Report",
    "Request",
    "SInhibitionScores",
    "SuccessorScores",
    "TextScores",
    "Verdict",
    "cost",
    "findings",
    "kind_evidence",
    "parse_heads",
    "passes",
    "redundancy_evidence",
    "verdict",
    "wanted",
]
