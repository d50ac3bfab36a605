"""GGUF files: the numbers of the folder that they were made of, or one line."""

import json
import shutil

import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from analysis.errors import UserError
from analysis.models.files import gguf
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.text.tokens import Vocabulary
from tests.commands.hostile import hostile, mutated, refused, rewrite
from tests.models.gguf_file import write_gguf

pytest.importorskip("gguf", reason="needs the package gguf; runs again once it is installed")

IDS = torch.arange(3, 67)[None]
TEXT = "Once upon a time, there was a little girl named Lily. She loved déjà vu!\n 12 cats."


@torch.no_grad()
def logits(name) -> torch.Tensor:
    return load_model(str(name)).net(IDS, use_cache=False).logits


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_float_file_has_the_logits_of_its_folder(stories260k, tmp_path, place):
    file = write_gguf(stories260k, tmp_path / "small.gguf")
    name = file if place == "file" else tmp_path
    torch.testing.assert_close(logits(name), logits(stories260k), atol=1e-6, rtol=0)
    card, of_folder = read_card(str(name)), read_card(str(stories260k))
    sizes = ("n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "n_ctx", "n_params", "vocab")
    for size in (*sizes, "architecture"):
        assert getattr(card, size) == getattr(of_folder, size)
    assert json.loads(json.dumps(card.identity)) == card.identity


def test_the_tokenizer_and_the_ids_that_are_special_come_from_the_file(stories260k, tmp_path):
    file = write_gguf(stories260k, tmp_path / "small.gguf")
    found, known = Vocabulary(file, 512), Vocabulary(stories260k, 512)
    assert found.encode(TEXT) == known.encode(TEXT)
    assert (found.bos, found.ordinary) == (known.bos, known.ordinary)


def test_the_name_hashes_the_file_whoever_holds_it(stories260k, tmp_path):
    file = write_gguf(stories260k, tmp_path / "small.gguf")
    before = read_card(str(file)).model
    assert read_card(str(tmp_path)).model == before
    moved = file.rename(tmp_path / "other.gguf")
    assert read_card(str(moved)).model == before
    data = bytearray(moved.read_bytes())
    data[-1] ^= 1
    moved.write_bytes(data)
    assert read_card(str(moved)).model != before


def test_a_quantised_file_has_the_numbers_that_it_stands_for(stories260k, tmp_path):
    from gguf import GGMLQuantizationType as Kind  # noqa: PLC0415 - optional
    from gguf import quants  # noqa: PLC0415

    file = write_gguf(stories260k, tmp_path / "small.gguf", kind=Kind.Q8_0)
    folder = shutil.copytree(stories260k, tmp_path / "wide")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if weight.ndim == 2 and weight.shape[1] % 32 == 0:
            blocks = quants.quantize(weight.numpy(), Kind.Q8_0)
            weights[name] = torch.from_numpy(quants.dequantize(blocks, Kind.Q8_0))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    torch.testing.assert_close(logits(file), logits(folder), atol=1e-5, rtol=0)
    assert (logits(file) - logits(stories260k)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rope.scaling.factor": 8.0}, "small.gguf has llama.rope.scaling.factor = 8.0"),
        ({"attention.value_length": 16.0}, "transformers reads it as 8"),
        ({"expert_weights_scale": 2.5}, "transformers does not read it"),
    ],
)
def test_settings_that_transformers_would_leave_out_are_refused(stories260k, tmp_path, more, said):
    file = write_gguf(stories260k, tmp_path / "small.gguf", more=more)
    with pytest.raises(UserError) as error:
        read_card(str(file))
    assert said in str(error.value)


def test_tensors_that_transformers_would_leave_out_are_refused(stories260k, tmp_path):
    file = write_gguf(stories260k, tmp_path / "small.gguf", factors=True)
    with pytest.raises(UserError, match=r"found \+4 more, which transformers does not read"):
        load_model(str(file))


def test_which_file_is_meant_is_asked(stories260k, tmp_path):
    file = write_gguf(stories260k, tmp_path / "small.gguf")
    shutil.copy(file, tmp_path / "other.gguf")
    with pytest.raises(UserError, match=r"found other.gguf and 1 more; give the path"):
        read_card(str(tmp_path))
    part = file.rename(tmp_path / "small-00001-of-00002.gguf")
    with pytest.raises(UserError, match="is a part of several"):
        read_card(str(part))
    whole = shutil.copytree(stories260k, tmp_path / "whole")
    whole.chmod(0o755)
    shutil.copy(tmp_path / "other.gguf", whole)
    assert read_card(str(whole)).weights == read_card(str(stories260k)).weights
    assert "other.gguf beside it is not" in read_card(str(whole)).notes[0]


def test_a_package_that_is_missing_is_named(stories260k, tmp_path, monkeypatch):
    file = write_gguf(stories260k, tmp_path / "small.gguf")
    monkeypatch.setattr(gguf, "find_spec", lambda name: None if name == "gguf" else object())
    with pytest.raises(UserError, match=r"found no gguf; pip install 'headbook\[gguf\]'"):
        read_card(str(file))


@pytest.fixture(scope="module")
def small(stories260k, tmp_path_factory) -> bytes:
    return write_gguf(stories260k, tmp_path_factory.mktemp("gguf") / "small.gguf").read_bytes()


@hostile(100, data=st.data())
def test_any_file_loads_or_is_refused(place, small, data):
    """Settings, the table of tensors, or the last weights are changed."""
    n = data.draw(st.sampled_from([64, 900, 24_000, len(small)]))
    path = rewrite(place.work / "any.gguf", data.draw(mutated(small[:n])) + small[n:])
    refused(lambda: load_model(str(path)))
    assert place.untouched()


def test_a_file_that_is_cut_short_is_refused(small, tmp_path):
    path = tmp_path / "short.gguf"
    for share in (0.0001, 0.001, 0.01, 0.5):
        path.write_bytes(small[: int(len(small) * share)])
        assert refused(lambda: load_model(str(path)))[0] is None
