"""A GPT-2 of attention alone, written by hand: what each of its heads does is known exactly.

The residual stream holds the token, its place, the token before, and a flag, each as a coordinate
that is 0 or not; one more coordinate balances them, so that a LayerNorm finds a mean of 0 and only
scales. MLPs write nothing, and attention is saturated: patterns are 0 or 1 to the precision of the
type.

| head | looks at | writes |
|---|---|---|
| L0H0 | the token before | that token, as the one before |
| L0H1 | BOS, always | nothing: the value there is 0; anywhere else it would raise the token |
| L1H0 | after the earlier copy, else BOS | raises the token there and sets the flag; of BOS 0 |
| L1H1 | the same | nothing: its W_O is 0 (a decoy) |
| L2H0 | the same, but BOS where the flag is set (a backup) | raises the token there |
| the other 37 | everything alike | nothing: all weights are 0 |

So L2H0 acts only where L1H0 wrote nothing: zeroing L1H0 costs no copying, writing something else
in its place costs all of it, and so does zeroing both.
"""

import json
from pathlib import Path
from random import Random

import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers

N = 36
"""Tokens, positions, and the width of a head; BOS is token 0."""
N_LAYERS, N_HEADS = 3, 14
PREVIOUS, SINK, COPIER, DECOY, BACKUP = (0, 0), (0, 1), (1, 0), (1, 1), (2, 0)
TOKEN, PLACE, BEFORE = (slice(i * N, (i + 1) * N) for i in range(3))
FLAG, BALANCE = 3 * N, 3 * N + 1
GAIN = 10.0
"""Of a query that matches; half of it on BOS, so that a head without a match rests there."""


def constructed(folder: Path) -> str:
    """Save the model with a tokenizer of one word a token.

    Returns:
        The folder, as experiments take it.
    """
    config = tf.GPT2Config(
        vocab_size=N,
        n_embd=N_HEADS * N,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_positions=N,
        n_inner=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    net, eye = tf.GPT2LMHeadModel(config), torch.eye(N)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "ln" not in name:
                parameter.zero_()
        embeddings = (net.transformer.wte, TOKEN), (net.transformer.wpe, PLACE)
        for embedding, part in embeddings:
            embedding.weight[:, part] = eye
            embedding.weight[:, BALANCE] = -1
        first, second, third = (block.attn for block in net.transformer.h)
        _writes(first, 0, TOKEN, BEFORE, 1 / 8)
        _looks(first, 0, (PLACE, GAIN * eye), (PLACE, torch.diag(torch.ones(N - 1), 1)))
        _rests(first, 1)
        _writes(first, 1, TOKEN, TOKEN, 1.0)
        for attention, head in ((second, 0), (second, 1), (third, 0)):
            _looks(attention, head, (TOKEN, GAIN * eye), (BEFORE, eye))
            _rests(attention, head)
            _writes(attention, head, TOKEN, TOKEN, 2.0 if (attention, head) != (second, 1) else 0.0)
        _sets_flag(second, 0)
        third.c_attn.weight[FLAG, 0] = 3 * GAIN
    net.save_pretrained(folder)
    words = {"<bos>": 0, **{f"w{i}": i for i in range(1, N)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<bos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>")
    fast.save_pretrained(folder)
    return str(folder)


def numbered(path: Path, word: str, n_words: int, length: int) -> str:
    """Save documents of words in random order, each twice in the same order.

    Args:
        path: A `.jsonl` file.
        word: What stands before the numbers 1 to `n_words`.
        n_words: Different words.
        length: Words that are repeated.

    Returns:
        The path, as experiments take it.
    """
    rng = Random(0)
    rows = [rng.sample(range(1, n_words + 1), length) for _ in range(120)]
    texts = [" ".join(f"{word}{i}" for i in (*row, *row)) for row in rows]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return str(path)


def _looks(attention, head: int, query, key) -> None:
    """Write what a head matches: parts of the stream, and what is made of them."""
    for i, (part, values) in enumerate((query, key)):
        attention.c_attn.weight[part, _own(attention, i, head)] = values


def _rests(attention, head: int) -> None:
    """Let a head look at BOS where nothing matches: BOS is in its own dimension of every query."""
    query, key = (_own(attention, i, head).start for i in range(2))
    attention.c_attn.weight[BEFORE.start, key] = 0
    attention.c_attn.weight[TOKEN.start, key] = 1
    attention.c_attn.bias[query] = 3 * GAIN


def _writes(attention, head: int, read: slice, written: slice, strength: float) -> None:
    """Copy what stands in one part to another, balanced; BOS has no value."""
    rows, values = slice(head * N, (head + 1) * N), torch.eye(N)
    if written == TOKEN:
        values[0] = 0
    attention.c_attn.weight[read, _own(attention, 2, head)] = values
    attention.c_proj.weight[rows, written] = strength * torch.eye(N)
    attention.c_proj.weight[rows, BALANCE] = -strength


def _sets_flag(attention, head: int) -> None:
    """Let a head say that it read a word, in the dimension of its values that BOS leaves free."""
    value = _own(attention, 2, head).start
    attention.c_attn.weight[TOKEN.start + 1 : TOKEN.stop, value] = 1
    attention.c_proj.weight[head * N] = 0
    attention.c_proj.weight[head * N, FLAG] = 1
    attention.c_proj.weight[head * N, BALANCE] = -1


def _own(attention, i: int, head: int) -> slice:
    """Columns of a head's queries, keys or values."""
    start = i * N_HEADS * N + head * N
    return slice(start, start + N)
