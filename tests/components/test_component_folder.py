"""Folders of decompositions: what is stored comes back, and what is wrong is named."""

import json
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from analysis.components.evaluation import ALIVE, importances
from analysis.components.fitting.card import MEANING, bars, card
from analysis.components.folder import (
    MADE,
    WEIGHTS,
    default_folder,
    folder_hash,
    load_decomposition,
    made,
    narrowed,
    save,
)
from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.models.load import load_model

from .decomposed_models import decomposed, importance_of

IDS = torch.randint(2, 100, (2, 9), generator=torch.Generator().manual_seed(4))


def told(folder: Path) -> dict:
    """As little as a folder must tell of how it was made."""
    return {"model": read_card(str(folder)).model}


@pytest.fixture
def stored(saved, tmp_path) -> tuple[Path, Path]:
    """A model's folder, and that of its decomposition."""
    model = saved("llama_simple_mlp")
    found = decomposed(model)
    save(tmp_path / "made", found, importance_of(found, "shared_mlp"), told(model))
    return model, tmp_path / "made"


@pytest.mark.parametrize("kind", ["mlp", "vector_mlp", "shared_mlp"])
def test_what_is_loaded_is_what_was_saved_to_bfloat16(saved, tmp_path, kind):
    folder = saved("llama_simple_mlp")
    before = decomposed(folder)
    function = importance_of(before, kind)
    save(tmp_path, before, function, told(folder))
    assert {t.dtype for t in load_file(tmp_path / WEIGHTS).values()} == {torch.bfloat16}
    small, small_function = narrowed(before, function)
    after, after_function = load_decomposition(load_model(str(folder)), tmp_path)
    assert list(after.components) == list(before.components)
    for name, parts in after.components.items():
        assert parts.V.dtype == parts.U.dtype == torch.float32
        assert torch.equal(parts.V, small.components[name].V)
        assert torch.equal(parts.U, small.components[name].U)
        torch.testing.assert_close(parts.V, before.components[name].V, rtol=2**-8, atol=0)
    assert after_function.kind == kind
    ours = importances(after, after_function, IDS)
    theirs = importances(small, small_function, IDS)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(not torch.equal(g, importances(before, function, IDS)[n]) for n, g in ours.items())


def test_narrowing_again_changes_nothing_and_leaves_the_original(saved):
    before = decomposed(saved("llama_simple_mlp"))
    function = importance_of(before, "mlp")
    kept = [p.clone() for p in function.parameters()]
    once = narrowed(before, function)
    again = narrowed(*once)
    for name, parts in again[0].components.items():
        assert torch.equal(parts.U, once[0].components[name].U)
    assert all(torch.equal(a, b) for a, b in zip(kept, function.parameters(), strict=True))


def test_the_hash_is_of_the_tensors_alone(stored):
    model, folder = stored
    before = folder_hash(folder)
    (folder / MADE).write_text(json.dumps({**told(model), "note": "another"}))
    assert folder_hash(folder) == before
    tensors = load_file(folder / WEIGHTS)
    first = next(iter(tensors))
    save_file({**tensors, first: tensors[first] + 1}, folder / WEIGHTS)
    assert folder_hash(folder) != before


def test_a_models_own_decomposition_lies_beside_its_weights(stored, tmp_path):
    model, folder = stored
    assert default_folder(read_card(str(model))) is None
    both = tmp_path / "both"
    copytree(model, both)
    copytree(folder, both / "decomposition")
    card_of_both = read_card(str(both))
    assert card_of_both.model == read_card(str(model)).model
    found = default_folder(card_of_both)
    assert found == card_of_both.folder / "decomposition"
    load_decomposition(load_model(str(both)), found)


def test_a_decomposition_of_another_model_is_refused(stored, saved):
    model, folder = stored
    other = load_model(str(saved("llama_simple_mlp_adjacent")))
    with pytest.raises(UserError, match="is one of another model"):
        load_decomposition(other, folder)
    (folder / MADE).write_text("{}")
    with pytest.raises(UserError, match=r"is one of another model \(None\)"):
        load_decomposition(load_model(str(model)), folder)


