"""Folders of decompositions, published ones and ours: tensors are read, pickles never run."""

import io
import json
import shutil

import pytest
import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import load, save

from analysis.components import folder as ours
from analysis.models.files import published
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from tests.commands.hostile import (
    JSON,
    NAME,
    RAW,
    as_json,
    edited,
    hostile,
    mutated,
    refused,
    rewrite,
)
from tests.components import decomposition_folders
from tests.components.decomposed_models import decomposed, importance_of

TARGET = {
    **{"vocab_size": 100, "n_embd": 32, "n_intermediate": 64, "n_layer": 2, "n_head": 4},
    **{"n_ctx": 64, "n_key_value_heads": 2, "rotary_dim": 8, "rotary_base": 1e4},
}
ATTENTION = {"n_heads": 2, "rope_base": 1e4}
RUN = {
    "pretrained_model_name": "w/model.pth",
    "ci_config": {"simple_transformer_ci_cfg": {"attn_config": ATTENTION}},
}


def as_yaml(said: object) -> bytes:
    return yaml.safe_dump(said).encode("utf-8", "surrogatepass")


def configs(said: dict) -> st.SearchStrategy[bytes]:
    """The file as it should be, and anything else."""
    whole = as_yaml(said)
    return st.just(whole) | edited(said).map(as_yaml) | RAW | mutated(whole) | JSON.map(as_yaml)


@pytest.fixture(scope="module")
def run(place, canary):
    """The folder of a published decomposition, with a pickle beside the weights."""
    path = place.work / "run"
    path.mkdir()
    (path / "model_3.bin").write_bytes(canary.pickle)
    return path


@hostile(500, config=configs(RUN), target=configs(TARGET), trap=st.integers(0, 9))
def test_any_published_run_gives_a_card_or_one_line(run, place, canary, config, target, trap):
    rewrite(run / published.CONFIG, canary.yaml.encode() if trap == 0 else config)
    rewrite(run / published.TARGET_CONFIG, canary.yaml.encode() if trap == 1 else target)
    rewrite(run / "model_7.pth", b"x")
    card, _ = refused(lambda: read_card(str(run)))
    if card is not None:
        refused(card.row)
        assert card.n_heads > 0 and card.d_head > 0
    assert canary.silent() and place.untouched()


@hostile(200, name=NAME, step=NAME)
def test_a_run_names_no_file_outside_of_its_folder(run, place, name, step):
    rewrite(run / published.CONFIG, as_yaml({"pretrained_model_name": name}))
    (run / published.TARGET_CONFIG).unlink(missing_ok=True)
    outside = {place.root / "a" / published.TARGET_CONFIG: as_yaml(TARGET)}
    for path, data in outside.items():
        path.write_bytes(data)
    beside = run / f"model_{step}.pth"
    try:
        beside.write_bytes(b"x")
    except (OSError, ValueError):
        beside = run / "model_7.pth"
    assert refused(lambda: read_card(str(run)))[0] is None
    if beside.name != "model_7.pth":
        beside.unlink()
    for path in outside:
        path.unlink()
    assert place.untouched()


@pytest.fixture(scope="module")
def state(saved):
    """Tensors of a published run: target, components and importance function."""
    folder = saved("llama_simple_mlp")
    found = decomposed(folder)
    tensors = {
        f"target_model.{name}": tensor
        for name, tensor in load((folder / "model.safetensors").read_bytes()).items()
    }
    for name, parts in found.components.items():
        for factor in ("U", "V"):
            dashed = name.replace(".", "-")
            tensors[f"_components.{dashed}.{factor}"] = getattr(parts, factor).detach()
    function = importance_of(found, "shared_mlp").state_dict()
    return tensors | {f"ci_fn.{name}": tensor for name, tensor in function.items()}


