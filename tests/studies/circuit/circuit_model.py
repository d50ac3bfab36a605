"""A GPT-2 of attention alone, written by hand, whose induction circuit is known.

Coordinates 0-47 of the residual stream hold the token, 48-95 the position, 96-143 the token
before; the rest holds nothing. L0H0 looks one back and copies the token there into the third part;
L1H0 looks for its own token in the third part and raises the token that it finds. All other heads
hold small random weights, and the MLPs nothing.
"""

from pathlib import Path

import torch
import transformers as tf

N = 48
"""Tokens, positions, and the width of a head."""
PREVIOUS, COPIER = (0, 0), (1, 0)
TOKEN, PLACE, BEFORE = slice(0, N), slice(N, 2 * N), slice(2 * N, 3 * N)


def circuit_model(folder: Path) -> str:
    """Save the model.

    Args:
        folder: Where to.

    Returns:
        The folder, as experiments take it.
    """
    torch.manual_seed(0)
    config = tf.GPT2Config(
        vocab_size=N,
        n_embd=4 * N,
        n_layer=2,
        n_head=4,
        n_positions=N,
        n_inner=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    net = tf.GPT2LMHeadModel(config)
    eye = torch.eye(N)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "ln" not in name:
                parameter.zero_()
            if name.endswith(("c_attn.weight", "attn.c_proj.weight")):
                parameter.normal_(std=0.01)
        net.transformer.wte.weight[:, TOKEN] = eye
        net.transformer.wpe.weight[:, PLACE] = eye
        one_on = torch.zeros(N, N)
        one_on[range(N - 1), range(1, N)] = 1
        previous, copier = (block.attn for block in net.transformer.h)
        _set(previous, (PLACE, eye * 10), (PLACE, one_on), BEFORE, 1.0)
        _set(copier, (TOKEN, eye * 10), (BEFORE, eye), TOKEN, 3.0)
    net.save_pretrained(folder)
    return str(folder)


def _set(attention, query, key, written: slice, strength: float) -> None:
    """Write head 0: what it queries and matches by, and where it copies the token to."""
    weight, n = attention.c_attn.weight, 4 * N
    for start in (0, n, 2 * n):
        weight[:, start : start + N] = 0
    weight[query[0], 0:N] = query[1]
    weight[key[0], n : n + N] = key[1]
    weight[TOKEN, 2 * n : 2 * n + N] = torch.eye(N)
    attention.c_proj.weight[:N] = 0
    attention.c_proj.weight[:N, written] = strength * torch.eye(N)
