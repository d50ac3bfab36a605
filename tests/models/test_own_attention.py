"""Attention that computes its own softmax obeys taps, and is the stock attention otherwise."""

import threading
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
import transformers as tf
from torch import nn

from analysis.attention import Site, Taps, Where
from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, Intervention, Method, taps
from analysis.models.parts.anatomy import Block
from analysis.models.parts.own_attention import attend

from .architectures import GPT2, SIZES, VOCAB, build

N_HEADS, N_LAYERS, N_POS, WINDOW = 4, 2, 11, 5
FALCON = {**SIZES, "num_ln_in_parallel_attn": None}
NEO = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": WINDOW}
XGLM = {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4}
CASES = {
    "gptj": (tf.GPTJConfig(**GPT2, rotary_dim=4), "transformer.h", "attn", "out_proj"),
    "gpt_neo": (
        tf.GPTNeoConfig(**NEO, vocab_size=VOCAB, attention_types=[[["local", "global"], 1]]),
        *("transformer.h", "attn.attention", "out_proj"),
    ),
    "codegen": (tf.CodeGenConfig(**GPT2, rotary_dim=4), "transformer.h", "attn", "out_proj"),
    "openai-gpt": (tf.OpenAIGPTConfig(**GPT2), "transformer.h", "attn", "c_proj"),
    "mpt": (
        tf.MptConfig(vocab_size=VOCAB, d_model=32, n_layers=2, n_heads=4, max_seq_len=64),
        *("transformer.blocks", "attn", "out_proj"),
    ),
    "bloom": (
        tf.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4),
        *("transformer.h", "self_attention", "dense"),
    ),
    "falcon": (tf.FalconConfig(**FALCON), "transformer.h", "self_attention", "dense"),
    "falcon_new": (
        tf.FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2),
        *("transformer.h", "self_attention", "dense"),
    ),
    "falcon_alibi": (
        tf.FalconConfig(**FALCON, alibi=True, multi_query=False, bias=True),
        *("transformer.h", "self_attention", "dense"),
    ),
    "xglm": (
        tf.XGLMConfig(**XGLM, vocab_size=VOCAB, max_position_embeddings=64),
        *("model.layers", "self_attn", "out_proj"),
    ),
    "gpt_neox_japanese": (
        tf.GPTNeoXJapaneseConfig(**SIZES),
        *("gpt_neox_japanese.layers", "attention", "dense"),
    ),
    "rembert": (
        tf.RemBertConfig(**SIZES, is_decoder=True),
        *("rembert.encoder.layer", "attention", "output.dense"),
    ),
}
"""Config, and where the layers, their attention and its output projection are."""
IDS = torch.randint(2, VOCAB, (3, N_POS), generator=torch.Generator().manual_seed(0))
HEADS = [(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
TAIL = 4


@dataclass(frozen=True)
class Parts:
    net: tf.PreTrainedModel
    layers: list[torch.nn.Module]
    attentions: list[torch.nn.Module]
    projections: list[torch.nn.Module]


def parts(net, name: str) -> Parts:
    _, stack, attention, projection = CASES[name]
    layers = list(net.get_submodule(stack))
    attentions = [layer.get_submodule(attention) for layer in layers]
    return Parts(net, layers, attentions, [a.get_submodule(projection) for a in attentions])


def attending(net, name: str) -> Parts:
    """A copy that takes taps."""
    found = parts(deepcopy(net), name)
    attend(found.net, blocks(found, found.projections), [N_HEADS] * N_LAYERS)
    return found


def blocks(found: Parts, projections: Sequence[nn.Module]) -> list[Block]:
    """The parts of layers as a loader finds them."""
    every = zip(found.layers, found.attentions, projections, strict=True)
    return [Block(layer, attention, W_O, None, None) for layer, attention, W_O in every]


@pytest.fixture(scope="module", params=CASES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def stock(name):
    return build(deepcopy(CASES[name][0]))


@pytest.fixture(scope="module")
def ours(stock, name):
    return attending(stock, name)


def logits(net, ids=IDS, **kwargs) -> torch.Tensor:
    with torch.inference_mode():
        return net(ids, use_cache=False, **kwargs).logits


def kept(net, *sites: Site) -> dict[Site, list[torch.Tensor]]:
    """What is seen at some sites, by layer."""
    found: dict[Site, dict[int, torch.Tensor]] = {site: {} for site in sites}

    def keep(site: Site):
        return lambda where, tensor: found[site].setdefault(where.layer, tensor)

    logits(net, taps=Taps(edits={site: keep(site) for site in sites}))
    return {site: [by_layer[i] for i in range(N_LAYERS)] for site, by_layer in found.items()}


def watched(net, edits=None) -> list[torch.Tensor]:
    seen: dict[int, torch.Tensor] = {}

    def watch(where: Where, pattern: torch.Tensor) -> None:
        assert where.rows == slice(0, len(pattern))
        seen[where.layer] = pattern.clone()

    logits(net, taps=Taps(edits=edits or {}, watch=watch))
    return [seen[layer] for layer in range(N_LAYERS)]


def zeroing(layer: int, head: int):
    def edit(where: Where, tensor: torch.Tensor) -> torch.Tensor:
        if where.layer != layer:
            return tensor
        return tensor.index_fill(1, torch.tensor([head]), 0)

    return edit


def test_logits_are_bit_for_bit_the_stock_models(stock, ours):
    expected = logits(stock)
    for given in (Taps(), Taps(watch=lambda _where, _pattern: None), None):
        assert torch.equal(logits(ours.net, taps=given), expected)
    assert torch.equal(logits(ours.net), expected)


@pytest.mark.parametrize("site", Site)
def test_an_edit_sees_all_heads_of_all_layers_and_may_change_nothing(stock, ours, site):
    for same in (lambda tensor: tensor, torch.clone):
        seen: list[tuple[int, tuple[int, ...]]] = []

        def edit(where: Where, tensor: torch.Tensor, same=same, seen=seen) -> torch.Tensor:
            assert where.rows == slice(0, 3)
            seen.append((where.layer, tuple(tensor.shape)))
            return same(tensor)

        assert torch.equal(logits(ours.net, taps=Taps(edits={site: edit})), logits(stock))
        width = N_POS if site in {Site.SCORES, Site.PATTERN} else 32 // N_HEADS
        assert seen == [(i, (3, N_HEADS, N_POS, width)) for i in range(N_LAYERS)]


def test_patterns_are_the_stock_models_and_causal(stock, ours):
    expected = logits_and_patterns(stock)
    for pattern, attention in zip(watched(ours.net), expected, strict=True):
        assert torch.equal(pattern, attention.view(pattern.shape))
        assert (pattern.triu(1) == 0).all()
        torch.testing.assert_close(pattern.sum(-1), torch.ones(3, N_HEADS, N_POS))


def logits_and_patterns(net) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        return net(IDS, use_cache=False, output_attentions=True).attentions


def test_masked_scores_are_the_lowest_there_are(ours, name):
    """As the code that asks which keys a query sees takes them."""
    distance = torch.arange(N_POS)[:, None] - torch.arange(N_POS)
    for layer, scores in enumerate(kept(ours.net, Site.SCORES)[Site.SCORES]):
        local = name == "gpt_neo" and layer == 0
        expected = (distance >= 0) & (distance < (WINDOW if local else N_POS))
        visible = scores > torch.finfo(scores.dtype).min / 2
        assert torch.equal(visible, expected.expand_as(visible))


@pytest.mark.parametrize(("layer", "head"), HEADS)
def test_zeroing_z_is_zeroing_a_slice_of_what_the_projection_reads(stock, ours, name, layer, head):
    width = 32 // N_HEADS

    def cut(_module, args):
        z = args[0].clone()
        z[..., head * width : (head + 1) * width] = 0
        return (z, *args[1:])

    handle = parts(stock, name).projections[layer].register_forward_pre_hook(cut)
    expected = logits(stock)
    handle.remove()
    found = logits(ours.net, taps=Taps(edits={Site.Z: zeroing(layer, head)}))
    assert torch.equal(found, expected)
    assert (found - logits(stock)).abs().max() > 1e-3


def test_what_heads_write_adds_up_to_what_the_projection_writes(ours):
    written: list[torch.Tensor] = []
    handles = [
        projection.register_forward_hook(lambda _m, _args, output: written.append(output))
        for projection in ours.projections
    ]
    zs = kept(ours.net, Site.Z)[Site.Z]
    for handle in handles:
        handle.remove()
    for projection, z, expected in zip(ours.projections, zs, written, strict=True):
        transposed = type(projection).__name__ == "Conv1D"
        rows = projection.weight if transposed else projection.weight.T
        parts_of = torch.einsum("bhpd,hdm->bpm", z, rows.reshape(N_HEADS, -1, 32))
        bias = getattr(projection, "bias", None)
        torch.testing.assert_close(parts_of if bias is None else parts_of + bias, expected)


def test_z_is_the_pattern_times_the_values(ours):
    found = kept(ours.net, Site.PATTERN, Site.V, Site.Z)
    for pattern, v, z in zip(*(found[s] for s in (Site.PATTERN, Site.V, Site.Z)), strict=True):
        torch.testing.assert_close(pattern @ v, z)


@pytest.mark.parametrize("site", Site)
def test_an_edit_of_a_head_changes_that_head_alone(ours, site):
    before = kept(ours.net, Site.Z)[Site.Z][0]
    for head in range(N_HEADS):
        after: list[torch.Tensor] = []

        def keep(where: Where, z: torch.Tensor, head=head, after=after) -> torch.Tensor:
            edited = zeroing(0, head)(where, z) if site is Site.Z else z
            after.append(edited)
            return edited

        logits(ours.net, taps=Taps(edits={site: zeroing(0, head), Site.Z: keep}))
        touched = (after[0] != before).flatten(2).any(-1)
        assert torch.equal(touched, (torch.arange(N_HEADS) == head).expand(3, -1))


def test_the_pattern_is_seen_after_all_edits(ours):
    def uniform(_where: Where, pattern: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(pattern).tril() / torch.arange(1, N_POS + 1)[:, None]

    for pattern in watched(ours.net, {Site.PATTERN: uniform}):
        assert torch.equal(pattern, uniform(Where(0, slice(0, 3)), pattern))


def own_z(net, name: str, edit) -> torch.Tensor:
    """z of the first layer by the definition of two architectures, with edited attention.

    The edit is given scores and what is visible, and returns a pattern.
    """
    part = parts(net, name)
    layer, attention, stem = part.layers[0], part.attentions[0], net.transformer
    distance = torch.arange(N_POS)[:, None] - torch.arange(N_POS)
    if name == "gpt_neo":
        x = layer.ln_1(stem.wte(IDS) + stem.wpe.weight[:N_POS])
        q, k, v = (
            (x @ projection.weight.T).view(3, N_POS, N_HEADS, -1).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        scores, visible = q @ k.mT, (distance >= 0) & (distance < WINDOW)
    else:
        x = layer.input_layernorm(stem.word_embeddings_layernorm(stem.word_embeddings(IDS)))
        fused = attention.query_key_value(x).view(3, N_POS, N_HEADS, 3, -1)
        q, k, v = (fused[..., i, :].transpose(1, 2) for i in range(3))
        slopes = 2.0 ** -(8 / N_HEADS * torch.arange(1, N_HEADS + 1))
        scores = q @ k.mT / (32 / N_HEADS) ** 0.5 - slopes[:, None, None] * distance
        visible = distance >= 0
    return edit(scores, visible.expand(3, N_HEADS, -1, -1)) @ v


def masked_softmax(scores: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    return scores.masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num(0)


@pytest.mark.parametrize("method", [Method.MASK_KEY, Method.UNIFORM])
@pytest.mark.parametrize("case", ["gpt_neo", "bloom"])
def test_attention_is_edited_as_in_a_plain_implementation(case, method):
    stock = build(deepcopy(CASES[case][0]))
    ours = attending(stock, case)
    positions = (0, 3)

    def edit(scores: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        pattern = masked_softmax(scores, visible)
        if method is Method.MASK_KEY:
            visible = visible.clone()
            visible[:, 1, :, list(positions)] = False
            return masked_softmax(scores, visible)
        uniform = visible / visible.sum(-1, keepdim=True)
        pattern[:, 1, list(positions)] = uniform[:, 1, list(positions)]
        return pattern

    found: list[torch.Tensor] = []
    one = Intervention(heads=(Head(0, 1),), method=method, positions=positions)
    edits = taps([one], NOTHING, 3).edits
    logits(ours.net, taps=Taps(edits={**edits, Site.Z: lambda _w, z: found.append(z) or z}))
    with torch.inference_mode():
        torch.testing.assert_close(found[0], own_z(stock, case, edit))
        assert not torch.allclose(found[0], own_z(stock, case, masked_softmax))


def test_gradients_go_through_every_site(stock, ours):
    def of(net, **kwargs) -> torch.Tensor:
        net.zero_grad()
        net(IDS, use_cache=False, **kwargs).logits.square().mean().backward()
        return net.get_input_embeddings().weight.grad.clone()

    copies = {site: lambda _where, tensor: tensor.clone() for site in Site}
    torch.testing.assert_close(of(ours.net, taps=Taps(edits=copies)), of(stock))


def test_a_layer_takes_taps_alone(ours):
    calls: list[tuple] = []
    handle = ours.layers[1].register_forward_pre_hook(
        lambda _m, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    outputs: list[torch.Tensor] = []
    after = ours.layers[1].register_forward_hook(lambda _m, _a, out: outputs.append(first(out)))
    edits = {Site.Z: zeroing(1, 2)}
    with torch.inference_mode():
        logits(ours.net, taps=Taps(edits=edits))
        handle.remove()
        args, kwargs = calls[0]
        ours.layers[1](*args, **kwargs, taps=Taps(edits=edits))
        ours.layers[1](*args, **kwargs)
    after.remove()
    assert torch.equal(outputs[1], outputs[0])
    assert not torch.equal(outputs[2], outputs[0])


@pytest.mark.parametrize("begin", [TAIL, N_POS - 1])
def test_later_positions_continue_from_earlier_keys_and_values(ours, name, begin):
    """Where attention takes them at all; another sequence's are no substitute."""
    calls: list[tuple] = []
    outputs: list[torch.Tensor] = []
    pre = ours.layers[1].register_forward_pre_hook(
        lambda _m, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    after = ours.layers[1].register_forward_hook(lambda _m, _a, out: outputs.append(first(out)))
    found = kept(ours.net, Site.K, Site.V)
    pre.remove()
    after.remove()
    k, v = found[Site.K][1][:, :, :begin], found[Site.V][1][:, :, :begin]
    args, kwargs = calls[0]

    def tail(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        cut_args, cut_kwargs = later(args, begin), later(kwargs, begin)
        edits = {Site.K: lambda _where, all_keys: seen.append(all_keys) or all_keys}
        given = Taps(edits=edits, prefix={1: (keys, values)})
        with torch.inference_mode():
            return first(ours.layers[1](*cut_args, **cut_kwargs, taps=given))

    seen: list[torch.Tensor] = []
    if name == "openai-gpt":
        with pytest.raises(UserError, match="takes none; run the model on whole sequences"):
            tail(k, v)
        return
    torch.testing.assert_close(tail(k, v), outputs[0][:, begin:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen[0], found[Site.K][1])
    assert not torch.allclose(tail(k.roll(1, 0), v), outputs[0][:, begin:], atol=1e-4)


def first(output) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output[0]


def later(value, begin: int):
    """Arguments of a layer for the positions from one on."""
    if isinstance(value, torch.Tensor):
        axis = -2 if value.ndim == 4 else min(1, value.ndim - 1)
        return value.narrow(axis, begin, N_POS - begin) if value.shape[axis] == N_POS else value
    if isinstance(value, dict):
        return {key: later(part, begin) for key, part in value.items()}
    return type(value)(later(part, begin) for part in value) if type(value) is tuple else value


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("error", [StopHereError, KeyboardInterrupt])
@pytest.mark.parametrize("site", Site)
def test_nothing_is_left_of_a_call_that_failed(stock, ours, site, error):
    """An interruption too: what it left standing does nothing, and goes with the next call."""

    def fail(_where: Where, _tensor: torch.Tensor) -> torch.Tensor:
        raise error

    edits = {Site.Q: torch_zero, Site.V: torch_zero, Site.PATTERN: torch_zero, site: fail}
    with pytest.raises(error):
        logits(ours.net, taps=Taps(edits=edits))
    assert error is KeyboardInterrupt or modes() == []
    a, b = torch.ones(2, 3, 4), torch.ones(2, 4, 3)
    assert torch.equal(a @ b, torch.full((2, 3, 3), 4.0))
    assert torch.equal(a.softmax(-1), torch.full((2, 3, 4), 0.25))
    assert torch.equal(logits(ours.net), logits(stock))
    assert modes() == []


def torch_zero(_where: Where, tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor)


def modes() -> list:
    return torch.overrides._get_current_function_mode_stack()


@pytest.mark.parametrize("site", Site)
def test_an_edit_may_call_the_model_itself(stock, ours, site):
    within: list[torch.Tensor] = []
    zero = Taps(edits={Site.Z: zeroing(1, 3)})

    def edit(where: Where, tensor: torch.Tensor) -> torch.Tensor:
        if where.layer == 0:
            within.extend([logits(ours.net), logits(ours.net, taps=zero)])
        return tensor

    assert torch.equal(logits(ours.net, taps=Taps(edits={site: edit})), logits(stock))
    assert torch.equal(within[0], logits(stock))
    assert torch.equal(within[1], logits(ours.net, taps=zero))


def test_a_model_that_a_hook_calls_has_no_taps_of_the_call_around_it(stock, ours):
    within: list[torch.Tensor] = []

    def call(_module, _args, _output) -> None:
        handle.remove()
        within.append(logits(ours.net))

    handle = ours.layers[0].register_forward_hook(call)
    found = logits(ours.net, taps=Taps(edits={Site.Z: zeroing(1, 3)}))
    assert torch.equal(within[0], logits(stock))
    assert torch.equal(found, logits(ours.net, taps=Taps(edits={Site.Z: zeroing(1, 3)})))


def test_a_layer_that_an_edit_calls_has_no_taps_of_that_edit(ours):
    calls: list[tuple] = []
    handle = ours.layers[1].register_forward_pre_hook(
        lambda _m, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    logits(ours.net)
    handle.remove()
    args, kwargs = calls[0]
    with torch.inference_mode():
        expected = first(ours.layers[1](*args, **kwargs))
        for site in Site:
            within: list[torch.Tensor] = []

            def edit(where: Where, tensor: torch.Tensor, within=within) -> torch.Tensor:
                if where.layer == 0:
                    within.append(first(ours.layers[1](*args, **kwargs)))
                return tensor * (where.layer == 0)

            logits(ours.net, taps=Taps(edits={site: edit}))
            assert torch.equal(within[0], expected)


def test_threads_do_not_see_each_others_taps(ours):
    turns = threading.Barrier(2, timeout=30)
    found: dict[int, torch.Tensor] = {}

    def run(head: int) -> None:
        def edit(where: Where, z: torch.Tensor) -> torch.Tensor:
            turns.wait()
            return zeroing(0, head)(where, z)

        found[head] = logits(ours.net, taps=Taps(edits={Site.Z: edit}))

    threads = [threading.Thread(target=run, args=(head,)) for head in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for head in (0, 1):
        alone = logits(ours.net, taps=Taps(edits={Site.Z: zeroing(0, head)}))
        assert torch.equal(found[head], alone)


def test_a_copy_is_a_model_of_its_own(stock, ours):
    copy = deepcopy(ours.net)
    found = logits(copy, taps=Taps(edits={Site.Z: zeroing(0, 1)}))
    assert torch.equal(found, logits(ours.net, taps=Taps(edits={Site.Z: zeroing(0, 1)})))
    assert torch.equal(logits(copy), logits(stock))


def test_half_precision_is_the_stock_models_too(stock, name):
    narrow = deepcopy(stock).bfloat16()
    ours = attending(narrow, name)
    edits = {site: lambda _where, tensor: tensor.clone() for site in Site}
    assert torch.equal(logits(ours.net, taps=Taps(edits=edits)), logits(narrow))


@pytest.mark.parametrize("n_heads", [1, 2, 8])
def test_another_number_of_heads_is_refused(stock, name, n_heads):
    found = parts(deepcopy(stock), name)
    attend(found.net, blocks(found, found.projections), [n_heads] * N_LAYERS)
    with pytest.raises(UserError, match="computes another"):
        logits(found.net, taps=Taps(watch=lambda _where, _pattern: None))


def test_another_projection_is_refused(stock, name):
    found = parts(deepcopy(stock), name)
    never = [torch.nn.Linear(1, 1) for _ in found.projections]
    for attention, uncalled in zip(found.attentions, never, strict=True):
        attention.uncalled = uncalled
    attend(found.net, blocks(found, never), [N_HEADS] * N_LAYERS)
    with pytest.raises(UserError, match="computes another"):
        logits(found.net, taps=Taps(edits={Site.Z: zeroing(0, 0)}))


def test_attention_in_one_kernel_is_refused():
    config = deepcopy(CASES["falcon"][0])
    net = tf.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    ours = attending(net, "falcon")
    with pytest.raises(UserError, match="FalconAttention computes another"):
        logits(ours.net, taps=Taps(edits={Site.Z: zeroing(0, 0)}))
    assert modes() == []


def test_attention_with_two_streams_of_scores_is_refused():
    config = tf.ProphetNetConfig(
        **{"vocab_size": VOCAB, "hidden_size": 32, "num_decoder_layers": 2, "is_decoder": True},
        **{"num_decoder_attention_heads": 4, "decoder_ffn_dim": 64, "add_cross_attention": False},
        **{"is_encoder_decoder": False, "max_position_embeddings": 64},
    )
    net = build(config)
    layers = list(net.prophetnet.decoder.layers)
    every = [
        Block(layer, layer.self_attn, layer.self_attn.out_proj, None, None) for layer in layers
    ]
    attend(net, every, [4, 4])
    with pytest.raises(UserError, match="ProphetNetNgramSelfAttention computes another"):
        logits(net, taps=Taps(edits={Site.Z: zeroing(0, 0)}))


def test_fewer_rows_may_go_through_attention_than_through_its_layer():
    """A hook that comes later may shorten what it reads, as walking many conditions does."""
    ours = attending(build(deepcopy(CASES["gptj"][0])), "gptj")
    calls, rows = [], []
    handle = ours.layers[0].register_forward_pre_hook(
        lambda _m, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    logits(ours.net, IDS[:1])
    handle.remove()

    def shorten(_module, args, kwargs):
        return args, {**kwargs, "hidden_states": kwargs["hidden_states"][:2]}

    (stream, *args), kwargs = calls[0]
    handle = ours.attentions[0].register_forward_pre_hook(shorten, with_kwargs=True)
    back = ours.attentions[0].register_forward_hook(
        lambda _m, _args, output: (output[0][[0, 1, 1]], output[1])
    )
    given = Taps(edits={Site.Z: lambda where, z: rows.append(where.rows) or z})
    with torch.inference_mode():
        ours.layers[0](stream.repeat(3, 1, 1), *args, **kwargs, taps=given)
    handle.remove()
    back.remove()
    assert rows == [slice(0, 2)]
