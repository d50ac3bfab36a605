"""What the reference model can do, measured on held-out templates, names, values and seeds."""

import math
from random import Random

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from analysis.text import english, records, words
from analysis.text.repeats import repeated_tokens


def token_losses(
    model: nn.Module, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos_minus_1"]:
    """Cross entropy of every next token, in nats."""
    logits = model(tokens[:, :-1], use_cache=False).logits.float()
    return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")


def copy_losses(
    model: PreTrainedModel, tokens: Int[Tensor, "batch pos"]
) -> tuple[list[float], list[float]]:
    """Mean loss per sequence on the first and on the second copy of a block, in nats.

    Args:
        model: The model.
        tokens: BOS and a block shown twice; the second copy's first token is not predictable and
            not counted.

    Returns:
        Losses on the first copy and on the second.
    """
    block_len = (tokens.shape[1] - 1) // 2
    loss = token_losses(model, tokens.long().to(model.device))
    first: list[float] = loss[:, :block_len].mean(1).tolist()
    second: list[float] = loss[:, block_len + 1 :].mean(1).tolist()
    return first, second


def answers(
    model: PreTrainedModel, tokenizer: Tokenizer, prompts: list[str], golds: list[str]
) -> list[bool]:
    """Whether greedy decoding continues each prompt with exactly its answer's tokens.

    All the answer's tokens are fed at once: they are the greedy answer exactly when each is the
    argmax given the ones before it.
    """
    right: list[bool] = []
    for prompt, gold in zip(prompts, golds, strict=True):
        start = [0, *tokenizer.encode(prompt).ids]
        answer = tokenizer.encode(f" {gold}").ids
        ids = torch.tensor([start + answer], device=model.device)
        best = model(ids[:, :-1], use_cache=False).logits[0, len(start) - 1 :].argmax(-1)
        right.append(best.tolist() == answer)
    return right


def gift_items(rng: Random, n: int) -> tuple[list[str], list[str]]:
    """Held-out indirect-object prompts and their receivers."""
    gifts = [english.gift(rng, english.Split.TEST) for _ in range(n)]
    return [gift.prompt for gift in gifts], [gift.io for gift in gifts]


def question_items(
    rng: Random, tokenizer: Tokenizer, n: int, n_tokens: int, n_records: int
) -> tuple[list[str], list[str]]:
    """Held-out questions on some filings, the context filled up to about `n_tokens` tokens."""
    prompts: list[str] = []
    golds: list[str] = []
    while len(prompts) < n:
        state = rng.getstate()
        n_filler = 0
        item = records.questions(rng, english.Split.TEST, n_records, n_filler)[0]
        while n_filler < 40:
            rng.setstate(state)
            longer = records.questions(rng, english.Split.TEST, n_records, n_filler + 4)[0]
            ids = tokenizer.encode(f"{longer.context}\n{longer.question} {longer.answer}").ids
            if len(ids) + 1 > n_tokens:
                break
            item, n_filler = longer, n_filler + 4
        prompts.append(f"{item.context}\n{item.question}")
        golds.append(item.answer)
    return prompts, golds


def successor_items(rng: Random, n: int) -> tuple[list[str], list[str]]:
    """Held-out list prompts, cut after a comma, and the member that follows."""
    prompts: list[str] = []
    golds: list[str] = []
    for _ in range(n):
        kind = rng.choice(tuple(words.SEQUENCES))
        length = rng.randrange(4, min(len(words.SEQUENCES[kind]), 12))
        text = english.ordered_list(rng, english.Split.TEST, kind, length)
        prompt, gold = text.rsplit(" ", 1)
        prompts.append(prompt)
        golds.append(gold)
    return prompts, golds


@torch.no_grad()
def abilities(
    model: PreTrainedModel, tokenizer: Tokenizer, seed: int, n: int, n_tokens: int
) -> dict[str, float]:
    """Accuracies in [0, 1] and losses in nats, on `n` held-out items each."""
    rng = Random(f"abilities/{seed}")
    ids, block_len = range(1, model.config.vocab_size), min(100, n_tokens // 2 - 1)
    rows = [repeated_tokens(rng, ids, [0], block_len, shuffled=False) for _ in range(8)]
    first, second = copy_losses(model, torch.tensor(rows))
    n_records = max(1, n_tokens // 128)
    gifts = gift_items(rng, n)
    questions = question_items(rng, tokenizer, n, n_tokens, n_records)
    return {
        "first_copy_loss": math.fsum(first) / len(first),
        "second_copy_loss": math.fsum(second) / len(second),
        "indirect_object": sum(answers(model, tokenizer, *gifts)) / n,
        "questions": sum(answers(model, tokenizer, *questions)) / n,
        "successor": sum(answers(model, tokenizer, *successor_items(rng, n))) / n,
    }
