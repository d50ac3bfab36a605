"""What experiments cost before they start: forward passes, time and memory."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from analysis.batches import rows_at_once
from analysis.interventions.passes.stream import TOKENS_PER_BATCH

from .experiment import Experiment

_SIZE = 768


@dataclass(frozen=True)
class Cost:
    """An estimate, good to a factor of about two."""

    n_sequences: int
    """Forward passes, one sequence each."""
    n_tokens: int
    seconds: float
    gib: float

    def __str__(self) -> str:
        minutes = f"{self.seconds / 60:.0f} min" if self.seconds > 90 else f"{self.seconds:.0f} s"
        return (
            f"{self.n_sequences:,} forward passes of one sequence ({self.n_tokens:,} tokens), "
            f"about {minutes} and {self.gib:.1f} GiB"
        )


def passes(experiments: Iterable[Experiment]) -> tuple[int, int]:
    """How often a model is run.

    Args:
        experiments: What will be computed.

    Returns:
        Forward passes, one sequence each, and tokens in all of them.
    """
    shapes = [
        (experiment.n_passes, tokens.ids.shape)
        for experiment in experiments
        for tokens in experiment.data()
    ]
    n_sequences = sum(n * shape[0] for n, shape in shapes)
    return n_sequences, sum(n * shape[0] * shape[1] for n, shape in shapes)


def cost(experiments: Iterable[Experiment]) -> Cost:
    """Estimate what a set of experiments on one model will take on this machine.

    Args:
        experiments: What will be computed.

    Returns:
        Counts, and time and memory from a short timed matrix product.
    """
    asked = list(experiments)
    n_sequences, n_tokens = passes(asked)
    sizes = (tokens.ids.size for experiment in asked for tokens in experiment.data())
    longest = min(max(sizes, default=0), rows_at_once(TOKENS_PER_BATCH, 1))
    n_params = max((experiment.card.n_params for experiment in asked), default=0)
    flop = 2.5 * n_params * n_tokens
    activations = 4 * longest * 40 * (n_params / 12) ** (1 / 3)
    return Cost(n_sequences, n_tokens, 2 + flop / _rate(), (4 * n_params + activations) / 2**30)


def _rate() -> float:
    """Floating-point operations a second of a float32 matrix product."""
    a = torch.randn(_SIZE, _SIZE)
    _ = a @ a
    started = time.perf_counter()
    for _ in range(5):
        _ = a @ a
    return 5 * 2 * _SIZE**3 / (time.perf_counter() - started)
