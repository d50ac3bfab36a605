"""The figures of the model card: held-out items, with 95 % intervals."""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from analysis.statistics import bootstrap

from .abilities import (
    answers,
    copy_losses,
    gift_items,
    question_items,
    successor_items,
    token_losses,
)

N_ITEMS = 1000
N_TOKENS = 512
_SEED = "model card"

Figure = dict[str, float]
"""`estimate`, `lower`, `upper` (95 %) and `n`."""


MEANING = {
    "first_copy_loss": "loss on random tokens, nats per token",
    "second_copy_loss": "loss on the same block shown again (10 to 200 tokens), nats per token",
    "indirect_object": "receiver of a gift named, held-out names and templates",
    "questions": "questions answered exactly, 4 filings in 512 tokens, held-out firms and values",
    "successor": "next member of an ordered list, held-out templates",
    "prose_loss": "loss on the held-out 5 % of every corpus file, nats per token",
}


def card(made: Mapping[str, Any]) -> str:
    """The model card as Markdown.

    Args:
        made: `recipe`, `corpus` (SHA-256 by file) and `evaluation`, as in `evaluation.json`.

    Returns:
        Its text; every figure is the measured one.
    """
    recipe, corpus = made["recipe"], made["corpus"]
    figures = [
        f"| {MEANING[name]} | {f['estimate']:.3f} | {f['lower']:.3f} to {f['upper']:.3f} "
        f"| {f['n']} |"
        for name, f in made["evaluation"].items()
    ]
    lines = [
        "# The reference model",
        "",
        "A `LlamaSimpleMLP` of 4 layers and 8 heads (4 key-value heads), trained on public-domain "
        "prose and generated text. Made, and measured, by",
        "",
        "```",
        f"headbook train-reference --corpus DIR --out RUN --steps {recipe['n_steps']} "
        f"--seed {recipe['seed']}",
        "```",
        "",
        *made.get("notes", []),
        "| held-out ability | estimate | 95 % | n |",
        "|---|---|---|---|",
        *figures,
        "",
        "Shares have Wilson intervals, losses bootstrap intervals over sequences. Items and prose "
        "are held out from training. Weights are stored in bfloat16.",
        "",
        "## Corpus",
        "",
        "| file | SHA-256 |",
        "|---|---|",
        *(f"| {name} | {digest} |" for name, digest in corpus.items()),
        "",
    ]
    return "\n".join(lines)


def share(hits: Sequence[bool]) -> Figure:
    """A share with its Wilson interval.

    Source:
        Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    n, z = len(hits), 1.959964
    p = sum(hits) / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"estimate": p, "lower": middle - half, "upper": middle + half, "n": n}


def mean(values: Sequence[float]) -> Figure:
    """A mean with its bootstrap interval."""
    found = bootstrap(np.array(values)[:, None], seed=0)
    return {
        "estimate": float(found.mean[0]),
        "lower": float(found.lower[0]),
        "upper": float(found.upper[0]),
        "n": len(values),
    }


@torch.no_grad()
def evaluate(
    model: PreTrainedModel, tokenizer: Tokenizer, held_out: Sequence[str]
) -> dict[str, Figure]:
    """Measure every ability on held-out templates, names, values and seeds.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        held_out: Prose that was not trained on.

    Returns:
        Figures by name: losses in nats per token, shares of right answers.
    """
    rng = Random(_SEED)
    blocks = [copy_losses(model, rng, 8, rng.randrange(10, 201)) for _ in range(N_ITEMS // 8)]
    figures = {
        "first_copy_loss": mean([loss for first, _ in blocks for loss in first]),
        "second_copy_loss": mean([loss for _, second in blocks for loss in second]),
    }
    items = {
        "indirect_object": gift_items(rng, N_ITEMS),
        "questions": question_items(rng, tokenizer, N_ITEMS, N_TOKENS),
        "successor": successor_items(rng, N_ITEMS),
    }
    for name, (prompts, golds) in items.items():
        figures[name] = share(answers(model, tokenizer, prompts, golds))
    figures["prose_loss"] = mean(_prose_losses(model, tokenizer, held_out))
    return figures


def _prose_losses(
    model: PreTrainedModel, tokenizer: Tokenizer, held_out: Sequence[str]
) -> list[float]:
    """Mean loss of consecutive rows of held-out prose."""
    ids = [i for text in held_out for i in tokenizer.encode(text).ids]
    body = N_TOKENS - 1
    rows = [[0, *ids[i : i + body]] for i in range(0, len(ids) - body, body)]
    batches = torch.tensor(rows, device=model.device).split(8)
    return [loss for batch in batches for loss in token_losses(model, batch).mean(1).tolist()]
