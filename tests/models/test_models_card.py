"""A model's card says which numbers a model computes, and nothing about where they lie."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis.models.files.card import read_card, tensors_hash
from analysis.models.load import load_model

from .zoo.build import build, save

FUSED = ("query_key_value.weight", "c_attn.weight")


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a saved Llama that a test may change."""
    return shutil.copytree(saved("llama"), tmp_path / "llama")


def rewrite(folder, change):
    """Save a folder's tensors again after a change."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_one_weight_moves_the_hash_and_the_id(folder):
    before = read_card(str(folder))

    def nudge(tensors):
        weight = tensors["model.layers.1.mlp.up_proj.weight"]
        weight[3, 5] = torch.nextafter(weight[3, 5], torch.tensor(10.0))

    rewrite(folder, nudge)
    after = read_card(str(folder))
    assert after.weights != before.weights
    assert after.model != before.model


@pytest.mark.parametrize("swap", [True, False])
def test_names_shapes_and_types_are_part_of_the_hash(folder, swap):
    before = tensors_hash(folder)

    def change(tensors):
        names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in (0, 1)]
        first, second = (tensors[name] for name in names)
        if swap:
            tensors.update(zip(names, (second, first), strict=True))
        else:
            tensors[names[0]] = first.reshape(16, 64).clone()

    rewrite(folder, change)
    assert tensors_hash(folder) != before


def test_saving_again_changes_neither_hash_nor_id(folder, tmp_path):
    before = read_card(str(folder))
    rewrite(folder, lambda tensors: None)
    assert read_card(str(folder)).model == before.model
    load_model(str(folder)).net.save_pretrained(tmp_path / "again")
    again = read_card(str(tmp_path / "again"))
    assert again.weights == before.weights
    assert again.model == before.model


def test_shards_change_neither_hash_nor_sizes(folder, tmp_path):
    load_model(str(folder)).net.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, shards = read_card(str(folder)), read_card(str(tmp_path / "shards"))
    assert shards.weights == whole.weights
    assert shards.model == whole.model
    assert shards.n_params == whole.n_params


def test_the_folders_name_is_not_part_of_the_id(folder, tmp_path, monkeypatch):
    before = read_card(str(folder))
    moved = folder.rename(tmp_path / "another name")
    after = read_card(str(moved))
    assert (before.name, after.name) == ("llama", "another name")
    assert after.model == before.model
    monkeypatch.chdir(moved)
    assert read_card(".").model == before.model
    assert read_card(".").name == "another name"


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"rms_norm_eps": 1e-5}, True),
        ({"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}, True),
        ({"bos_token_id": 5}, True),
        ({"transformers_version": "4.0.0"}, False),
        ({"_name_or_path": "elsewhere"}, False),
        ({"dtype": "bfloat16"}, False),
        ({"use_cache": False}, False),
    ],
)
def test_the_id_depends_on_the_config_that_changes_numbers(folder, change, moves):
    before = read_card(str(folder)).model
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change, sort_keys=True))
    assert (read_card(str(folder)).model != before) == moves


def test_a_tied_unembedding_is_counted_once(saved, stories260k):
    tied = read_card(str(saved("llama_simple_mlp")))
    assert load_file(tied.folder / "model.safetensors").keys() >= {"h.0.attn.q_proj.weight"}
    net = load_model(str(saved("llama_simple_mlp"))).net
    assert net.lm_head.weight is net.wte.weight
    assert tied.n_params == sum({id(p): p.numel() for p in net.parameters()}.values())
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172 + 2 * 64
    assert read_card(str(stories260k)).n_params == 512 * 64 + 5 * layer + 64


def test_buffers_of_old_checkpoints_are_not_parameters(saved, tmp_path):
    """The files of GPT-2 on the hub hold the causal masks too."""
    folder = shutil.copytree(saved("gpt2"), tmp_path / "gpt2")
    before = read_card(str(folder)).n_params
    rewrite(folder, lambda t: t.update({"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64)}))
    assert read_card(str(folder)).n_params == before


FALCON = {"multi_query": False, "num_kv_heads": 2}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("falcon", {"multi_query": True, "num_kv_heads": 2}),
        ("falcon", FALCON),
        ("falcon", FALCON | {"new_decoder_architecture": True}),
        ("falcon", FALCON | {"new_decoder_architecture": True, "multi_query": True}),
        ("gpt_bigcode", {"multi_query": True}),
        ("gpt_bigcode", {"multi_query": False}),
    ],
)
def test_the_heads_of_keys_on_the_card_are_those_of_the_weights(name, changes, tmp_path):
    """Of one matrix with a part for each head of queries, keys and values."""
    net = build(name, changes)
    card = read_card(str(save(net, tmp_path)))
    fused = next(w for key, w in net.named_parameters() if key.endswith(FUSED))
    assert max(fused.shape) == (card.n_heads + 2 * card.n_kv_heads) * card.d_head


def test_the_row_of_the_table_holds_what_names_a_model(saved):
    card = read_card(str(saved("llama")))
    row = card.row().row(0, named=True)
    assert row["model"] == card.model
    assert len(card.model) == 16
    assert int(card.model, 16) >= 0
    assert row["weights"] == card.weights == tensors_hash(card.folder)
    assert (row["n_layers"], row["n_heads"], row["n_kv_heads"], row["vocab"]) == (2, 4, 2, 100)
    assert not {"folder", "config"} & row.keys()


def test_the_card_of_the_pretrained_model(stories260k):
    card = read_card(str(stories260k))
    sizes = (card.n_layers, card.n_heads, card.n_kv_heads, card.d_model, card.d_head, card.n_ctx)
    assert sizes == (5, 8, 4, 64, 8, 512)
    assert card.name == "stories260k"
