"""Training of decompositions: the same seed gives the same rows, and a kill loses nothing."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis.components.evaluation import judge
from analysis.components.fitting import recipe as recipes
from analysis.components.fitting import training
from analysis.components.fitting.recipe import Recipe, Rows
from analysis.components.fitting.training import Trainer, drawn_components, train
from analysis.components.folder import load_decomposition, made
from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.text.tokens import Vocabulary
from tests.commands.test_cli import invoke, refused

from .decompose_worker import EVERY, KEPT, RECIPE, trainer

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def silent(*_: object) -> None:
    """Report nothing."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Checkpoints every second step, and few rows to judge on."""
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", EVERY)
    monkeypatch.setattr(training, "N_EVALUATED", KEPT)
    monkeypatch.setattr(recipes, "N_EVALUATED", KEPT)


@pytest.fixture(scope="module")
def whole(worded, tmp_path_factory) -> Trainer:
    """A run that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_EVERY", EVERY)
        patch.setattr(recipes, "N_EVALUATED", KEPT)
        made = trainer(RECIPE, str(worded), "reference", tmp_path_factory.mktemp("whole"))
        made.run(silent)
    return made


def same(ours: Trainer, theirs: Trainer) -> None:
    """Both have the same parameters, sources and losses."""
    assert ours.step == theirs.step
    for a, b in zip(ours.trained.parameters(), theirs.trained.parameters(), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    assert ours.sources
    assert theirs.sources
    for name, source in theirs.sources.components.items():
        torch.testing.assert_close(ours.sources.components[name], source, **CLOSE)
        torch.testing.assert_close(ours.sources.deltas[name], theirs.sources.deltas[name], **CLOSE)
    assert [row["step"] for row in ours.losses] == [2, 4, 6, 8, 9]
    for mine, other in zip(ours.losses, theirs.losses, strict=True):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"seconds"}:
            assert mine[name] == pytest.approx(other[name], rel=1e-4, abs=1e-4)


def rows_of(folder: Path, name: str, seed: int = 3, **changed) -> Rows:
    card = read_card(str(folder))
    recipe = replace(RECIPE, seed=seed, **changed)
    return Rows("reference", Vocabulary(card.folder, card.vocab), recipe, name)


def test_the_same_seed_gives_the_same_rows(worded):
    first, again, other = (rows_of(worded, "decompose", seed) for seed in (3, 3, 4))
    for step in (0, 1, 5):
        assert torch.equal(first.batch(step), again.batch(step))
        assert not torch.equal(first.batch(step), other.batch(step))
        assert first.batch(step).shape == (4, 12)
        assert (first.batch(step)[:, 0] == 0).all(), "every row starts with BOS"
    assert not torch.equal(first.batch(0), first.batch(1))


def test_rows_of_text_come_round_before_any_comes_again_and_others_are_shown_again(worded):
    rows = rows_of(worded, "decompose", n_rows=8, n_tokens=40)
    text = {tuple(row) for row in rows.tokens.ids}
    seen: list[tuple[int, ...]] = []
    for step in range(len(rows.tokens.ids) // 6):
        batch = [tuple(row) for row in rows.batch(step).numpy()]
        seen += batch[:6]
        for row in batch[6:]:
            assert row not in text
            assert len(set(row[1:])) <= 39 // 2, "a block, and nothing else, at least twice"
    assert len(seen) == len(set(seen))
    assert set(seen) <= text


def test_rows_that_judge_are_no_rows_of_the_training(worded, tmp_path):
    training_rows, judging = (rows_of(worded, name) for name in ("decompose", "evaluate"))
    assert len(judging.tokens.ids) == 8
    trained = {tuple(row) for row in training_rows.tokens.ids}
    assert not trained & {tuple(row) for row in judging.tokens.ids}
    card = read_card(str(worded))
    vocabulary = Vocabulary(card.folder, card.vocab)
    short = tmp_path / "short.txt"
    short.write_text("the cat sat on the mat and the dog ran off " * 5)
    few = [Rows(str(short), vocabulary, RECIPE, name) for name in ("decompose", "evaluate")]
    found = [len(rows.tokens.ids) for rows in few]
    assert found[1] == min(8, sum(found) // 2) > 0
    assert few[0].batch(100).shape == (4, 12), "a short text comes round"
    short.write_text("the cat sat on the mat and the dog ran off and on and off ")
    with pytest.raises(UserError, match="at least 2 rows of 12 tokens"):
        Rows(str(short), vocabulary, RECIPE, "decompose")


def test_rates_and_exponents_go_from_end_to_end():
    recipe = Recipe(seed=0, n_steps=40)
    rates = [recipe.learning_rate(step) for step in range(41)]
    assert rates[0] == pytest.approx(recipe.rate)
    assert rates[20] == pytest.approx(0.55 * recipe.rate)
    assert rates[-1] == pytest.approx(recipe.rate / 10)
    assert rates == sorted(rates, reverse=True)
    assert (recipe.p(0), recipe.p(20), recipe.p(40)) == pytest.approx((2.0, 1.2, 0.4))


def test_drawn_components_have_the_stated_spread(worded):
    model = load_model(str(worded))
    torch.manual_seed(0)
    recipe = replace(RECIPE, n_components=400)
    (parts,) = drawn_components(model, ["h.0.attn.q_proj"], recipe).values()
    assert parts.V.std().item() == pytest.approx(32**-0.5, rel=0.05)
    assert parts.U.std().item() == pytest.approx(400**-0.5, rel=0.05)


def test_the_warm_up_makes_components_faithful_and_leaves_the_importances_alone(worded, tmp_path):
    recipe = replace(RECIPE, layers=r"h\.0\.attn\.q_proj", n_components=40, warm_up=150)
    run = trainer(recipe, str(worded), "reference", tmp_path)
    before = [p.clone() for p in run.importance.parameters()]
    losses = [run.train_step() for _ in range(150)]
    assert all(set(each) == {"faithfulness"} for each in losses)
    assert losses[-1]["faithfulness"] < 0.05 * losses[0]["faithfulness"]
    for was, now in zip(before, run.importance.parameters(), strict=True):
        assert torch.equal(was, now)
    assert set(run.train_step()) == {"stochastic", "adversarial", "importance", "faithfulness"}
    assert not torch.equal(before[0], next(run.importance.parameters()))


def test_a_target_is_never_trained(whole, worded):
    again = load_file(worded / "model.safetensors")
    for name, weight in whole.model.net.state_dict().items():
        if name in again:
            assert torch.equal(weight, again[name])


def test_a_run_that_goes_on_ends_where_an_uninterrupted_one_does(whole, worded, tmp_path):
    broken = trainer(RECIPE, str(worded), "reference", tmp_path)

    def interrupt(done: int, *_: object) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(interrupt)
    again = trainer(RECIPE, str(worded), "reference", tmp_path)
    again.resume()
    assert again.step == 6, "the last checkpoint before the interruption"
    again.run(silent)
    same(again, whole)
    written = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == again.losses


@pytest.fixture(scope="module")
def other_model(worded, tmp_path_factory) -> Path:
    """The same model with other weights."""
    folder = tmp_path_factory.mktemp("other") / "other"
    copytree(worded, folder)
    weights = load_file(folder / "model.safetensors")
    changed = {name: 1.1 * tensor for name, tensor in weights.items()}
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_checkpoints_are_never_overwritten_or_misread(whole, worded, other_model, tmp_path):
    first = trainer(RECIPE, str(worded), "reference", tmp_path)
    first.train_step()
    first.save()
    with pytest.raises(UserError, match="go on from its checkpoint with --resume"):
        train(first, resume=False, report=silent)
    prose = tmp_path / "prose.txt"
    prose.write_text("the cat sat on the mat and the dog ran off. " * 99)
    for recipe, model, text in (
        (replace(RECIPE, seed=4), worded, "reference"),
        (replace(RECIPE, beta=0.3), worded, "reference"),
        (RECIPE, other_model, "reference"),
        (RECIPE, worded, str(prose)),
    ):
        with pytest.raises(UserError, match="a checkpoint of this model, text and recipe"):
            trainer(recipe, str(model), text, tmp_path).resume()
    bytes_ = first.checkpoint.read_bytes()
    for kept in (len(bytes_) // 2, 4):
        first.checkpoint.write_bytes(bytes_[:kept])
        with pytest.raises(UserError, match="is damaged"):
            trainer(RECIPE, str(worded), "reference", tmp_path).resume()
        assert first.checkpoint.read_bytes() == bytes_[:kept]


def test_a_finished_folder_is_not_trained_over(worded, tmp_path):
    (tmp_path / "components.safetensors").write_bytes(b"precious")
    for resume in (False, True):
        with pytest.raises(UserError, match="expected a folder without another run"):
            train(trainer(RECIPE, str(worded), "reference", tmp_path), resume=resume, report=silent)
    assert (tmp_path / "components.safetensors").read_bytes() == b"precious"


def test_layers_are_named_by_a_regular_expression(worded):
    model = load_model(str(worded))
    assert training.decomposed_layers(model, r"h\.1\.attn\.[qk]_proj") == [
        "h.1.attn.k_proj",
        "h.1.attn.q_proj",
    ]
    assert len(training.decomposed_layers(model, training.LAYERS)) == 8
    with pytest.raises(UserError, match="expected layers that match"):
        training.decomposed_layers(model, "q_proj")
    with pytest.raises(UserError, match="expected a regular expression"):
        training.decomposed_layers(model, "(")


SMALL = ("--steps", 3, "--components", 4, "--layers", r"h\.1\.attn\.q_proj")


def test_the_command_trains_judges_and_writes_a_folder(worded, tmp_path, monkeypatch):
    """300 steps of warm-up, 3 of training; then once more from the last checkpoint."""
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 100)
    asked = ("decompose", "--model", worded, "--out", tmp_path / "run", *SMALL)
    done = invoke(*asked)
    assert done.exit_code == 0, done.output
    card = (tmp_path / "run" / "README.md").read_text()
    assert card in done.stdout
    told = made(tmp_path / "run")
    assert told["recipe"]["n_tokens"] == 64, "no more than the model's context"
    assert told["losses"][-1]["step"] == 303
    assert told["evaluation"]["n_rows"] == 8
    assert np.isfinite([value for row in told["losses"] for value in row.values()]).all()
    loaded, function = load_decomposition(load_model(str(worded)), tmp_path / "run")
    assert list(loaded.components) == ["h.1.attn.q_proj"]
    assert function.kind == told["importance"] == "shared_mlp"
    assert "--resume" in refused(*asked)
    again = invoke(*asked, "--resume")
    assert again.exit_code == 0, again.output
    assert made(tmp_path / "run")["evaluation"] == told["evaluation"]


def test_what_is_judged_is_what_is_stored(worded, tmp_path):
    run = trainer(RECIPE, str(worded), "reference", tmp_path)
    run.step = run.n_all
    train(run, resume=False, report=silent)
    tokens = rows_of(worded, "evaluate").batch(0).numpy()
    tokens = np.concatenate([tokens, rows_of(worded, "evaluate").batch(1).numpy()])
    judged = judge(
        *load_decomposition(run.model, tmp_path), tokens, seed=RECIPE.seed, report=silent
    )
    assert json.loads(json.dumps(asdict(judged))) == made(tmp_path)["evaluation"]


def test_mistakes_are_one_line(worded, tmp_path):
    asked = ("decompose", "--model", worded, "--out", tmp_path / "run", *SMALL)
    assert "--device cpu" in refused(*asked, "--device", "tpu9")
    assert "no file" in refused(*asked, "--text", tmp_path / "missing.txt")
    assert "expected layers that match" in refused(*asked[:-1], "nothing")
    assert "Hugging Face id" in refused("decompose", "--model", "./nowhere", "--out", tmp_path)
    shown = invoke("decompose", "--help").output
    assert "headbook decompose --model" in shown.split("Example:")[1]
    for option in ("--out", tmp_path / "a"), ("--seed", -1):
        (tmp_path / "a").write_text("a file")
        assert invoke(*asked, *option).exit_code == 2
