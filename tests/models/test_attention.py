"""The instrumented attention function computes what every stock model computes."""

from copy import deepcopy

import pytest
import torch
import transformers as tf

from analysis import attention
from analysis.attention import NAME, Site, Taps, Where

from .architectures import GQA, SUPPORTED, VOCAB, build

EXPLICIT = Taps(watch=lambda _where, _pattern: None)
FAST = Taps()
WITHOUT_SDPA = {"gemma2", "gpt_oss"}
"""The stock fused implementation knows neither soft caps nor sinks."""
WINDOW = 6


def tokens(n_pos: int, batch: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, VOCAB, (batch, n_pos), generator=generator)


def padding(side: str, n_pos: int) -> torch.Tensor:
    """A mask whose row i has i + 1 padded positions; row 0 has none."""
    mask = torch.ones(3, n_pos, dtype=torch.long)
    for row in (1, 2):
        mask[row, (slice(None, row + 1) if side == "left" else slice(-row - 1, None))] = 0
    return mask


def logits(net, ids, **kwargs) -> torch.Tensor:
    with torch.no_grad():
        return net(ids, use_cache=False, **kwargs).logits


def watched(net, ids, **kwargs) -> list[torch.Tensor]:
    """Every layer's pattern."""
    seen: dict[int, list[torch.Tensor]] = {}

    def watch(where: Where, pattern: torch.Tensor) -> None:
        seen.setdefault(where.layer, []).append(pattern.clone())

    logits(net, ids, taps=Taps(watch=watch), **kwargs)
    return [torch.cat(seen[layer]) for layer in sorted(seen)]


def switched(net):
    ours = deepcopy(net)
    ours.set_attn_implementation(NAME)
    return ours


@pytest.fixture(scope="module", params=SUPPORTED)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def stock(name):
    return build(deepcopy(SUPPORTED[name]))


@pytest.fixture(scope="module")
def ours(stock):
    return switched(stock)


