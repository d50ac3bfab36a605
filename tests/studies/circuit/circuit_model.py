"""A GPT-2 of attention alone, written by hand, whose induction circuit is known.

With n tokens that it knows, coordinates 0 to n - 1 of the residual stream hold the token, the next
n the position, the next n the token before; the rest holds nothing. L0H0 looks one back and copies
the token there into the third part; L1H0 looks for its own token in the third part and raises the
token that it finds. All other heads hold small random weights, and the MLPs nothing.

With a lag, L0H0 looks that much farther back, and L0H1 copies the token that lies the lag back into
the fourth part, which L1H0 reads instead: the model copies as well, and L1H0 looks beside the
target by that lag. Unknown tokens all look like the first one.

With a decoy, L1H1 looks where L1H0 looks and writes nothing.
"""

from pathlib import Path

import torch
import transformers as tf

N = 48
"""Tokens, positions, and the width of a head."""
PREVIOUS, COPIER, DECOY = (0, 0), (1, 0), (1, 1)


def circuit_model(
    folder: Path,
    n: int = N,
    n_unknown: int = 0,
    lag: int = 0,
    *,
    decoy: bool = False,
    heads: int = 4,
) -> str:
    """Save the model.

    Args:
        folder: Where to.
        n: Tokens that it knows, and positions.
        n_unknown: Tokens that it never saw.
        lag: How far beside the target L1H0 looks.
        decoy: Whether L1H1 looks there, too.
        heads: Of a layer: 4, or the one that is written.

    Returns:
        The folder, as experiments take it.
    """
    torch.manual_seed(0)
    config = tf.GPT2Config(
        vocab_size=n + n_unknown,
        n_embd=4 * n,
        n_layer=2,
        n_head=heads,
        n_positions=n,
        n_inner=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    net = tf.GPT2LMHeadModel(config)
    eye, sharp = torch.eye(n), 10 * (4 / heads) ** 0.5  # scores are over the root of the width
    token, place, before, moved = (slice(i * n, (i + 1) * n) for i in range(4))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "ln" not in name:
                parameter.zero_()
            if name.endswith(("c_attn.weight", "attn.c_proj.weight")):
                parameter.normal_(std=0.01)
        net.transformer.wte.weight[:n, token] = eye
        net.transformer.wte.weight[n:, 1] = 1
        net.transformer.wpe.weight[:, place] = eye
        first, second = (block.attn for block in net.transformer.h)
        back = [torch.diag(torch.ones(n - d), d) for d in (1 + lag, max(lag, 1))]
        _set(first, 0, (place, eye * sharp), (place, back[0]), (token, before), 1.0)
        if lag:
            _set(first, 1, (place, eye * sharp), (place, back[1]), (token, moved), 1.0)
        found = moved if lag else token
        _set(second, 0, (token, eye * sharp), (before, eye), (found, token), 3.0)
        if decoy:
            _set(second, 1, (token, eye * sharp), (before, eye), (found, token), 0.0)
    net.save_pretrained(folder)
    return str(folder)


def _set(attention, head, query, key, ways: tuple[slice, slice], strength: float) -> None:
    """Write a head: what it queries and matches by, and from where to where it copies tokens."""
    weight, n, (read, written) = attention.c_attn.weight, query[1].shape[0], ways
    for i, (part, values) in enumerate((query, key, (read, torch.eye(n)))):
        own = slice((4 * i + head) * n, (4 * i + head + 1) * n)
        weight[:, own] = 0
        weight[part, own] = values
    own = slice(head * n, (head + 1) * n)
    attention.c_proj.weight[own] = 0
    attention.c_proj.weight[own, written] = strength * torch.eye(n)
