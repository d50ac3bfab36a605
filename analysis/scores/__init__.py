"""What a head looks at: pure functions from patterns to scores, one row a sequence."""

from .content import (
    delimiter_ratio,
    delimiter_score,
    duplicate_token_score,
    text_induction_score,
)
from .items import attention_between, successor_score
from .positional import (
    bos_score,
    offset_profile,
    previous_token_score,
    uniform_pattern,
)
from .repeats import induction_profile, induction_score

__all__ = [
    "attention_between",
    "bos_score",
    "delimiter_ratio",
    "delimiter_score",
    "duplicate_token_score",
    "induction_profile",
    "induction_score",
    "offset_profile",
    "previous_token_score",
    "successor_score",
    "text_induction_score",
    "uniform_pattern",
]
