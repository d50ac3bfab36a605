"""The shipped decomposition of the reference model: its bars, its card, and its recipe."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from analysis.components.decomposed import logits
from analysis.components.evaluation import by_row, importances, rounded
from analysis.components.fitting.card import card
from analysis.components.fitting.recipe import Recipe, Rows
from analysis.components.folder import MADE, WEIGHTS, default_folder, load_decomposition
from analysis.components.losses import drawn_masks
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.text.tokens import Vocabulary
from book.decompose_command import decompose

FOLDER = default_folder(read_card("reference"))
assert FOLDER is not None, "the reference model ships without a decomposition"
MADE_OF = json.loads((FOLDER / MADE).read_text(encoding="utf-8"))
FIGURES = MADE_OF["evaluation"]["figures"]


@pytest.fixture(scope="module")
def made():
    return load_decomposition(load_model("reference"), FOLDER)


def test_bars_are_met_at_the_worse_ends_of_their_intervals():
    lower, upper = ({name: figure[i] for name, figure in FIGURES.items()} for i in (1, 2))
    assert upper["ones"] < 0.01
    assert upper["stochastic"] < 0.1 * lower["zero"]
    assert upper["l0"] < 0.25 * MADE_OF["evaluation"]["alive"]["alive"]
    assert upper["adversarial"] < 0.3 * lower["zero"]


def test_it_is_whole_and_light(made):
    projections = {f"h.{i}.attn.{p}_proj" for i in range(4) for p in "qkvo"}
    assert set(made[0].components) == projections
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 12 * 2**20
    assert {path.name for path in FOLDER.iterdir()} == {WEIGHTS, MADE, "README.md"}


def test_the_card_is_made_of_its_figures_and_names_the_command():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == card(MADE_OF)


def test_the_command_alone_gives_its_recipe():
    defaults = {option.name: option.default for option in decompose.params}
    recipe = Recipe(
        seed=defaults["seed"],
        n_steps=defaults["steps"],
        n_components=defaults["components"],
    )
    assert {"token_pool": "all", **MADE_OF["recipe"]} == asdict(recipe)


def test_with_all_masks_1_and_the_remainders_it_is_the_reference_model(made):
    decomposition, _ = made
    tokens = torch.arange(200)[None] * 7 % 3000
    target = decomposition.model.net(tokens, use_cache=False).logits
    whole = logits(decomposition, tokens, decomposition.uniform(1.0, 1.0))
    torch.testing.assert_close(whole, target, rtol=0, atol=1e-5 * target.abs().max().item())


def test_its_figures_are_measured_again_on_other_rows(made):
    """On rows of another seed, so nearly and not exactly: within a factor of two."""
    decomposition, function = made
    card_ = decomposition.model.card
    recipe = Recipe(seed=1, n_steps=8)
    rows = Rows("reference", Vocabulary(card_.folder, card_.vocab), recipe, "evaluate")
    tokens = torch.cat([rows.batch(0), rows.batch(1)])
    found = importances(decomposition, function, tokens)
    masks = {
        "ones": decomposition.uniform(1.0, 0.0),
        "stochastic": drawn_masks(found, torch.Generator().manual_seed(0)),
        "rounded": rounded(found),
        "zero": decomposition.uniform(0.0, 0.0),
    }
    with torch.no_grad():
        target = logits(decomposition, tokens, {})
        again = {
            name: by_row(target, logits(decomposition, tokens, m)) for name, m in masks.items()
        }
    again["l0"] = sum((g > 0).sum(-1) for g in found.values()).double().mean(1).numpy()
    for name, values in again.items():
        assert 0.5 < np.mean(values) / FIGURES[name][0] < 2, name
