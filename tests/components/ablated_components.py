"""Components of small random models, ablated at a position of every sequence."""

from pathlib import Path
from shutil import copytree

import torch

from analysis.attention import Taps
from analysis.components import folder
from analysis.components.ablation import Ablation, Part, cuts
from analysis.components.decomposed import Components, Decomposition, masked
from analysis.components.evaluation import importances
from analysis.studies.redundancy.query_offsets import attention_from_last

from .decomposed_models import N, decomposed, importance_of

IDS = torch.randint(2, 100, (3, 9), generator=torch.Generator().manual_seed(4))
T = torch.tensor([8, 3, 5])
"""A position for every sequence."""
LAYER = 1


def part(made, projection: str, component: int) -> Part:
    (name,) = (n for n in made.components if f".{LAYER}." in n and n.endswith(projection))
    return Part(name, component)


def pair(made) -> list[Part]:
    return [part(made, "q_proj", 3), part(made, "k_proj", 7)]


def asked(made, heads=None, parts=None, n_draws: int = 2, seed: int = 0) -> Ablation:
    removed = cuts(made.model, pair(made) if parts is None else parts, T, IDS.shape[1], heads)
    found = importances(made, importance_of(made, "shared_mlp"), IDS)
    return Ablation(made, IDS, found, removed, n_draws, seed)


def attention(made, ids, masks):
    """Where every head looks from the last position, computed under masks."""
    with masked(made, masks):
        return attention_from_last(made.model, ids, Taps())


def saved_beside(model: Path, place: Path) -> Path:
    """A copy of a model with a decomposition in its folder, whose last components are idle."""
    copytree(model, place)
    made = decomposed(place)
    busy = (torch.arange(N) < N - 1)[:, None]
    components = {
        name: Components(V=parts.V.detach(), U=parts.U.detach() * busy)
        for name, parts in made.components.items()
    }
    made = Decomposition.of(made.model, components)
    function = importance_of(made, "shared_mlp")
    folder.save(place / "decomposition", made, function, {"model": made.model.card.model})
    return place
