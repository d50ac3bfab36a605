"""What the scores of retrieval are for a head that looks alike at all that its layer sees."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from analysis.interventions.passes.visible import visible
from analysis.models.load import Model
from analysis.scores import retrieval as scores
from analysis.studies.retrieval.answering.items import MAX_NEW
from analysis.studies.retrieval.answering.observations import Observation
from analysis.studies.retrieval.answering.prompts import Prompt

NDCG = "qr_ndcg"
"""How well the QR score ranks the documents of a context."""

Keys = Bool[np.ndarray, "head_or_one query key"]


def visible_keys(model: Model, asked: Sequence[Prompt]) -> list[Keys]:
    """Which keys every layer sees of prompts and of what is generated behind them.

    Args:
        model: The model.
        asked: Prompts of any lengths; what is seen of a shorter one is a part.

    Returns:
        A layer each; those that see the same share an array.
    """
    longest = max(asked, key=lambda found: len(found.ids)).ids
    row = np.array([(*longest, *longest[:1] * (MAX_NEW - 1))])
    masks = visible(model, row)
    arrays = {id(mask): mask[0].numpy() for mask in masks}
    return [arrays[id(mask)] for mask in masks]


def by_chance(
    asked: Prompt, null: Prompt, one: Observation, keys: Sequence[Keys]
) -> dict[str, Float[np.ndarray, "layer head"]]:
    """Scores of one item by chance.

    Args:
        asked: The question.
        null: The one without content.
        one: What was answered.
        keys: What `visible_keys` gives.

    Returns:
        By score. For the QR score all tokens of the document that are seen are alike, and kept.
    """
    levels = {id(mask): [_of_head(asked, null, one, head) for head in mask] for mask in keys}
    layers = [levels[id(mask)] for mask in keys]
    n_heads = one.last.shape[1]
    return {
        name: np.stack([np.broadcast_to([h[name] for h in heads], n_heads) for heads in layers])
        for name in layers[0][0]
    }


def _of_head(
    asked: Prompt, null: Prompt, one: Observation, seen: Bool[np.ndarray, "query key"]
) -> dict[str, float]:
    last, document, said = len(asked.ids) - 1, list(asked.documents[asked.gold]), one.baseline.ids
    shares = [
        np.mean([seen[at, document].mean() / seen[at].sum() for at in found.query])
        for found in (asked, null)
    ]
    return {
        "summed_attention": seen[last, list(asked.needle)].sum() / seen[last].sum(),
        "retrieval_score": scores.retrieval_by_chance(
            seen[last : last + len(said)], asked.ids, asked.needle, said
        ),
        "qr_score": float(len(document) * (shares[0] - shares[1])),
        NDCG: scores.ndcg_by_chance(len(asked.documents)),
    }
