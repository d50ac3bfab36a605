"""Passes of a model as transformers computes it, which all that is measured rests on."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from analysis.errors import UserError, reason


def ran(logits_of: Callable[[], Tensor], architecture: str) -> Tensor:
    """The logits of a pass over random tokens.

    Args:
        logits_of: The pass.
        architecture: What an error calls the model.

    Returns:
        The logits, all of them finite.

    Raises:
        UserError: The model cannot be run as its configuration says, or gives others.
    """
    try:
        logits = logits_of()
    except Exception as error:  # what a config can say wrong raises errors of many kinds
        raise UserError(
            f"expected a model that runs as its config.json says, {architecture} stops with "
            f"{reason(error)!r}; correct config.json or choose another model"
        ) from None
    n_wrong = logits.numel() - int(logits.isfinite().sum())
    if n_wrong:
        raise UserError(
            f"expected finite logits, {n_wrong} of {logits.numel()} that {architecture} gives on "
            "random tokens are not; check its weights and the numbers in its config.json"
        )
    return logits