ODD = (
    *(None, 3, "text", [1], {"a": 1}, 1 + 2j, torch.zeros(0), torch.ones(3, 3, 3), torch.tensor(1)),
    *(torch.zeros(2, 2, dtype=torch.int64), torch.eye(3).to_sparse(), torch.ones(2).cfloat()),
    *(torch.full((4, 4), float("nan")), torch.zeros(2, 2, device="meta"), torch.ones(2, 2).half()),
)
KEYS = NAME | st.sampled_from(
    [
        *("_components.h-0-attn-q_proj.U", "_components.x.V", "target_model.lm_head.weight"),
        *("ci_fn.ci_fns.h-0-attn-q_proj.layers.x.W", "global_ci_fn.blocks.x.attn.q_proj.weight"),
        *("ci_fn.global_ci_fn.input_projector.W", "ci_fn.global_ci_fn.layers.0.W", "ci_fns.", ""),
    ]
)


def pickled(value: object, **how: bool) -> bytes:
    data = io.BytesIO()
    torch.save(value, data, **how)
    return data.getvalue()


SMALL = {z: pickled({"w": torch.ones(2)}, _use_new_zipfile_serialization=z) for z in (True, False)}


def changed(data, whole: dict) -> dict:
    """Tensors with some replaced by any values, left out, or added."""
    tensors: dict = dict(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        name = data.draw(st.sampled_from(sorted(map(str, tensors))) | KEYS)
        if data.draw(st.booleans()):
            tensors[name] = data.draw(st.sampled_from(ODD))
        else:
            tensors.pop(name, None)
    return tensors


@hostile(300, data=st.data(), kind=st.integers(0, 5))
def test_any_checkpoint_is_read_or_refused_and_never_run(run, place, canary, state, data, kind):
    zipped = data.draw(st.booleans())
    rewrite(run / published.CONFIG, as_yaml(RUN))
    rewrite(run / published.TARGET_CONFIG, as_yaml(TARGET))
    how = {"_use_new_zipfile_serialization": zipped}
    if kind == 0:
        said = data.draw(st.sampled_from([canary, {"w": canary}, [state, canary], {1: 2}, state]))
        written = canary.pickle if data.draw(st.booleans()) else pickled(said, **how)
    elif kind == 1:
        written = data.draw(RAW | mutated(SMALL[zipped]))
    else:
        written = pickled(changed(data, state), **how)
    rewrite(run / "model_7.pth", written)
    model, _ = refused(lambda: load_model(str(run)))
    if model is not None:
        refused(lambda: ours.load_decomposition(model, run))
    assert canary.silent() and place.untouched()


@pytest.fixture(scope="module")
def made(saved, place):
    """A decomposition of ours, and its model."""
    model = saved("llama_simple_mlp")
    found = decomposed(model)
    path = place.work / "made"
    decomposition_folders.save(path, found, importance_of(found, "shared_mlp"))
    shutil.copytree(path, place.work / "kept")
    return load_model(str(model)), path


@hostile(300, data=st.data(), kind=st.integers(0, 4))
def test_any_decomposition_of_ours_is_read_or_refused(made, place, canary, data, kind):
    model, path = made
    kept = place.work / "kept"
    weights, told = ((kept / name).read_bytes() for name in (ours.WEIGHTS, ours.MADE))
    if kind == 0:
        told = data.draw(RAW | mutated(told) | edited(json.loads(told)).map(as_json))
    elif kind == 1:
        weights = data.draw(RAW | mutated(weights) | st.just(canary.pickle))
    else:
        odd = changed(data, load(weights)).items()
        dense = {n: t for n, t in odd if isinstance(t, torch.Tensor) and not t.is_sparse}
        weights = save({n: t.contiguous() for n, t in dense.items() if not t.is_meta})
    rewrite(path / ours.WEIGHTS, weights)
    rewrite(path / ours.MADE, told)
    refused(lambda: ours.load_decomposition(load_model(str(model.card.folder)), path))
    assert canary.silent() and place.untouched()
