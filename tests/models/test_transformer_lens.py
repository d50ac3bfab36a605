"""Our scores against the head detector of TransformerLens, by exact relations.

Its `mul` measure is the attention on a 0/1 mask over all attention of the pattern, T for T
queries. So where both count the same entries, T times theirs is our mean times its number of
queries, plus the entries that only one of them counts.
"""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
import transformers as tf
from transformer_lens.head_detector import detect_head
from transformer_lens.model_bridge.sources import build_bridge_from_module

from analysis import scores
from analysis.attention import Taps
from analysis.models.load import load_model

from .architectures import GQA, VOCAB, build

CLOSE = {"atol": 2e-6, "rtol": 1e-5}
BLOCK = 7
DISTINCT = torch.randperm(VOCAB - 1, generator=torch.Generator().manual_seed(7))[:BLOCK] + 1
REPEATED = torch.cat([torch.tensor([0]), DISTINCT, DISTINCT])[None]
TEXT = torch.randint(1, 9, (1, 15), generator=torch.Generator().manual_seed(8))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same random Llama as TransformerLens sees it, and as we do."""
    folder = tmp_path_factory.mktemp("llama")
    net = build(tf.LlamaConfig(**GQA))
    net.save_pretrained(folder)
    stock = deepcopy(net)
    bridge = build_bridge_from_module(stock, "LlamaForCausalLM", hf_config=stock.config)
    theirs = SimpleNamespace(
        cfg=bridge.cfg, to_tokens=lambda ids: ids, run_with_cache=bridge.run_with_cache
    )
    return theirs, load_model(str(folder))


def detected(theirs, ids: torch.Tensor, kind: str, **options) -> torch.Tensor:
    """Their score of every head (layer, head)."""
    with torch.no_grad():
        return detect_head(theirs, ids, kind, error_measure="mul", **options)


def patterns(model, ids: torch.Tensor) -> torch.Tensor:
    """(layer, head, query, key)"""
    found: list[torch.Tensor] = []
    with torch.no_grad():
        taps = Taps(watch=lambda _where, pattern: found.append(pattern))
        model.net(ids, use_cache=False, taps=taps)
    return torch.cat(found)


def test_the_patterns_are_the_same(pair):
    theirs, model = pair
    with torch.no_grad():
        _, cache = theirs.run_with_cache(TEXT)
    for layer, pattern in enumerate(patterns(model, TEXT)):
        torch.testing.assert_close(cache["pattern", layer][0], pattern, **CLOSE)


@pytest.mark.parametrize("ids", [TEXT, REPEATED], ids=["text", "repeated"])
def test_previous_token(pair, ids):
    """They count query 1 looking at position 0, we do not."""
    theirs, model = pair
    pattern, n_pos = patterns(model, ids), ids.shape[1]
    ours = scores.previous_token_score(pattern)
    found = detected(theirs, ids, "previous_token_head") * n_pos
    torch.testing.assert_close(found, (n_pos - 2) * ours + pattern[..., 1, 0], **CLOSE)
    profile = scores.offset_profile(pattern, 2)[..., 1]
    torch.testing.assert_close(found, (n_pos - 1) * profile, **CLOSE)


def test_previous_token_without_position_0(pair):
    """With attention to BOS left out, they count our queries, over what attention remains."""
    theirs, model = pair
    pattern, n_pos = patterns(model, TEXT), TEXT.shape[1]
    found = detected(theirs, TEXT, "previous_token_head", exclude_bos=True)
    remaining = n_pos - 1 - (n_pos - 1) * scores.bos_score(pattern)
    counted = (n_pos - 2) * scores.previous_token_score(pattern)
    torch.testing.assert_close(found * remaining, counted, **CLOSE)


@pytest.mark.parametrize("ids", [TEXT, REPEATED], ids=["text", "repeated"])
def test_duplicate_token(pair, ids):
    """They sum over all queries, we take the mean over those with an earlier equal token."""
    theirs, model = pair
    row = ids[0].tolist()
    n_repeats = sum(token in row[:i] for i, token in enumerate(row))
    assert 0 < n_repeats < len(row)
    ours = scores.duplicate_token_score(patterns(model, ids), ids.expand(2, -1))
    found = detected(theirs, ids, "duplicate_token_head") * len(row)
    torch.testing.assert_close(found, n_repeats * ours, **CLOSE)


def test_induction(pair):
    """They count the last query too, whose target is the second copy's own first token."""
    theirs, model = pair
    pattern, n_pos = patterns(model, REPEATED), REPEATED.shape[1]
    ours = scores.induction_score(pattern, 1)
    last = pattern[..., 2 * BLOCK, BLOCK + 1]
    found = detected(theirs, REPEATED, "induction_head") * n_pos
    torch.testing.assert_close(found, (BLOCK - 1) * ours + last, **CLOSE)
