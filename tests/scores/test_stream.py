"""One streaming pass computes what all patterns at once would, in little memory."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from analysis import attention, scores
from analysis.attention import Site, Taps
from analysis.interventions.passes import stream
from analysis.interventions.passes.stream import chance, stream_scores, token_losses
from analysis.interventions.passes.visible import uniform, visible
from analysis.models.load import hidden_states, load_model
from tests.models.architectures import SUPPORTED, VOCAB

IDS = np.random.default_rng(0).integers(2, VOCAB, (5, 13)).astype(np.int32)
TOKENS = torch.from_numpy(IDS)
SCORES = {
    "previous_token": lambda p, _: scores.previous_token_score(p),
    "profile": lambda p, _: scores.offset_profile(p, 6),
    "duplicate_token": lambda p, rows: scores.duplicate_token_score(p, TOKENS[rows]),
    "row": lambda p, rows: torch.arange(rows.start, rows.stop)[:, None].expand(-1, p.shape[1]),
}


WINDOWED = {"mistral", "gemma2", "gemma3", "gpt_oss"}


def silent(*_args) -> None:
    pass


@pytest.fixture(params=["llama", "gpt2", "gemma2", "gpt_oss"])
def model(request, saved):
    return load_model(str(saved(request.param)))


@pytest.fixture(params=[1, 2, 5, 100])
def rows_per_batch(request, monkeypatch):
    monkeypatch.setattr(stream, "TOKENS_PER_BATCH", request.param * 13)
    return request.param


def all_patterns(model) -> torch.Tensor:
    """(sequence, layer, head, query, key), kept whole."""
    layers: list[torch.Tensor] = []
    with torch.no_grad():
        taps = Taps(watch=lambda _where, pattern: layers.append(pattern))
        model.net(TOKENS.long(), use_cache=False, taps=taps)
    return torch.stack(layers, dim=1)


@pytest.mark.parametrize("chunk", [1, 2**22])
def test_streamed_scores_are_those_of_all_patterns_at_once(
    model, rows_per_batch, chunk, monkeypatch
):
    patterns = all_patterns(model)
    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", chunk)
    found = stream_scores(model, IDS, SCORES, silent)
    assert found["row"].tolist() == [[[row] * 4] * 2 for row in range(5)]
    for name in ("previous_token", "profile", "duplicate_token"):
        assert found[name].shape[:3] == (5, 2, 4)
        expected = torch.stack(
            [SCORES[name](patterns[:, layer], slice(0, 5)) for layer in range(2)], dim=1
        )
        np.testing.assert_allclose(found[name], expected.numpy(), atol=1e-6, rtol=1e-5)


def test_watchers_see_every_row_of_every_layer_once(model, rows_per_batch):
    seen: list[tuple[int, int]] = []

    def watch(layer: int, rows: slice, pattern: torch.Tensor) -> None:
        assert len(pattern) == rows.stop - rows.start
        seen.extend((layer, row) for row in range(rows.start, rows.stop))

    stream_scores(model, IDS, {}, silent, watchers=[watch])
    assert sorted(seen) == [(layer, row) for layer in range(2) for row in range(5)]


def test_progress_ends_at_the_whole(model, rows_per_batch):
    steps: list[tuple[int, int]] = []
    stream_scores(model, IDS, {}, lambda done, total, _: steps.append((done, total)))
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert steps[-1] == (5, 5)
    assert len(steps) == -(-5 // rows_per_batch)


def test_losses_are_those_of_the_logits(model, rows_per_batch):
    keep, losses = token_losses(model, IDS)
    stream_scores(model, IDS, {}, silent, also=[keep])
    with torch.no_grad():
        logits = model.net(TOKENS.long(), use_cache=False).logits
    expected = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].long().flatten(), reduction="none"
    )
    np.testing.assert_allclose(losses, expected.reshape(5, 12), atol=1e-5, rtol=1e-5)


def test_chance_is_the_score_of_uniform_attention_on_the_same_rows(saved, monkeypatch):
    monkeypatch.setattr(stream, "_CHANCE_ROWS", 2)
    found = chance(load_model(str(saved("llama"))), IDS, SCORES)
    for name in ("previous_token", "profile", "duplicate_token"):
        expected = SCORES[name](scores.uniform_pattern(13).expand(5, -1, -1, -1), slice(0, 5))
        assert found[name].shape == (5, 2, 4, *expected.shape[2:])
        every = expected[:, None].expand(found[name].shape)
        np.testing.assert_allclose(found[name], every, rtol=1e-14)
    assert (found["row"] == np.arange(5)[:, None, None]).all()


@pytest.mark.parametrize("name", sorted(SUPPORTED.keys() - {"gpt_oss"}))  # its sink takes a share
def test_queries_of_zeros_look_at_all_that_is_visible_alike(name, saved):
    """Whatever hides keys: causality, or in some layers a window of 6."""
    model = load_model(str(saved(name)))
    patterns: list[torch.Tensor] = []
    with torch.no_grad():
        zeros = {Site.Q: lambda _where, q: torch.zeros_like(q)}
        taps = Taps(edits=zeros, watch=lambda _where, pattern: patterns.append(pattern))
        hidden_states(model, TOKENS.long(), taps)
    masks = visible(model, IDS)
    assert any(not mask[0, 0, 12, 0] for mask in masks) == (name in WINDOWED)
    for layer, (mask, pattern) in enumerate(zip(masks, patterns, strict=True)):
        torch.testing.assert_close(
            uniform(mask).float().expand(pattern.shape), pattern, atol=1e-6, rtol=1e-5
        )
        wanted = SCORES["profile"](pattern, slice(0, 5)).double()
        found = chance(model, IDS, {"profile": SCORES["profile"]})["profile"][:, layer]
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


def test_rows_that_see_other_keys_have_chance_levels_of_their_own(saved, monkeypatch):
    """As where an index chooses keys by what the tokens are: here each row hides one of its own."""
    monkeypatch.setattr(stream, "_CHANCE_ROWS", 2)
    model = load_model(str(saved("llama")))

    def choosing(_model, ids):
        seen = torch.ones(len(ids), 1, 13, 13, dtype=torch.bool).tril()
        for row, first in zip(seen, ids[:, 1], strict=True):
            row[0, 6:, first % 2] = False
        return [seen, seen]

    monkeypatch.setattr(stream, "visible", choosing)
    found = chance(model, IDS, {"0": lambda p, _: scores.bos_score(p)})["0"]
    hides = IDS[:, 1] % 2 == 0
    assert hides.any()
    assert not hides.all()
    everything = float(scores.bos_score(scores.uniform_pattern(13)))
    assert ((found < everything) == hides[:, None, None]).all()


def test_an_exception_in_a_score_leaves_the_model_as_it_was(model):
    before = stream_scores(model, IDS, SCORES, silent)

    def broken(_pattern: torch.Tensor, _rows: slice) -> torch.Tensor:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        stream_scores(model, IDS, {"broken": broken}, silent)
    after = stream_scores(model, IDS, SCORES, silent)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


N_KEPT = 6
"""Layers whose patterns the control keeps; the measurement must see half of them."""

MEMORY = (
    f"N_KEPT = {N_KEPT}"
    + """
