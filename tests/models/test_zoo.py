"""A kind of model for every mechanism: what is computed of it is right, or absent with a reason."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

import pytest
import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from analysis.attention import attention
from analysis.errors import UserError
from analysis.models.load import load_model
from analysis.models.network import switch
from analysis.models.parts.anatomy import anatomy
from analysis.models.parts.holds import measured
from analysis.models.parts.look import SHORT, probe, shown_logits

from .zoo import beside_effects, beside_weights
from .zoo.beside_stock import BAR, N_POS, Pair, logits_of, off, tokens
from .zoo.build import build, save
from .zoo.kinds import every_kind
from .zoo.sweep import CHECKS, Row, looked_at

EVERY = every_kind()
NONE: frozenset[str] = frozenset()
COMPOSED, PATHS = {"composed"}, {"paths"}
"""Heads that write what they attend to through W_O alone; layers that add it as it is."""
LINEAR = {"weights", "composed"}
"""Queries, keys and values that are linear in what attention reads."""
ADDED = {"direct", "paths"}
"""A share of what heads write that arrives at the end."""
STREAM = ADDED | {"composed", "copying"}
"""All that rests on such a share."""
NEITHER = LINEAR | STREAM

ABSENT: dict[str, AbstractSet[str]] = {
    # parallel blocks, biases, packed keys and values, windows
    **dict.fromkeys(("llama, biases", "gpt2, scores by layer", "gpt_neox", "phi3"), NONE),
    **dict.fromkeys(("persimmon", "gpt_bigcode", "gpt_bigcode, many key heads"), NONE),
    **dict.fromkeys(("nanochat", "mimo_v2_flash", "gpt_oss", "granite_swa"), NONE),
    # a norm behind attention; factors of what it writes
    **dict.fromkeys(("olmo2", "gemma2, caps", "gemma3, two windows"), PATHS),
    "granite, as released": PATHS,
    "doge": STREAM,
    # a gate or a norm before W_O
    **dict.fromkeys(("qwen3_next", "laguna, heads by layer", "bitnet"), COMPOSED),
    "afmoe": COMPOSED | PATHS,
    # keys and values through a narrow space, clipped, normed or mixed over positions
    **dict.fromkeys(("deepseek_v3, wide values", "olmo, clipped", "mistral_large4"), LINEAR),
    "minicpm3": LINEAR | PATHS,
    "gemma4_text": LINEAR | PATHS,
    "gemma3n_text": NEITHER,
    "zaya": NEITHER,
    # indexed keys
    **dict.fromkeys(("deepseek_v32, few keys", "glm_moe_dsa, few keys"), LINEAR),
    "axk2": LINEAR | {"norms"},
    "hy_v4, few keys": NEITHER,
    "minimax_m3, few blocks": NONE,
    # more terms of scores; queries that grow with their position
    "inkling_text": NEITHER,
    "inkling, padded vocabulary": NEITHER,
    "inkling2, short reach": NEITHER,
    "llama4, temperature": NONE,
    # layers that do not attend
    **dict.fromkeys(("lfm2", "jamba", "falcon_h1", "nemotron_h", "recurrent_gemma"), NONE),
    "olmo_hybrid": PATHS,
    "minimax": STREAM,
    # a norm behind the sum
    **dict.fromkeys(("bert, decoder", "rembert, decoder", "bart"), STREAM),
    **dict.fromkeys(("opt, post-norm", "openai-gpt"), STREAM),
    # attention of their own
    **dict.fromkeys(("gptj", "gpt_neo", "codegen", "stablelm", "mpt"), NONE),
    # decoders inside models of text and pictures
    **dict.fromkeys(("llava", "qwen2_vl", "idefics3"), NONE),
}
"""By kind, the checks whose answer it lacks."""

REFUSED = {
    "bert": "looks ahead",
    "gemma3, both ways": "looks ahead",
    "mamba": "found none",
    "mamba2": "of which some attend",
    "reformer": "of which some attend",
    "diffllama": "mixes heads",
    "deepseek_v4": "keys for .* tokens",
    "longcat_flash": "several in layer 0",
    "zamba2": "shares one among layers",
    "big_bird": "exchanges their attention",
    "jetmoe": "does not write so in layer 0",
}


def made(name: str, folder) -> Pair:
    model_type, changes, pictures = EVERY[name]
    net = build(model_type, changes, with_pictures=pictures)
    return Pair(load_model(str(save(net, folder))), net)


@pytest.mark.parametrize("name", ABSENT)
def test_a_kind_is_right_or_absent_with_a_reason(name, tmp_path):
    row = looked_at(made(name, tmp_path), Row(name))
    assert row.wrong == []
    assert row.absent.keys() == ABSENT[name]
    assert all(reason.startswith("expected ") for reason in row.absent.values())
    assert row.gaps.keys() | row.absent.keys() == CHECKS.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_in_a_line(name, tmp_path):
    with pytest.raises(UserError, match=REFUSED[name]) as caught:
        made(name, tmp_path)
    assert "\n" not in str(caught.value)


def without_mask(module, query, key, value, attention_mask, scaling=None, **kwargs):
    return attention(module, query, key, value, attention_mask * 0, scaling, **kwargs)


def without_terms(module, query, key, value, attention_mask, scaling=None, **kwargs):
    known = {name: kwargs[name] for name in ("taps",) if name in kwargs}
    return attention(module, query, key, value, attention_mask, scaling, **known)


def with_larger_head(module, query, key, value, attention_mask, scaling=None, **kwargs):
    z, none = attention(module, query, key, value, attention_mask, scaling, **kwargs)
    return z * torch.tensor([1.0, 1.1, 1.0, 1.0])[:, None], none


FAULTS = [
    ("llama", without_mask),
    ("gpt_oss", without_terms),
    ("inkling_text", without_terms),
    ("glm_moe_dsa, few keys", without_terms),
    ("llama", with_larger_head),
]


@pytest.mark.parametrize(
    ("name", "fault"), FAULTS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_faulty_attention_is_seen_here_and_at_load(name, fault, tmp_path):
    pair = made(name, tmp_path)
    AttentionInterface.register(fault.__name__, fault)
    AttentionMaskInterface.register(fault.__name__, eager_mask)
    ids = probe(pair.model.card)
    switch(pair.model.net, "eager")
    found = anatomy(pair.model.net, ids[:, :SHORT], pair.model.card.architecture)
    stock = shown_logits(pair.model.net, found.unembedding, ids)
    switch(pair.model.net, fault.__name__)
    row = looked_at(pair, Row(name))
    assert any(phrase.startswith("logits: ") for phrase in row.wrong)
    with pytest.raises(UserError, match="logits of transformers' own attention"):
        measured(pair.model.net, found, pair.model.card, ids, stock)


def with_blocks(pair: Pair, **changes) -> Pair:
    blocks = tuple(replace(block, **changes) for block in pair.model.blocks)
    return replace(pair, model=replace(pair.model, blocks=blocks))


def test_a_part_that_is_overlooked_is_seen(tmp_path):
    pair = made("gemma2, caps", tmp_path)
    for check, changes in (
        (beside_weights.shares, {"after": None}),
        (beside_weights.norms, {"before": None}),
        (beside_effects.direct, {"after": None}),
    ):
        assert max(check(pair).values()) < BAR
        assert max(check(with_blocks(pair, **changes)).values()) > BAR


def test_a_share_that_is_not_what_arrives_is_seen(tmp_path):
    pair = made("granite, as released", tmp_path)
    assert pair.model.holds.adds[0] == pytest.approx(0.22, abs=1e-5)
    holds = replace(pair.model.holds, adds=(1.0, *pair.model.holds.adds[1:]))
    other = replace(pair, model=replace(pair.model, holds=holds))
    for check in (beside_weights.shares, beside_effects.direct):
        assert max(check(pair).values()) < BAR
        assert max(check(other).values()) > BAR


def test_checks_reach_past_every_window(tmp_path):
    """Else a window that is left out would be right."""
    net = build("mistral")
    other = build("mistral", {"sliding_window": None})
    gaps = [off(logits_of(net, tokens(n)), logits_of(other, tokens(n))) for n in (5, N_POS)]
    assert gaps[0] < BAR < gaps[1]