@pytest.mark.parametrize("taps", [EXPLICIT, FAST], ids=["explicit", "fast"])
@pytest.mark.parametrize("n_pos", [WINDOW - 1, 2 * WINDOW + 1])
def test_logits_equal_the_stock_models(stock, ours, n_pos, taps):
    ids = tokens(n_pos)
    expected = logits(stock, ids)
    torch.testing.assert_close(logits(ours, ids, taps=taps), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("taps", [EXPLICIT, FAST], ids=["explicit", "fast"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_of_real_tokens_equal_the_stock_models_under_padding(stock, ours, side, taps):
    ids, mask = tokens(9), padding(side, 9)
    expected = logits(stock, ids, attention_mask=mask)[mask.bool()]
    found = logits(ours, ids, attention_mask=mask, taps=taps)[mask.bool()]
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    unpadded = logits(stock, ids)[mask.bool()]
    if side == "left":
        assert not torch.allclose(found, unpadded, atol=1e-3), "the mask changed nothing"


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", sorted(SUPPORTED.keys() - WITHOUT_SDPA), scope="module")
def test_logits_equal_stock_sdpa(stock, ours, padded):
    ids, mask = tokens(13), padding("left", 13) if padded else torch.ones(3, 13).long()
    fused = deepcopy(stock)
    fused.set_attn_implementation("sdpa")
    expected = logits(fused, ids, attention_mask=mask)[mask.bool()]
    for taps in (EXPLICIT, FAST):
        found = logits(ours, ids, attention_mask=mask, taps=taps)[mask.bool()]
        torch.testing.assert_close(found, expected, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("side", [None, "left", "right"])
def test_patterns_equal_transformers_own(stock, ours, side):
    ids, mask = tokens(13), None if side is None else padding(side, 13)
    with torch.no_grad():
        own = stock(ids, attention_mask=mask, output_attentions=True).attentions
    found = watched(ours, ids, attention_mask=mask)
    assert len(found) == len(own) == 2
    real = torch.ones(3, 13, dtype=torch.bool) if mask is None else mask.bool()
    for pattern, expected in zip(found, own, strict=True):
        rows = (t.transpose(1, 2)[real] for t in (pattern, expected))
        torch.testing.assert_close(*rows, atol=1e-6, rtol=1e-5)


def test_patterns_are_causal_and_their_rows_are_shares_of_one(name, ours):
    for pattern in watched(ours, tokens(13)):
        assert pattern.shape == (3, 4, 13, 13)
        assert torch.equal(pattern, pattern.tril())
        assert (pattern >= 0).all()
        total = pattern.sum(-1)
        if name == "gpt_oss":
            assert (total < 1).all(), "the sinks took nothing"
        else:
            torch.testing.assert_close(total, torch.ones_like(total))


def test_patterns_end_at_the_sliding_window(name, ours):
    config = ours.config
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * 2
    is_sliding = [
        getattr(config, "sliding_window", None) == WINDOW and kind == "sliding_attention"
        for kind in kinds
    ]
    far = torch.ones(13, 13).tril(-WINDOW).bool()
    for pattern, sliding in zip(watched(ours, tokens(13)), is_sliding, strict=True):
        assert (pattern[..., far] == 0).all() if sliding else (pattern[..., far] > 0).all()
    assert any(is_sliding) == (name in {"mistral", "gemma2", "gemma3", "gpt_oss"})


@pytest.mark.parametrize("softcap", [0.05, 50.0])
def test_scores_are_capped_where_the_layer_caps_them(softcap):
    config = deepcopy(SUPPORTED["gemma2"])
    config.attn_logit_softcapping = softcap
    net, ids, seen = build(config), tokens(13), []
    ours = switched(net)
    torch.testing.assert_close(logits(ours, ids), logits(net, ids), atol=2e-6, rtol=1e-5)

    def note(_where: Where, scores: torch.Tensor) -> torch.Tensor:
        seen.append(scores.clone())
        return scores

    logits(ours, ids, taps=Taps(edits={Site.SCORES: note}))
    visible = torch.cat(seen).diagonal(dim1=-2, dim2=-1).abs()
    assert (visible <= softcap).all()
    assert visible.max() > 0.01


def test_sinks_change_the_answer():
    net = build(deepcopy(SUPPORTED["gpt_oss"]))
    without = deepcopy(net)
    for layer in without.model.layers:
        layer.self_attn.sinks.data.fill_(-1e4)
    found, bare = (watched(switched(model), tokens(9))[0] for model in (net, without))
    torch.testing.assert_close(bare.sum(-1), torch.ones(3, 4, 9))
    torch.testing.assert_close(found / found.sum(-1, keepdim=True), bare, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 4 * 13 * 13 * 2])
@pytest.mark.parametrize("name", ["llama", "gpt_oss", "gemma2", "gpt2"], scope="function")
def test_chunks_change_nothing(name, chunk, monkeypatch):
    ours, ids, mask = switched(build(deepcopy(SUPPORTED[name]))), tokens(13), padding("left", 13)
    whole = watched(ours, ids, attention_mask=mask)
    expected = logits(ours, ids, attention_mask=mask, taps=EXPLICIT)
    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", chunk)
    rows: list[slice] = []
    taps = Taps(watch=lambda where, _pattern: rows.append(where.rows))
    found = logits(ours, ids, attention_mask=mask, taps=taps)
    step = 1 if chunk == 1 else 2
    cuts = [slice(start, min(start + step, 3)) for start in range(0, 3, step)]
    assert rows == cuts * 2
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    for pattern, one in zip(watched(ours, ids, attention_mask=mask), whole, strict=True):
        torch.testing.assert_close(pattern, one, atol=1e-6, rtol=1e-6)


def test_generation_with_the_cache_equals_stock_greedy_generation(stock, ours):
    ids, mask = tokens(7), padding("left", 7)
    asked = {"attention_mask": mask, "max_new_tokens": 9, "do_sample": False, "pad_token_id": 0}
    expected, found = (net.generate(ids, eos_token_id=None, **asked) for net in (stock, ours))
    assert torch.equal(found, expected)
    again = found[0, None]
    argmax = logits(ours, again)[0, 6:-1].argmax(-1)
    assert torch.equal(argmax, again[0, 7:]), "cached and uncached logits disagree"


@pytest.mark.parametrize("cut", [1, 8])
def test_a_cached_call_watches_the_new_queries_on_all_keys(ours, cut):
    ids, seen = tokens(12), []
    whole = watched(ours, ids)
    with torch.no_grad():
        cache = ours(ids[:, :cut], use_cache=True).past_key_values
        taps = Taps(watch=lambda _where, pattern: seen.append(pattern))
        ours(ids[:, cut:], past_key_values=cache, taps=taps)
    for pattern, full in zip(seen, whole, strict=True):
        if pattern.shape[-1] == 12:
            torch.testing.assert_close(pattern, full[..., cut:, :], atol=1e-6, rtol=1e-5)
        else:  # a sliding cache has dropped the keys that no query sees
            torch.testing.assert_close(
                pattern, full[..., cut:, -pattern.shape[-1] :], atol=1e-6, rtol=1e-5
            )


def test_query_heads_read_the_kv_head_of_their_group():
    """With kv head 0's values zero, exactly the query heads of its group read nothing."""
    net = build(tf.LlamaConfig(**GQA))
    net.model.layers[0].self_attn.v_proj.weight.data[:8] = 0
    read: dict[int, torch.Tensor] = {}

    def keep(where: Where, z: torch.Tensor) -> torch.Tensor:
        read[where.layer] = z
        return z

    for watch in (None, EXPLICIT.watch):
        logits(switched(net), tokens(5), taps=Taps(edits={Site.Z: keep}, watch=watch))
        silent = (read[0] == 0).flatten(2).all(-1)
        assert torch.equal(silent, torch.tensor([[True, True, False, False]] * 3))
