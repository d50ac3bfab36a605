"""Model folders that lie, break or attack: named in one line, and nothing of theirs is run."""

import json
import pickle
import shutil

import pytest
import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.text.tokens import Vocabulary
from tests.commands.hostile import (
    JSON,
    NAME,
    RAW,
    Place,
    as_json,
    edited,
    hostile,
    mutated,
    refused,
    rewrite,
)

WEIGHTS = "model.safetensors"
CODE = "modeling_evil.py"


@pytest.fixture(scope="module")
def whole(saved, worded):
    """The files of two small models, and of a decomposition of one."""
    return {name: saved(name) for name in ("llama", "gpt2", "llama_simple_mlp")} | {
        "worded": worded
    }


@pytest.fixture(scope="module")
def folder(place, whole, canary):
    """A model's folder with code, pickles and a tokenizer beside its weights."""
    path = shutil.copytree(whole["worded"], place.work / "model")
    for source in ("llama", "gpt2", "llama_simple_mlp"):
        shutil.copy(whole[source] / "config.json", path / f"{source}.json")
    (path / CODE).write_text(canary.python, encoding="utf-8")
    (path / "tokenization_evil.py").write_text(canary.python, encoding="utf-8")
    for name in ("pytorch_model.bin", "training_args.bin", "model.pt", "optimizer.pth"):
        (path / name).write_bytes(canary.pickle)
    return path


def test_the_canary_does_sing(canary, tmp_path):
    """Without this, its silence would show nothing."""
    torch.save({"w": canary}, tmp_path / "w.pth")
    assert canary.silent()
    for run in (
        lambda: pickle.loads(canary.pickle),
        lambda: torch.load(tmp_path / "w.pth", weights_only=False),
        lambda: exec(canary.python),
        lambda: yaml.unsafe_load(canary.yaml),
    ):
        run()
        assert not canary.silent()


def test_the_place_sees_what_is_touched(tmp_path):
    place = Place(tmp_path / "place")
    assert place.untouched()
    (place.work / "mine").write_text("x")
    assert place.untouched()
    (place.work / ".." / "new").write_text("x")
    assert not place.untouched()
    assert place.untouched(place.work.parent / "new")
    (place.root / "secret.txt").write_text("swordfish\n")
    assert not place.untouched(place.work.parent / "new")


CONFIG = json.loads("""{"architectures": ["LlamaForCausalLM"], "model_type": "llama",
 "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
 "head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 64, "vocab_size": 100,
 "bos_token_id": 0, "eos_token_id": 1, "rms_norm_eps": 1e-06, "hidden_act": "silu",
 "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "dtype": "float32",
 "tie_word_embeddings": false, "use_cache": true, "attention_bias": false}""")
TRAPS = (
    {},
    {"attn_implementation": "someone/kernel", "experts_implementation": "someone/kernel"},
    {"_attn_implementation": {"": "kernels-community/flash-attn"}},
    {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    {"quantization_config": {"quant_method": "someone"}, "dtype": "no_such"},
    {"text_config": {"auto_map": {"AutoConfig": "modeling_evil.Evil"}}},
)
ASKS_CODE = {
    "auto_map": {"AutoConfig": "modeling_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}
}
CONFIGS = edited(CONFIG).map(as_json) | JSON.map(as_json) | RAW | mutated(as_json(CONFIG))


@hostile(1000, config=CONFIGS)
def test_any_config_gives_a_card_or_one_line(folder, place, canary, config):
    rewrite(folder / "config.json", config)
    card, _ = refused(lambda: read_card(str(folder)))
    if card is not None:
        refused(card.row)
        assert card.n_layers > 0 and card.n_heads > 0 and card.d_head > 0
        vocabulary = Vocabulary(folder, card.vocab)
        refused(lambda: (vocabulary.bos, vocabulary.ordinary))
    assert canary.silent() and place.untouched()


@hostile(400, config=st.just(CONFIG) | edited(CONFIG), trap=st.sampled_from([*TRAPS, ASKS_CODE]))
def test_any_config_loads_or_is_refused(folder, place, canary, whole, config, trap):
    rewrite(folder / "config.json", as_json({**config, **trap}))
    shutil.copy(whole["llama"] / WEIGHTS, folder / WEIGHTS)
    loaded, _ = refused(lambda: load_model(str(folder)))
    assert loaded is not None or config != CONFIG or trap
    assert loaded is None or trap is not ASKS_CODE
    assert canary.silent() and place.untouched()


def header(weights: bytes) -> dict:
    return json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])


def headed(said: object, data: bytes) -> bytes:
    """A safetensors file with any header."""
    text = as_json(said)
    return len(text).to_bytes(8, "little") + text + data


