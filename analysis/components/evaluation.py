"""How good a decomposition is: how little it loses, how few components it needs, how safe it is."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.attention import Taps
from analysis.models.load import hidden_states
from analysis.progress import Report
from analysis.statistics.resampling import Interval, bootstrap

from .adversary import Ascent, Sources, worst
from .decomposed import Decomposition, Mask, Masks, logits, reading
from .importance import ImportanceFunction
from .losses import Importances, drawn_masks, lower

ALIVE = {"alive": 1e-6, "alive_01": 0.01}
"""A component is alive if its mean importance over the text is above this."""
FRESH = Ascent(n_steps=20, step=0.1)
"""A fresh adversary's: its steps together are twice the way from 0 to 1."""


@dataclass(frozen=True)
class Judged:
    """Figures of a decomposition, with what they were measured on."""

    figures: dict[str, Interval]
    """Mean and 95 % interval over rows, in nats or components, by name."""
    alive: dict[str, int]
    mean_importance: dict[str, list[float]]
    """By layer, of every component, over all tokens."""
    n_rows: int
    n_tokens: int


def importances(
    decomposition: Decomposition, function: ImportanceFunction, tokens: Int[Tensor, "batch pos"]
) -> dict[str, Tensor]:
    """Causal importances of all components on some tokens, from the target's own activations.

    Args:
        decomposition: The decomposed model.
        function: Its causal-importance function.
        tokens: Token ids.

    Returns:
        By layer (batch, pos, component), in [0, 1].
    """
    with torch.no_grad(), reading(decomposition.model, decomposition.components) as inputs:
        hidden_states(decomposition.model, tokens, Taps())
        return lower(function(inputs, decomposition.components))


def rounded(found: Importances) -> dict[str, Mask]:
    """1 for components of any importance, 0 for the others and for the remainders."""
    return {
        name: Mask(components=(g > 0).to(g.dtype), delta=torch.zeros((), device=g.device))
        for name, g in found.items()
    }


def judge(
    decomposition: Decomposition,
    function: ImportanceFunction,
    tokens: Int[np.ndarray, "row pos"],
    *,
    seed: int,
    report: Report,
) -> Judged:
    """Measure a decomposition.

    Args:
        decomposition: The decomposed model.
        function: Its causal-importance function.
        tokens: Rows that it was not trained on.
        seed: Of masks, sources and resampling.
        report: Told the progress.

    Returns:
        Divergence from the target, in nats a token, with all masks 1 and no remainder (`ones`),
        stochastic masks (`stochastic`), masks 1 where importance is above 0 (`rounded`), a fresh
        adversary with one source a component for all tokens (`adversarial`) and with one for
        every token (`adversarial_token`), and nothing at all (`zero`); and how many components
        have importance above 0 at a token (`l0`).
    """
    device = decomposition.model.device
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, list[np.ndarray]] = {}
    sums: dict[str, Tensor] = {}
    step = 8
    for start in range(0, len(tokens), step):
        batch = torch.from_numpy(tokens[start : start + step].astype(np.int64)).to(device)
        found = importances(decomposition, function, batch)
        for name, each in measured(decomposition, batch, found, generator).items():
            values.setdefault(name, []).append(each)
        for name, g in found.items():
            sums[name] = sums.get(name, 0) + g.double().sum((0, 1)).cpu()
        report(min(start + step, len(tokens)), len(tokens), "evaluation")
    estimate = bootstrap(np.stack([np.concatenate(v) for v in values.values()], 1), seed)
    figures = dict(zip(values, estimate.intervals(), strict=True))
    means = {name: total / tokens.size for name, total in sums.items()}
    alive = {
        name: sum(int((mean > bar).sum()) for mean in means.values()) for name, bar in ALIVE.items()
    }
    listed = {name: [float(x) for x in mean] for name, mean in means.items()}
    return Judged(figures, alive, listed, *tokens.shape)  # pyright: ignore[reportArgumentType]


def measured(
    decomposition: Decomposition,
    tokens: Int[Tensor, "batch pos"],
    found: Importances,
    generator: torch.Generator,
) -> dict[str, np.ndarray]:
    """Every figure on every row of a batch."""
    with torch.no_grad():
        target = logits(decomposition, tokens, {})
    masks: dict[str, Masks] = {
        "ones": decomposition.uniform(1.0, 0.0),
        "stochastic": drawn_masks(found, generator),
        "rounded": rounded(found),
        "zero": decomposition.uniform(0.0, 0.0),
    }
    for name, shared in (("adversarial", True), ("adversarial_token", False)):
        start = Sources.drawn(found, generator, shared=shared)
        sources, _ = worst(
            decomposition, tokens, start, lambda sources: sources.masks(found), FRESH
        )
        masks[name] = sources.masks(found)
    with torch.no_grad():
        figures = {
            name: by_row(target, logits(decomposition, tokens, each))
            for name, each in masks.items()
        }
    l0 = torch.stack([(g > 0).sum(-1) for g in found.values()]).sum(0)
    return {**figures, "l0": l0.double().mean(1).cpu().numpy()}


def by_row(target: Tensor, other: Tensor) -> np.ndarray:
    """KL(target || other) of every row, in nats a token."""
    log_p, log_q = target.double().log_softmax(-1), other.double().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean(-1).cpu().numpy()
