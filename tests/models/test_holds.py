"""What is measured when a model is loaded, and what that takes of a model with long windows."""

from dataclasses import replace

import pytest
import torch
import transformers as tf
from torch import nn

from analysis import attention
from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.models.load import instrument, load_model
from analysis.models.parts.look import SHORT, probe

from .architectures import GQA, build

WINDOW = 2 * SHORT
IDS = torch.arange(2, 22)[None]
LONG = {**GQA, "max_position_embeddings": 4 * SHORT}


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
    """A folder of a model that looks back further than parts are looked at."""
    folder = tmp_path_factory.mktemp("windowed")
    build(tf.MistralConfig(**LONG, sliding_window=WINDOW)).save_pretrained(folder)
    return folder


def causal(_module, mask, key, _kwargs):
    """A mask without the window."""
    n_query, n_key = mask.shape[-2], key.shape[-2]
    hidden = torch.ones(n_query, n_key, dtype=torch.bool).triu(n_key - n_query + 1)
    return torch.zeros(1, 1, n_query, n_key).masked_fill(hidden, torch.finfo(mask.dtype).min)


def test_the_probe_is_longer_than_every_window(windowed):
    assert probe(read_card(str(windowed))).shape[1] > WINDOW > SHORT


@pytest.mark.parametrize("vocab", [1, 2, 3])
def test_a_probe_needs_tokens_that_differ(windowed, vocab):
    """Of the first tokens, 0 and 1 are special."""
    with pytest.raises(UserError, match=f"has {max(0, vocab - 2)} of {vocab}; "):
        probe(replace(read_card(str(windowed)), vocab=vocab))


def test_a_window_that_is_not_used_is_refused(windowed, tmp_path, monkeypatch):
    """Parts are found on fewer tokens than the window has: the long probe alone can tell."""
    build(tf.MistralConfig(**LONG, sliding_window=None)).save_pretrained(tmp_path)
    monkeypatch.setattr(attention, "_chosen", causal)
    load_model(str(tmp_path))
    with pytest.raises(UserError, match="expected the logits of transformers' own attention"):
        load_model(str(windowed))


@pytest.mark.parametrize("window", [0, -3])
def test_a_window_that_hides_every_token_is_named(windowed, tmp_path, window):
    net = tf.MistralForCausalLM.from_pretrained(windowed)
    net.config.sliding_window = window
    net.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"has one of {window} as sliding_window; "):
        load_model(str(tmp_path))


def test_a_long_probe_keeps_no_more_than_a_short_one(windowed):
    """Nothing but the passes for the logits is long, and these make few logits."""
    card, net = read_card(str(windowed)), tf.MistralForCausalLM.from_pretrained(windowed).eval()
    lengths: list[tuple[int, int]] = []

    def note(_module: nn.Module, args: tuple[torch.Tensor], logits: torch.Tensor) -> None:
        lengths.append((entered[-1], logits.shape[1]))

    entered: list[int] = []
    net.model.layers[0].register_forward_pre_hook(lambda _m, args: entered.append(args[0].shape[1]))
    net.lm_head.register_forward_hook(note)
    instrument(net, card)
    assert max(entered) == probe(card).shape[1]
    assert sum(n > SHORT for n in entered) == 3  # stock, watched, as it is
    assert all(made <= 16 for n, made in lengths if n > SHORT)
    assert all(made <= SHORT for _, made in lengths)


def test_what_comes_behind_a_norm_that_is_none_has_no_share(windowed):
    """A final part that is no norm has no gain to read a head's share through."""
    card, net = read_card(str(windowed)), tf.MistralForCausalLM.from_pretrained(windowed).eval()
    assert instrument(net, card).holds.adds == (1.0, 1.0)
    bent = tf.MistralForCausalLM.from_pretrained(windowed).eval()
    bent.model.norm = nn.Softplus()
    assert instrument(bent, card).holds.adds == (None, None)


def silenced(net: nn.Module, n_values: int) -> nn.Module:
    """A model of which some values of the first layer are always zeros."""
    with torch.no_grad():
        net.model.layers[0].self_attn.v_proj.weight[:n_values] = 0
    return net


def mix(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The entries of all heads, one head after the other."""
    return args[0].unflatten(-1, (4, -1)).transpose(-1, -2).flatten(-2)


@pytest.mark.parametrize("n_values", [0, 8, 16])
def test_heads_that_write_nothing_are_not_mixed(windowed, n_values):
    card, net = read_card(str(windowed)), tf.MistralForCausalLM.from_pretrained(windowed).eval()
    silenced(net, n_values)
    expected = net(IDS).logits
    torch.testing.assert_close(instrument(net, card).net(IDS).logits, expected)


@pytest.mark.parametrize("n_values", [0, 8])
def test_mixed_heads_are_refused_where_some_write_nothing(windowed, n_values):
    card, net = read_card(str(windowed)), tf.MistralForCausalLM.from_pretrained(windowed).eval()
    silenced(net, n_values).model.layers[0].self_attn.o_proj.register_forward_pre_hook(mix)
    with pytest.raises(UserError, match="mixes heads in layer 0"):
        instrument(net, card)
