"""Folders of random decompositions, as `headbook decompose` writes them."""

from analysis.components import folder
from analysis.components.decomposed import Decomposition

from .decomposed_models import N

FIGURES = {
    name: [0.1 * i, 0.1 * i - 0.01, 0.1 * i + 0.01]
    for i, name in enumerate(
        ("ones", "stochastic", "rounded", "adversarial", "adversarial_token", "zero", "l0"), 1
    )
}


def save(path, made: Decomposition, function) -> str:
    """A folder as `headbook decompose` writes it."""
    evaluation = {
        "figures": FIGURES,
        "alive": {"alive": 30, "alive_01": 20},
        "mean_importance": {name: [0.5] * N for name in made.components},
        "n_rows": 64,
        "n_tokens": 128,
    }
    losses = [
        {"step": 100, "seconds": 1.5, "faithfulness": 1e-3},
        {"step": 200, "seconds": 3.0, "faithfulness": 1e-4, "stochastic": 0.3},
    ]
    about = {"model": made.model.card.model, "evaluation": evaluation, "losses": losses}
    folder.save(path, *folder.narrowed(made, function), about)
    return str(path)