def test_missing_and_damaged_files_are_named(stored):
    model, folder = stored
    loaded = load_model(str(model))

    def refused(match: str) -> None:
        with pytest.raises(UserError, match=match):
            load_decomposition(loaded, folder)

    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    refused(rf"{WEIGHTS} is damaged")
    tensors = load(whole)
    for lost in ("_components.h-0-attn-q_proj.U", "ci_fn.ci_fns.h-0-attn-q_proj.layers.0.W"):
        save_file({n: t for n, t in tensors.items() if n != lost}, folder / WEIGHTS)
        refused("expected")
    save_file({n: t for n, t in tensors.items() if "_components" not in n}, folder / WEIGHTS)
    refused(f"every layer in .*{WEIGHTS}")
    (folder / WEIGHTS).write_bytes(whole)
    for text in ("{", "[]", "\N{EURO SIGN}"):
        (folder / MADE).write_bytes(text.encode("utf-16" if text == "\N{EURO SIGN}" else "utf-8"))
        refused(MADE)
    (folder / MADE).unlink()
    refused(MADE)
    (folder / WEIGHTS).unlink()
    refused(f"expected {WEIGHTS}")


FIGURES = {name: (i + 0.12345, i + 0.1, i + 0.23456) for i, name in enumerate(MEANING, start=1)}
EVALUATION = {
    "figures": {**FIGURES, "l0": (12.34, 11.11, 13.57)},
    "alive": {"alive": 345, "alive_01": 67},
    "mean_importance": {"h.0.attn.q_proj": [0.1] * 8, "h.1.attn.q_proj": [0.2] * 8},
    "n_rows": 63,
    "n_tokens": 127,
}
TOLD = {
    "model": "0123456789abcdef",
    "target": "small",
    "text": "prose.txt",
    "importance": "shared_mlp",
    "recipe": {"seed": 5, "n_steps": 4321, "n_components": 8, "hidden": 97, "layers": ".*q_proj"},
    "evaluation": EVALUATION,
    "losses": [],
}


def test_the_card_holds_every_figure_of_its_json():
    text = card(json.loads(json.dumps(TOLD)))
    for name, (mean, low, high) in FIGURES.items():
        assert f"| {MEANING[name]} | {mean:.4f} | {low:.4f} to {high:.4f} |" in text
    assert "12.3 (11.1 to 13.6) of 16 components" in text
    assert set(EVALUATION["alive"]) == set(ALIVE)
    for number in (345, 67, 63, 127, 8, 97):
        assert f" {number} " in text
    for option in ("--seed '5'", "--steps '4321'", "--components '8'", "--layers '.*q_proj'"):
        assert option in text
    assert "--model small --text prose.txt" in text


def test_bars_are_met_by_the_figures():
    good = {
        "ones": 0.009,
        "stochastic": 0.2,
        "rounded": 0.3,
        "adversarial": 0.8,
        "adversarial_token": 3.0,
        "zero": 3.0,
        "l0": 80.0,
    }
    evaluation = {"figures": {n: (v, v, v) for n, v in good.items()}, "alive": {"alive": 345}}
    assert list(bars(evaluation).values()) == [True] * 4
    for i, (name, bad) in enumerate(
        (("ones", 0.011), ("stochastic", 0.31), ("l0", 90.0), ("adversarial", 0.91))
    ):
        worse = {**evaluation["figures"], name: (bad, bad, bad)}
        met = list(bars({**evaluation, "figures": worse}).values())
        assert met == [j != i for j in range(4)]
    text = card({**TOLD, "evaluation": {**EVALUATION, "figures": FIGURES | {"l0": (1, 1, 1)}}})
    assert "- NOT met: all components, without the remainder: below .01 nats" in text
    assert "- met: components a token: below 25 % of the alive" in text


def test_what_a_folder_tells_is_its_json(stored):
    model, folder = stored
    assert made(folder) == told(model)