import json, sys, tempfile
import numpy as np, torch
from analysis import scores
from analysis.attention import Taps
from analysis.interventions.passes import stream
from analysis.interventions.passes.stream import stream_scores
from analysis.models.llama_simple_mlp import LlamaSimpleMLPConfig, LlamaSimpleMLPForCausalLM
from analysis.models.load import hidden_states, load_model

def peak_mb():
    # not ru_maxrss, which starts at what the parent process held
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

torch.set_num_threads(2)
torch.manual_seed(0)
config = LlamaSimpleMLPConfig(
    vocab_size=64, hidden_size=768, intermediate_size=64, num_hidden_layers=12,
    num_attention_heads=12, num_key_value_heads=12,
)
with tempfile.TemporaryDirectory() as folder:
    LlamaSimpleMLPForCausalLM(config).save_pretrained(folder)
    model = load_model(folder)
ids = np.random.default_rng(0).integers(1, 64, (64, 256)).astype(np.int32)
tokens = torch.from_numpy(ids)
peaks = [peak_mb()]
with torch.inference_mode():
    hidden_states(model, tokens.long(), Taps())
peaks.append(peak_mb())
stream_scores(
    model, ids,
    {
        "previous_token": lambda p, _: scores.previous_token_score(p),
        "offset": lambda p, _: scores.offset_profile(p, 128),
    },
    lambda *_: None,
)
peaks.append(peak_mb())

class Enough(Exception):
    pass

stream.TOKENS_PER_BATCH = ids.size
kept = []
def keep(layer, rows, pattern):
    if layer == N_KEPT:
        raise Enough
    kept.append(pattern)
try:
    stream_scores(model, ids, {}, lambda *_: None, watchers=[keep])
except Enough:
    peaks.append(peak_mb())
json.dump(peaks, sys.stdout)
"""
)


def test_scoring_needs_less_memory_than_one_layers_patterns():
    """64 x 256 tokens, 12 layers of 12 heads: one layer's patterns are 201 MB, all are 2.4 GB."""
    # In one arena of malloc: several hold freed memory of their own, some 100 MB now and then.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    loaded, bare, scored, kept = json.loads(ended.stdout)
    one_layer = 64 * 12 * 256 * 256 * 4 / 2**20
    assert bare > loaded
    assert scored - bare < one_layer
    assert kept - scored > N_KEPT / 2 * one_layer, "the measurement does not see kept patterns"
