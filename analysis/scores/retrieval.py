"""Three ways to say that a head retrieves: pure functions of what it looks at."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RETRIEVAL_HEAD = 0.1
"""Retrieval score from which a head is called a retrieval head (Wu et al. 2024)."""
DEPTH = 10
"""Ranks that count for NDCG@10."""


def summed_attention(
    attention: Float[Tensor, "*head key"], needle: Sequence[int]
) -> Float[Tensor, "*head"]:
    """Attention from the last prompt token to the needle.

    Args:
        attention: Post-softmax attention of that query.
        needle: Positions of the answer's tokens.

    Returns:
        Sums over the needle, in [0, 1]; uniform attention gives the needle's share of the visible
        tokens, len(needle) / (last position + 1).
    """
    return attention[..., list(needle)].sum(-1)


def retrieval_score(
    place: Int[Tensor, "*head step"],
    ids: Sequence[int],
    needle: Sequence[int],
    generated: Sequence[int],
) -> Float[Tensor, "*head"]:
    """Share of the needle's tokens that a head copies while the answer is generated.

    At a decode step a head copies when the position that it looks at most lies in the needle and
    holds the token that is being generated. Tokens are a set: one that is copied twice, or that
    stands in the needle twice, counts once.

    Args:
        place: The position that a head looks at most from the query that generates each token.
        ids: The prompt's tokens.
        needle: Positions of the answer's tokens.
        generated: Tokens as they are generated, one a step.

    Returns:
        |copied tokens| / |tokens of the needle| for one instance, in [0, 1]. A head's score is the
        mean over all instances that the model answers correctly, zeros included.

    Raises:
        ValueError: There are not as many steps as generated tokens.

    Source:
        Wu et al. 2024, "Retrieval Head Mechanistically Explains Long-Context Factuality".
    """
    if place.shape[-1] != len(generated):
        raise ValueError(f"expected places at {len(generated)} steps, got {place.shape[-1]}")
    at: dict[int, list[int]] = {}
    for position in needle:
        at.setdefault(ids[position], []).append(position)
    copied = torch.zeros(place.shape[:-1], dtype=torch.float64, device=place.device)
    for token, positions in at.items():
        steps = [step for step, said in enumerate(generated) if said == token]
        if steps:
            wanted = torch.tensor(positions, device=place.device)
            copied += torch.isin(place[..., steps], wanted).any(-1)
    return copied / len(at)


def retrieval_by_chance(
    seen: Bool[np.ndarray, "step key"],
    ids: Sequence[int],
    needle: Sequence[int],
    generated: Sequence[int],
) -> float:
    """The retrieval score of a head that looks most at a random visible position at every step.

    Args:
        seen: The positions that are visible from the query that generates each token.
        ids: The prompt's tokens.
        needle: Positions of the answer's tokens.
        generated: Tokens as they are generated.

    Returns:
        Its mean, in [0, 1].
    """
    missed = {ids[position]: 1.0 for position in needle}
    for step, token in enumerate(generated):
        if token in missed:
            n_right = sum(ids[position] == token and seen[step, position] for position in needle)
            missed[token] *= 1 - n_right / seen[step].sum()
    return 1 - sum(missed.values()) / len(missed)


def document_scores(
    attention: Float[Tensor, "*head key"],
    null: Float[Tensor, "*head null_key"],
    documents: Sequence[Sequence[int]],
) -> Float[Tensor, "*head document"]:
    """How much more a question makes a head look at each document than a question without content.

    Within a document, tokens that fall below its mean by more than 2 standard deviations (with
    n - 1) are left out; a document of one token keeps it.

    Args:
        attention: Mean over the question's tokens of their attention.
        null: The same for the null question `N/A` behind the same context.
        documents: Positions of each document's tokens, which are the same for both.

    Returns:
        Sums over the tokens that are kept, in [-1, 1]. The QR score is that of the document that
        holds the answer.

    Source:
        Zhang et al. 2025, "Query-Focused Retrieval Heads Improve Long-Context Reasoning and
        Re-ranking"; the null question is that of Chen et al. 2025, "Attention in Large Language
        Models Yields Efficient Zero-Shot Re-Rankers".
    """
    columns: list[Tensor] = []
    for document in documents:
        places = list(document)
        gained = attention[..., places].double() - null[..., places].double()
        off = gained - gained.mean(-1, keepdim=True)
        spread = (off.square().sum(-1, keepdim=True) / max(1, len(places) - 1)).sqrt()
        columns.append(torch.where(off >= -2 * spread, gained, 0.0).sum(-1))
    return torch.stack(columns, dim=-1)


def ndcg(scores: Float[Tensor, "*head document"], gold: int) -> Float[Tensor, "*head"]:
    """NDCG@10 of documents ranked by their scores, one of them relevant.

    Args:
        scores: Of every document; ties share the worst rank.
        gold: Which one holds the answer.

    Returns:
        1 / log2(1 + rank of the gold document), 0 behind rank 10; in [0, 1].

    Source:
        Järvelin & Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR Techniques".
    """
    rank = (scores >= scores[..., gold, None]).sum(-1).double()
    return torch.where(rank <= DEPTH, 1 / torch.log2(1 + rank), 0.0)


def ndcg_by_chance(n_documents: int) -> float:
    """NDCG@10 of one relevant document among some in random order, on average."""
    ranks = np.arange(1, min(n_documents, DEPTH) + 1)
    return float((1 / np.log2(1 + ranks)).sum() / n_documents)
