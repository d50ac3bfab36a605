"""Models that a training keeps on its way, what is measured of them, and the file of it."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from analysis.errors import UserError
from analysis.interventions import Head
from analysis.models.load import load_model
from analysis.text.tokens import Vocabulary
from analysis.training import evaluation, formation, kept, measured, mixture, trainer
from analysis.training.abilities import copy_losses
from analysis.training.corpus import Corpus
from analysis.training.evaluation import Subject, mean
from analysis.training.formation import RESTS, SCHEMA, STATISTICS, formed, resting
from analysis.training.kept import kept_models
from analysis.training.measured import Measured, Stage, measure, stage_of
from analysis.training.trainer import Trainer

from .test_training import N_STEPS, corpus, corpus_folder, new_trainer, silent
from .train_worker import SIZES

__all__ = ["corpus", "corpus_folder"]
KEEP_AT = (0, 3)


@pytest.fixture(scope="module", autouse=True)
def small():
    """A small model, few rows, and nothing measured on the way."""
    config = partial(trainer.LlamaSimpleMLPConfig, **SIZES)
    few = tuple(replace(phase, n_rows=2) for phase in mixture.PHASES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "LlamaSimpleMLPConfig", config)
        patch.setattr(trainer, "CHECKPOINT_EVERY", 2)
        patch.setattr(trainer, "abilities", lambda *_, **__: {})
        patch.setattr(mixture, "PHASES", few)
        patch.setattr(formation, "N_BATCHES", 3)
        patch.setattr(evaluation, "N_TOKENS", 64)
        for module in (trainer, kept):
            patch.setattr(module, "KEEP_AT", KEEP_AT)
        yield


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory) -> Trainer:
    made = new_trainer(tmp_path_factory.mktemp("runs") / "run", corpus)
    made.run(silent)
    return made


@pytest.fixture(scope="module")
def subject(run, corpus) -> Subject:
    return subject_of(kept_models(run.out)[3], corpus)


def subject_of(folder: Path, corpus: Corpus) -> Subject:
    model = load_model(str(folder))
    return Subject(model, Vocabulary(folder, model.card.vocab).require(), corpus)


# weights on the way


def test_what_is_kept_are_the_weights_after_so_many_steps(run, corpus, tmp_path):
    again = new_trainer(tmp_path / "again", corpus)
    for step in range(4):
        if step in KEEP_AT:
            model = load_model(str(kept_models(run.out)[step]))
            for ours, theirs in zip(model.net.parameters(), again.model.parameters(), strict=True):
                assert torch.equal(ours, theirs.bfloat16().float())
        again.train_step()
    assert list(kept_models(run.out)) == [0, 3]


def test_a_run_that_goes_on_forgets_what_was_kept_after_its_checkpoint(corpus, tmp_path):
    first = new_trainer(tmp_path / "run", corpus)
    first.run(silent)
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    again = new_trainer(tmp_path / "run", corpus, seed=1)
    again.resume()
    assert list(kept_models(again.out)) == [0], "weights of another seed"


def test_what_others_put_among_kept_models_is_left_alone(corpus, tmp_path):
    theirs = tmp_path / "run" / "kept" / "3" / "notes.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        new_trainer(tmp_path / "run", corpus)
    assert theirs.read_text() == "mine"


def test_a_kept_model_says_which_training_it_is_of(run, tmp_path):
    assert stage_of(kept_models(run.out)[3]) == Stage(0, 3, N_STEPS)
    with pytest.raises(UserError, match="train one, or choose"):
        stage_of(tmp_path)


# what is measured


def test_losses_on_copies_are_those_of_the_card(subject):
    found = formed(subject)
    assert found.keys() == STATISTICS.keys()
    batches = subject.repeats("repeats")[: formation.N_BATCHES]
    with torch.no_grad():
        losses = [copy_losses(subject.model.net, torch.from_numpy(rows)) for rows in batches]
    for copy, name in enumerate(("first_copy_loss", "second_copy_loss")):
        theirs = mean(loss for both in losses for loss in both[copy])
        assert found[name]["estimate"] == pytest.approx(theirs["estimate"], abs=1e-4)
    assert all(each["lower"] <= each["estimate"] <= each["upper"] for each in found.values())


def test_a_head_that_writes_nothing_is_not_needed(subject):
    model, head = load_model(str(subject.model.card.folder)), Head(1, 2)
    (rows,) = subject.repeats("repeats")[:1]
    width = SIZES["hidden_size"] // SIZES["num_attention_heads"]
    whole = formation._without(model, rows, head)
    with torch.no_grad():
        o_proj = next(p for n, p in model.net.named_parameters() if "1.attn.o_proj" in n)
        o_proj[:, head.head * width : (head.head + 1) * width] = 0
    silenced = formation._without(model, rows, head)
    np.testing.assert_allclose(silenced, whole, atol=1e-5)
    with torch.no_grad():
        _, plain = copy_losses(model.net, torch.from_numpy(rows))
    np.testing.assert_allclose(silenced, plain, atol=1e-4)
    assert np.abs(formation._without(model, rows, Head(0, 0)) - plain).max() > 1e-4


def test_heads_rest_that_look_at_bos_by_more_than_the_bar():
    rng = np.random.default_rng(0)
    around = rng.normal(0, 0.01, (50, 1, 1))
    unsure = rng.normal(RESTS + 0.001, 0.2, (50, 1, 1))
    values = np.concatenate([around + 0.9, around + RESTS - 0.2, unsure, around + 0.6], axis=2)
    found = resting(values)
    assert (found["lower"], found["upper"]) == (2, 3)
    assert found["lower"] <= found["estimate"] <= found["upper"]


# the file


def test_every_kept_model_is_measured_once(run, corpus, tmp_path, monkeypatch):
    path, asked = tmp_path / "out.json", list[str]()
    figure = {"estimate": 0.5, "lower": 0.25, "upper": 0.75, "n": 4}

    def counted(subject: Subject) -> dict[str, dict[str, float]]:
        asked.append(subject.model.card.weights)
        return {name: {**figure, "head": "L1H2"} for name in STATISTICS}

    monkeypatch.setattr(measured, "formed", counted)
    first = measure([run.out], corpus, path, "cpu", silent)
    assert len(asked) == len(set(asked)) == len(KEEP_AT)
    again = measure([run.out], corpus, path, "cpu", silent)
    assert len(asked) == len(KEEP_AT)
    assert again.rows.equals(first.rows)
    assert Measured.read(path).rows.equals(first.rows)
    assert first.rows.schema == pl.Schema(SCHEMA)
    assert first.rows["step"].unique(maintain_order=True).to_list() == list(KEEP_AT)
    assert "seed" not in first.recipe
    assert first.recipe["n_steps"] == N_STEPS
    with pytest.raises(UserError, match="a seed for each run"):
        measure([run.out, run.out], corpus, path, "cpu", silent)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"rows": []}',
        '{"recipe": {}, "rows": [{"seed": "one"}]}',
        '{"recipe": {}, "rows": [{"seed": 0, "step": 1, "weights": "w", "statistic": "bos", '
        '"head": null, "value": 2.0, "lower": 0.0, "upper": 1.0, "n": 4}]}',
    ],
)
def test_a_damaged_file_is_refused(text, tmp_path):
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"expected .*; "):
        Measured.read(path)


def test_the_shipped_file_is_of_the_shipped_recipe():
    shipped = Measured.read(measured.SHIPPED)
    assert stage_of(measured.SHIPPED.parent).n_steps == shipped.recipe["n_steps"]
    every = shipped.rows.group_by("seed", "step").agg(pl.col("statistic").sort())
    assert all(names == sorted(STATISTICS) for names in every["statistic"].to_list())
