"""Forward passes written out by hand in float64: every formula in sight, no layer of a library.

Each takes a state dict and tokens (batch, pos) and answers with what the instrumented models
show. Loops over heads and queries are meant: nothing here is shared with what it checks.
"""

from dataclasses import dataclass, field

import numpy as np

State = dict[str, np.ndarray]


@dataclass
class Forward:
    """What a forward pass shows, one entry a layer."""

    pattern: list[np.ndarray] = field(default_factory=list)
    """(batch, head, query, key)"""
    z: list[np.ndarray] = field(default_factory=list)
    """(batch, head, query, d_head)"""
    attn_out: list[np.ndarray] = field(default_factory=list)
    """(batch, pos, d_model)"""
    resid: list[np.ndarray] = field(default_factory=list)
    """Residual stream before each layer, and after the last (batch, pos, d_model)."""
    logits: np.ndarray = field(default_factory=lambda: np.empty(0))


def rms_norm(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain


def layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * gain + bias


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def rope(x: np.ndarray, theta: float, *, adjacent: bool) -> np.ndarray:
    """Rotate pairs of coordinates of (batch, pos, d_head), one position and pair at a time."""
    rotated = x.copy()
    n_pairs = x.shape[-1] // 2
    for position in range(x.shape[1]):
        for pair in range(n_pairs):
            i, j = (2 * pair, 2 * pair + 1) if adjacent else (pair, pair + n_pairs)
            angle = position * theta ** (-pair / n_pairs)
            a, b = x[:, position, i], x[:, position, j]
            rotated[:, position, i] = a * np.cos(angle) - b * np.sin(angle)
            rotated[:, position, j] = a * np.sin(angle) + b * np.cos(angle)
    return rotated


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Causal attention of one head on (batch, pos, d_head): its pattern and z."""
    batch, n_pos, d_head = q.shape
    pattern = np.zeros((batch, n_pos, n_pos))
    for row in range(batch):
        for query in range(n_pos):
            scores = [q[row, query] @ k[row, key] / np.sqrt(d_head) for key in range(query + 1)]
            weights = np.exp(np.array(scores) - max(scores))
            pattern[row, query, : query + 1] = weights / weights.sum()
    return pattern, pattern @ v


def add_heads(
    forward: Forward, heads: list[tuple[np.ndarray, np.ndarray]], w_o: np.ndarray, b_o: np.ndarray
) -> np.ndarray:
    """Keep what the heads show, and return what they write together; `w_o` is (in, out)."""
    forward.pattern.append(np.stack([pattern for pattern, _ in heads], axis=1))
    forward.z.append(np.stack([z for _, z in heads], axis=1))
    d_head = heads[0][1].shape[-1]
    attn_out = b_o + sum(z @ w_o[h * d_head : (h + 1) * d_head] for h, (_, z) in enumerate(heads))
    forward.attn_out.append(attn_out)
    return attn_out


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Sizes and names of a decoder with RMSNorm, RoPE and grouped keys and values."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    theta: float
    eps: float
    adjacent: bool = False


def _rotary_attention(
    x: np.ndarray, weights: dict[str, np.ndarray], sizes: Rotary, forward: Forward
) -> np.ndarray:
    """Heads of one layer; `weights` holds q, k, v and o as (out, in)."""
    d_head = weights["q"].shape[0] // sizes.n_heads
    heads: list[tuple[np.ndarray, np.ndarray]] = []
    for head in range(sizes.n_heads):
        kv = head * sizes.n_kv_heads // sizes.n_heads
        q = x @ weights["q"][head * d_head : (head + 1) * d_head].T
        k = x @ weights["k"][kv * d_head : (kv + 1) * d_head].T
        v = x @ weights["v"][kv * d_head : (kv + 1) * d_head].T
        q, k = (rope(t, sizes.theta, adjacent=sizes.adjacent) for t in (q, k))
        heads.append(attend(q, k, v))
    return add_heads(forward, heads, weights["o"].T, np.zeros(weights["o"].shape[0]))


def _attention_weights(w: State, prefix: str) -> dict[str, np.ndarray]:
    return {name: w[f"{prefix}.{name}_proj.weight"] for name in "qkvo"}


def llama(w: State, ids: np.ndarray, sizes: Rotary) -> Forward:
    """RMSNorm, RoPE, grouped heads, SwiGLU."""
    forward, x = Forward(), w["model.embed_tokens.weight"][ids]
    for layer in range(sizes.n_layers):
        forward.resid.append(x)
        at = f"model.layers.{layer}"
        normed = rms_norm(x, w[f"{at}.input_layernorm.weight"], sizes.eps)
        weights = _attention_weights(w, f"{at}.self_attn")
        x = x + _rotary_attention(normed, weights, sizes, forward)
        normed = rms_norm(x, w[f"{at}.post_attention_layernorm.weight"], sizes.eps)
        gate, up, down = (w[f"{at}.mlp.{part}_proj.weight"].T for part in ("gate", "up", "down"))
        x = x + (silu(normed @ gate) * (normed @ up)) @ down
    forward.resid.append(x)
    unembedding = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    forward.logits = rms_norm(x, w["model.norm.weight"], sizes.eps) @ unembedding.T
    return forward


def llama_simple_mlp(w: State, ids: np.ndarray, sizes: Rotary) -> Forward:
    """RMSNorm, RoPE, grouped heads, an MLP without a gate, tied embeddings."""
    forward, x = Forward(), w["wte.weight"][ids]
    for layer in range(sizes.n_layers):
        forward.resid.append(x)
        at = f"h.{layer}"
        normed = rms_norm(x, w[f"{at}.rms_1.weight"], sizes.eps)
        weights = _attention_weights(w, f"{at}.attn")
        x = x + _rotary_attention(normed, weights, sizes, forward)
        normed = rms_norm(x, w[f"{at}.rms_2.weight"], sizes.eps)
        hidden = gelu_tanh(normed @ w[f"{at}.mlp.c_fc.weight"].T)
        x = x + hidden @ w[f"{at}.mlp.down_proj.weight"].T
    forward.resid.append(x)
    forward.logits = rms_norm(x, w["ln_f.weight"], sizes.eps) @ w["wte.weight"].T
    return forward


def gpt2(w: State, ids: np.ndarray, n_layers: int, n_heads: int) -> Forward:
    """LayerNorm, learned positions, biases, GELU; weights are (in, out)."""
    eps = 1e-5
    forward = Forward()
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: ids.shape[1]]
    for layer in range(n_layers):
        forward.resid.append(x)
        at = f"transformer.h.{layer}"
        normed = layer_norm(x, w[f"{at}.ln_1.weight"], w[f"{at}.ln_1.bias"], eps)
        qkv = normed @ w[f"{at}.attn.c_attn.weight"] + w[f"{at}.attn.c_attn.bias"]
        q, k, v = np.split(qkv, 3, axis=-1)
        slices = [np.split(t, n_heads, axis=-1) for t in (q, k, v)]
        heads = [attend(*(part[head] for part in slices)) for head in range(n_heads)]
        w_o, b_o = (w[f"{at}.attn.c_proj.{part}"] for part in ("weight", "bias"))
        x = x + add_heads(forward, heads, w_o, b_o)
        normed = layer_norm(x, w[f"{at}.ln_2.weight"], w[f"{at}.ln_2.bias"], eps)
        hidden = gelu_tanh(normed @ w[f"{at}.mlp.c_fc.weight"] + w[f"{at}.mlp.c_fc.bias"])
        x = x + hidden @ w[f"{at}.mlp.c_proj.weight"] + w[f"{at}.mlp.c_proj.bias"]
    forward.resid.append(x)
    final = (w["transformer.ln_f.weight"], w["transformer.ln_f.bias"])
    forward.logits = layer_norm(x, *final, eps) @ w["transformer.wte.weight"].T
    return forward