TENSORS = {"w": torch.zeros(2, 3), "lm_head.weight": torch.ones(4, 2)}
SMALL = save(TENSORS, {"format": "pt"})
DATA = SMALL[-56:]
FILES = (
    RAW
    | mutated(SMALL)
    | edited(header(SMALL)).map(lambda said: headed(said, DATA))
    | JSON.map(lambda said: headed(said, DATA))
    | st.builds(lambda n, rest: n.to_bytes(8, "little") + rest, st.integers(0, 2**64 - 1), RAW)
)


@hostile(1000, weights=FILES)
def test_any_weights_are_hashed_or_refused(folder, place, canary, weights):
    rewrite(folder / "config.json", as_json(CONFIG))
    rewrite(folder / WEIGHTS, weights)
    refused(lambda: read_card(str(folder)).row())
    assert canary.silent() and place.untouched()


@hostile(300, data=st.data())
def test_any_weights_load_or_are_refused(folder, place, canary, whole, data):
    good = (whole["llama"] / WEIGHTS).read_bytes()
    rewrite(folder / "config.json", as_json(CONFIG))
    rewrite(folder / WEIGHTS, data.draw(FILES | mutated(good)))
    refused(lambda: load_model(str(folder)))
    assert canary.silent() and place.untouched()


@hostile(60, index=edited({"metadata": {}, "weight_map": {"lm_head.weight": WEIGHTS}}))
def test_shards_lie_in_the_folder(folder, place, whole, index):
    """Weights from elsewhere would not be part of what names the model."""
    rewrite(folder / "config.json", as_json(CONFIG))
    shutil.copy(whole["llama"] / WEIGHTS, folder / "model-1.safetensors")
    shutil.copy(whole["llama"] / WEIGHTS, place.work / "outside.safetensors")
    (folder / WEIGHTS).unlink(missing_ok=True)
    path = rewrite(folder / f"{WEIGHTS}.index.json", as_json(index))
    try:
        refused(lambda: load_model(str(folder)))
        every = dict.fromkeys(load_file(whole["llama"] / WEIGHTS), "../outside.safetensors")
        rewrite(path, as_json({"metadata": {}, "weight_map": every}))
        assert refused(lambda: load_model(str(folder)))[0] is None
    finally:
        path.unlink()
    assert place.untouched()


@hostile(500, data=st.data())
def test_any_tokenizer_encodes_or_is_refused(folder, place, canary, whole, data):
    good = (whole["worded"] / "tokenizer.json").read_bytes()
    small = SMALL_TOKENIZER
    said = data.draw(RAW | edited(small).map(as_json) | mutated(as_json(small)) | mutated(good))
    rewrite(folder / "config.json", as_json(CONFIG))
    rewrite(folder / "tokenizer.json", said)
    asked(folder)
    assert canary.silent() and place.untouched()


def asked(folder) -> None:
    """Everything that is asked of a tokenizer."""
    known = Vocabulary(folder, 100)
    refused(lambda: (known.hash, known.ordinary, known.single(["a", "<b>"]), known.display(3)))
    refused(lambda: known.encode("a <b> \0 \U0010ffff"))


SMALL_TOKENIZER = json.loads("""{"version": "1.0", "truncation": null, "padding": null,
 "added_tokens": [{"id": 0, "content": "<bos>", "single_word": false, "lstrip": false,
  "rstrip": false, "normalized": false, "special": true}],
 "normalizer": null, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": " ?[a-z]+"},
  "behavior": "Isolated", "invert": false}, "post_processor": null,
 "decoder": {"type": "Fuse"}, "model": {"type": "WordLevel",
  "vocab": {"<bos>": 0, "<unk>": 1, "a": 2, "<script>alert(1)</script>": 3}, "unk_token": "<unk>"}}
""")
OLD = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 64, "bos_token": "<bos>"}
OLDER = (
    edited(OLD | ASKS_CODE | {"auto_map": {"AutoTokenizer": ["tokenization_evil.Evil", None]}})
    | edited(OLD)
    | JSON
).map(as_json) | RAW


@hostile(80, said=OLDER, name=st.sampled_from(["vocab.json", "tokenizer.model", "spiece.model"]))
def test_any_older_tokenizer_encodes_or_is_refused(folder, place, canary, said, name):
    (folder / "tokenizer.json").unlink(missing_ok=True)
    rewrite(folder / "config.json", as_json(CONFIG))
    rewrite(folder / "tokenizer_config.json", said)
    beside = rewrite(folder / name, b'{"a": 0, "<unk>": 1}')
    asked(folder)
    beside.unlink()
    assert canary.silent() and place.untouched()


@hostile(300, name=NAME)
def test_any_name_of_a_model_is_found_or_refused(place, name, monkeypatch):
    monkeypatch.chdir(place.work)
    card, _ = refused(lambda: read_card(name))
    assert card is None or name in {"reference", "model", "./model"}
    assert place.untouched()
