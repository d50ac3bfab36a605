"""Training of the reference model: the same seed gives the same rows, a kill loses nothing."""

import hashlib
import json
import math
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import UserError
from analysis.models.files.card import REFERENCE
from analysis.models.load import load_model
from analysis.text import words
from analysis.text.tokens import Vocabulary
from analysis.training import evaluation, trainer
from analysis.training.bigram import Bigram
from analysis.training.corpus import Corpus
from analysis.training.evaluation import share
from analysis.training.mixture import PHASES, Mixture, phase_at
from analysis.training.tokenizer import VOCAB_SIZE
from analysis.training.trainer import CYCLES, Recipe, Trainer, train, write_model

N_STEPS = 6


def silent(*_: object) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(REFERENCE, VOCAB_SIZE)


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rng = Random(0)
    text = " ".join(rng.choice((*words.OBJECTS, *words.NAMES)) for _ in range(20_000))
    (folder / "words.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def corpus(corpus_folder) -> Corpus:
    return Corpus.read(corpus_folder)


@pytest.fixture
def quick(monkeypatch):
    """Checkpoints every second step, and no measuring of abilities."""
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(trainer, "abilities", lambda *_, **__: {})


def new_trainer(folder, corpus: Corpus, seed: int = 0) -> Trainer:
    """A run whose tokenizer is the shipped one, so that no test trains one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes((REFERENCE / "tokenizer.json").read_bytes())
    return Trainer(Recipe(seed=seed, n_steps=N_STEPS), corpus, folder, "cpu")


def test_the_last_part_of_every_file_is_held_out(corpus):
    (train_text,), (held_out,) = corpus.train, corpus.held_out
    assert len(held_out) / (len(train_text) + len(held_out)) == pytest.approx(0.05, abs=1e-3)


def test_every_word_that_scores_need_is_one_token_of_the_shipped_tokenizer(vocabulary):
    needed = [word for word in words.single_token_words() if not word.isdigit()]
    assert set(vocabulary.single(needed)) == set(needed)
    assert all(len(vocabulary.encode(digit)) == 1 for digit in words.DIGITS)


@pytest.mark.parametrize("phase", PHASES, ids=range(len(PHASES)))
def test_batches_start_with_bos_have_the_phases_size_and_repeat_with_the_seed(vocabulary, phase):
    n_steps = 1000
    step = next(s for s in range(n_steps) if phase_at(s, n_steps) is phase)
    prose = list(range(1, 2000))

    def batch(seed: int) -> torch.Tensor:
        return Mixture(vocabulary.require(), prose, seed, n_steps).batch(step).tokens

    first = batch(0)
    assert first.shape == (phase.n_rows, phase.n_tokens + 1)
    assert (first[:, 0] == 0).all()
    assert first[:, 1:].min() > 0, "BOS stands at the start only"
    assert first.max() < VOCAB_SIZE
    assert torch.equal(first, batch(0))
    assert not torch.equal(first, batch(1))


def test_answers_count_more_in_the_last_phase_only(vocabulary):
    prose, n_steps = list(range(1, 2000)), 1000
    mixture = Mixture(vocabulary.require(), prose, 0, n_steps)
    early, late = (mixture.batch(step).weights for step in (n_steps // 2, n_steps - 1))
    assert (early == 1).all()
    assert set(late.unique().tolist()) == {1.0, PHASES[-1].answer_weight}
    assert 0 < (late > 1).float().mean() < 0.2, "answers are few among all tokens"


def test_any_words_are_single_tokens_and_none_that_evaluations_ask_about(vocabulary):
    mixture = Mixture(vocabulary.require(), list(range(1, 2000)), 0, 1000)
    pool = mixture._words
    assert len(pool) > 1000
    assert set(vocabulary.single(pool)) == set(pool)
    assert not set(pool) & {*words.HELD_OUT_NAMES, *words.HELD_OUT_STATES}
    assert set(words.NAMES) < set(pool)


def test_the_rate_falls_to_a_twentieth_at_the_end_of_every_cycle():
    recipe = Recipe(seed=0, n_steps=19_500)
    for i, cycle in enumerate(CYCLES):
        start = CYCLES[i - 1].end if i else recipe.warm_up / recipe.n_steps
        flat, end = (round(share * recipe.n_steps) for share in (cycle.fall, cycle.end))
        peak = recipe.learning_rate * cycle.peak
        assert recipe.rate(round(start * recipe.n_steps)) == pytest.approx(peak)
        assert recipe.rate(flat) == pytest.approx(peak)
        assert recipe.rate(end - 1) == pytest.approx(peak / 20, rel=0.01)
        falling = [recipe.rate(step) for step in range(flat, end)]
        assert falling == sorted(falling, reverse=True)


def test_the_phases_share_all_steps():
    assert sum(phase.share for phase in PHASES) == pytest.approx(1)
    assert phase_at(10**6, 10) is PHASES[-1]


def test_a_run_that_goes_on_ends_where_an_uninterrupted_one_does(quick, corpus, tmp_path):
    whole = new_trainer(tmp_path / "whole", corpus)
    whole.run(silent)
    broken = new_trainer(tmp_path / "broken", corpus)

    def interrupt(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(interrupt)
    again = new_trainer(tmp_path / "broken", corpus)
    again.resume()
    assert again.step == 2, "the last checkpoint before the interruption"
    again.run(silent)
    for ours, theirs in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_checkpoints_are_never_overwritten_or_misread(quick, corpus, tmp_path):
    first = new_trainer(tmp_path / "run", corpus)
    first.train_step()
    first.save()
    with pytest.raises(UserError, match="go on with --resume"):
        train(new_trainer(tmp_path / "run", corpus), resume=False, report=silent)
    with pytest.raises(UserError, match="checkpoint of this recipe"):
        new_trainer(tmp_path / "run", corpus, seed=1).resume()
    whole = first.checkpoint.read_bytes()
    first.checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        new_trainer(tmp_path / "run", corpus).resume()
    assert first.checkpoint.exists()


def test_the_written_folder_loads_and_its_card_holds_what_was_measured(
    quick, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluation, "N_ITEMS", 8)
    monkeypatch.setattr(evaluation, "N_TOKENS", 300)
    monkeypatch.setattr(evaluation, "N_RECORDS", 2)
    made = new_trainer(tmp_path / "run", corpus)
    made.train_step()
    folder = write_model(made, silent)
    model = load_model(str(folder))
    tokens = torch.arange(1, 9)[None]
    with torch.no_grad():
        expected = made.model(tokens).logits
        torch.testing.assert_close(model.net(tokens).logits, expected, atol=0.02, rtol=0.02)
    measured = json.loads((folder / "evaluation.json").read_text())["evaluation"]
    text = (folder / "README.md").read_text()
    assert list(measured) == list(evaluation.ABILITIES)
    assert all(f"{figure['estimate']:.3f} (" in text for figure in measured.values())
    assert all(evaluation.command(name) in text for name in measured)
    assert 7 < measured["first_copy_loss"]["estimate"] < 10


def test_a_share_has_wilsons_interval():
    figure = share([True] * 8 + [False] * 2)
    assert (figure["lower"], figure["upper"]) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_the_shipped_card_is_its_evaluation():
    made, again = (
        json.loads((REFERENCE / name).read_text())
        for name in ("evaluation.json", "second_seed.json")
    )
    assert evaluation.card(made, again) == (REFERENCE / "README.md").read_text()
    apart = {"seed"}
    assert {k: v for k, v in made["recipe"].items() if k not in apart} == {
        k: v for k, v in again["recipe"].items() if k not in apart
    }
    assert made["recipe"]["seed"] != again["recipe"]["seed"]
    assert made["corpus"] == again["corpus"]


@pytest.mark.parametrize("run", ["evaluation.json", "second_seed.json"])
def test_both_seeds_show_every_ability(run):
    """The bars that the book's findings stand on, at the worse end of every interval."""
    figures = json.loads((REFERENCE / run).read_text())["evaluation"]
    assert figures["first_copy_loss"]["lower"] > math.log(VOCAB_SIZE)
    assert figures["second_copy_loss"]["upper"] < 1
    for ability in ("indirect_object", "questions", "successor"):
        assert figures[ability]["lower"] >= 0.9, ability
        assert figures[ability]["n"] >= 1000
    assert figures["prose_loss"]["upper"] < figures["bigram_loss"]["lower"]
    previous, induction = figures["previous_token_head"], figures["induction_head"]
    assert previous["lower"] > 0.5
    assert induction["lower"] > 0.5
    assert int(previous["head"][1]) < int(induction["head"][1]), "layers, as in L1H4"


def test_the_corpus_names_its_public_sources(tmp_path):
    (tmp_path / "tale_one.txt").write_text("Once.")
    (tmp_path / "other.txt").write_text("Twice.")
    (tmp_path / "SOURCES.md").write_text("| file | source |\n|---|---|\n| tale_*.txt | A press |\n")
    files = Corpus.read(tmp_path).files
    assert files["tale_one.txt"]["source"] == "A press"
    assert files["other.txt"]["source"] == "not stated"
    assert files["other.txt"]["sha256"] == hashlib.sha256(b"Twice.").hexdigest()


@given(ids=st.lists(st.integers(0, 5), min_size=2, max_size=40), before=st.integers(0, 5))
def test_the_bigram_model_is_a_distribution_that_follows_the_counts(ids, before):
    bigram = Bigram(ids, 6)
    losses = bigram.losses(np.full(6, before), np.arange(6))
    assert np.exp(-losses).sum() == pytest.approx(1)
    follows = [b for a, b in pairwise(ids) if a == before]
    if follows:
        kinds, n = len(set(follows)), len(follows)
        for after in range(6):
            expected = (follows.count(after) + kinds * (ids.count(after) + 1) / (len(ids) + 6)) / (
                n + kinds
            )
            assert np.exp(-losses[after]) == pytest.approx(expected)
