"""Experiments: every row from data that can be checked, every absence with its reason."""

import json
import shutil
from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
import torch
from transformers import MistralConfig

from analysis import scores
from analysis.attention import Taps
from analysis.models.load import load_model
from analysis.statistics.resampling import bootstrap
from analysis.studies.atlas.induction_scores import InductionScores
from analysis.studies.atlas.s_inhibition_scores import SInhibitionScores
from analysis.studies.atlas.successor_scores import SuccessorScores
from analysis.studies.atlas.text_scores import TextPatterns, TextScores
from analysis.studies.circuit.second_copy import SecondCopy
from analysis.studies.redundancy.query_offsets import QueryOffsets
from tests.models.architectures import GQA, build

N_LAYERS, N_HEADS, N_TOKENS, N_SEQUENCES = 2, 4, 24, 6
TEXT = "Mary and John went to the shop, and Mary gave a red book to John. The lamp was old! "


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def prose_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(TEXT * 20)
    return path


@pytest.fixture(scope="module")
def question(worded, prose_file) -> TextScores:
    return TextScores(
        model=str(worded),
        text=str(prose_file),
        bos=True,
        n_sequences=N_SEQUENCES,
        n_tokens=N_TOKENS,
        n_offsets=N_TOKENS - 1,
        n_pictured=N_TOKENS,
        pictured=("L0H0", "L1H3"),
        seed=3,
    )


@pytest.fixture(scope="module")
def answer(question):
    return question.run(silent)


def patterns(model, ids: np.ndarray) -> torch.Tensor:
    """(sequence, layer, head, query, key) of all rows at once."""
    found: list[torch.Tensor] = []
    with torch.no_grad():
        taps = Taps(watch=lambda _where, pattern: found.append(pattern))
        model.net(torch.from_numpy(ids).long(), use_cache=False, taps=taps)
    return torch.stack(found, dim=1)


def each(frame: pl.DataFrame, **where) -> np.ndarray:
    """Values of single sequences as (sequence, layer, head)."""
    rows = frame.filter(pl.col("sequence").is_not_null(), **where)
    rows = rows.sort("sequence", "layer", "head")
    return rows["value"].to_numpy().reshape(-1, N_LAYERS, N_HEADS)


def every(frame: pl.DataFrame, **where) -> pl.DataFrame:
    """The aggregate rows, by layer and head."""
    return frame.filter(pl.col("sequence").is_null(), **where).sort("layer", "head")


def test_text_scores_are_those_of_the_patterns(question, answer, worded):
    text, bare, random = question.data()
    model = load_model(str(worded))
    for score, function, data, tokens in (
        ("previous_token", scores.previous_token_score, "text", text),
        ("previous_token", scores.previous_token_score, "random", random),
        ("bos", scores.bos_score, "text", text),
        ("bos", scores.bos_score, "random", random),
        ("position_0", scores.bos_score, "text", bare),
    ):
        found = patterns(model, tokens.ids)
        expected = torch.stack([function(found[:, i]) for i in range(N_LAYERS)], dim=1)
        rows = answer["head_scores"].filter(text=tokens.text)
        values = each(rows, score=score, data=data)
        np.testing.assert_allclose(values, expected.numpy(), atol=1e-6)


def test_content_scores_are_those_of_the_patterns(question, answer, worded):
    text = question.data()[0]
    found = patterns(load_model(str(worded)), text.ids)
    ids = torch.from_numpy(text.ids)
    vocabulary = question.vocabulary
    marks = {
        i for i in range(vocabulary.vocab) if vocabulary.display(i).strip(" ") in set(".,;:!?\n")
    }
    marked = torch.from_numpy(np.isin(text.ids, sorted(marks)))
    assert marked.any()
    for layer in range(N_LAYERS):
        duplicate = scores.duplicate_token_score(found[:, layer], ids).numpy()
        values = each(answer["head_scores"], score="duplicate_token", data="text")
        np.testing.assert_allclose(values[:, layer], duplicate, atol=1e-6)
        mass = (found[:, layer, :, 1:] * marked[:, None, None]).sum(-1).mean(-1)
        visible = marked.cumsum(1) / torch.arange(1, N_TOKENS + 1)
        ratio = mass / visible[:, 1:].mean(1)[:, None]
        values = each(answer["head_scores"], score="delimiter", data="text")
        np.testing.assert_allclose(values[:, layer], ratio.numpy(), rtol=1e-5)


def test_every_mean_comes_with_its_interval_count_and_chance(question, answer):
    frame = answer["head_scores"]
    for score, data in frame.select("score", "data").unique().iter_rows():
        values = each(frame, score=score, data=data)
        rows = every(frame, score=score, data=data)
        estimate = bootstrap(values.reshape(len(values), -1), question.seed)
        for column, expected in (("value", "mean"), ("lower",) * 2, ("upper",) * 2, ("n",) * 2):
            np.testing.assert_allclose(rows[column].to_numpy(), getattr(estimate, expected))
        assert (rows["lower"] < rows["value"]).all()
        assert (rows["value"] < rows["upper"]).all()
        single = frame.filter(pl.col("sequence").is_not_null(), score=score, data=data)
        chance = single.group_by("layer", "head").agg(pl.col("chance").mean()).sort("layer", "head")
        np.testing.assert_allclose(rows["chance"].to_numpy(), chance["chance"].to_numpy())
    previous = every(frame, score="previous_token", data="text")["chance"]
    harmonic = np.mean([1 / (i + 1) for i in range(2, N_TOKENS)])
    np.testing.assert_allclose(previous.to_numpy(), harmonic)
    ratio = every(frame, score="delimiter", data="text")["chance"]
    np.testing.assert_allclose(ratio.to_numpy(), 1.0)


def test_chance_is_of_the_same_tokens(question, answer):
    """Chance of attention to duplicates: earlier equal tokens over visible ones, row by row."""
    frame = answer["head_scores"].filter(score="duplicate_token", layer=0, head=0)
    found = frame.filter(pl.col("sequence").is_not_null()).sort("sequence")["chance"].to_list()
    for row, chance in zip(question.data()[0].ids.tolist(), found, strict=True):
        shares = [row[:i].count(token) / (i + 1) for i, token in enumerate(row) if token in row[:i]]
        assert chance == pytest.approx(np.mean(shares))


def test_scores_profile_and_mean_pattern_are_one_measurement(answer):
    """The mean pattern's diagonals are the profile, and its rows the scores."""
    profile = answer["head_profiles"].filter(data="text")
    for layer, head in ((0, 0), (1, 3)):
        where = {"layer": layer, "head": head}
        weights = answer["patterns"].filter(kind="mean", **where)
        mean = np.zeros((N_TOKENS, N_TOKENS))
        mean[weights["query"], weights["key"]] = weights["weight"]
        np.testing.assert_allclose(mean.sum(1), 1, atol=1e-5)
        lags = profile.filter(**where).sort("lag")
        assert lags["lag"].to_list() == list(range(N_TOKENS - 1))
        diagonals = [np.diagonal(mean, -d).mean() for d in range(N_TOKENS - 1)]
        np.testing.assert_allclose(lags["value"].to_numpy(), diagonals, atol=1e-6)
        (previous,) = every(answer["head_scores"], score="previous_token", data="text", **where)[
            "value"
        ]
        whole = (N_TOKENS - 1) * lags["value"][1]
        assert whole == pytest.approx((N_TOKENS - 2) * previous + mean[1, 0], abs=1e-5)
        (bos,) = every(answer["head_scores"], score="bos", data="text", **where)["value"]
        assert bos == pytest.approx(mean[1:, 0].mean(), abs=1e-6)


def test_pictures_asked_for_later_are_those_that_come_with_the_scores(question, answer):
    """And those of another head are another's."""
    shared = {
        field.name: getattr(question, field.name)
        for field in fields(TextPatterns)
        if field.name != "pictured"
    }
    later = TextPatterns(**shared, pictured=("L1H3", "L0H1")).run(silent)
    assert later["prompts"].equals(answer["prompts"])
    order = ("kind", "query", "key")
    here, there = (
        frame.filter(layer=1, head=3).sort(order)
        for frame in (later["patterns"], answer["patterns"])
    )
    assert here.equals(there)
    other = later["patterns"].filter(layer=0, head=1).sort(order)
    assert not other["weight"].equals(here["weight"])


def test_pictures_show_the_prompt_and_the_first_sequence(question, answer, worded):
    prompt = answer["prompts"].sort("position")
    text = question.data()[0]
    assert prompt["token_id"].to_list() == text.ids[0].tolist()
    assert prompt["token"][0] == "<bos>"
    assert "".join(prompt["token"].to_list()[1:]).strip() in TEXT * 20
    example = answer["patterns"].filter(kind="example", layer=1, head=3)
    own = patterns(load_model(str(worded)), text.ids)[0, 1, 3].numpy()
    shown = own[example["query"], example["key"]]
    np.testing.assert_allclose(example["weight"].to_numpy(), shown, atol=1e-6)


def test_every_row_starts_with_one_bos_or_with_none(question):
    text, bare, random = question.data()
    for tokens in (text, random):
        assert tokens.ids.shape == (N_SEQUENCES, N_TOKENS)
        assert ((tokens.ids == 0).sum(1) == 1).all()
        assert (tokens.ids[:, 0] == 0).all()
        assert tokens.bos
    assert np.array_equal(bare.ids, text.ids[:, 1:])
    assert not bare.bos


def test_position_0_is_called_bos_only_where_it_holds_one(question, answer):
    rows = answer["head_scores"]
    held = {tokens.text: tokens.bos for tokens in question.data()}
    for score, holds_bos in (("bos", True), ("position_0", False)):
        assert {held[text] for text in rows.filter(score=score)["text"]} == {holds_bos}
    without = replace(question, bos=False)
    assert len(without.data()) == 2
    assert all((tokens.ids != 0).all() and not tokens.bos for tokens in without.data())
    frames = without.run(silent)
    assert "bos" not in set(frames["head_scores"]["score"])
    assert set(frames["head_scores"].filter(score="position_0")["data"]) == {"text", "random"}
    (reason,) = frames["absences"].filter(score="bos")["reason"]
    assert "ordinary token" in reason


def test_a_model_without_a_tokenizer_is_scored_on_random_tokens_only(saved, question):
    asked = replace(question, model=str(saved("llama")))
    frames = asked.run(silent)
    assert set(frames["head_scores"]["data"]) == {"random"}
    assert set(frames["head_scores"]["score"]) == {"previous_token", "bos"}
    absences = frames["absences"]
    gone = {"previous_token", "bos", "duplicate_token", "delimiter", "text_induction"}
    assert set(absences["score"]) == gone
    assert (absences["data"] == "text").all()
    assert absences["reason"].str.contains("tokenizer").all()


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ({"input_ids": [5, 6, 7] * 60}, {"delimiter"}),
        (
            {"input_ids": list(range(60, 300))},
            {"delimiter", "duplicate_token", "text_induction"},
        ),
    ],
)
def test_what_the_text_cannot_test_is_absent_with_a_reason(line, gone, question, tmp_path):
    marks = {i for i in range(300) if question.vocabulary.display(i).strip(" ") in set(".,;:!?\n")}
    path = tmp_path / "ids.jsonl"
    path.write_text(json.dumps({"input_ids": [i for i in line["input_ids"] if i not in marks]}))
    frames = replace(question, text=str(path), n_sequences=3).run(silent)
    on_text = frames["head_scores"].filter(data="text")
    assert not set(on_text["score"]) & gone
    assert {"bos", "previous_token"} <= set(on_text["score"])
    assert not frames["head_scores"]["value"].is_nan().any()
    assert set(frames["absences"]["score"]) == gone


@pytest.fixture(scope="module")
def short_sighted(worded, tmp_path_factory):
    """A window of 5 in every layer, in which every head looks at all that it sees alike."""
    folder = tmp_path_factory.mktemp("window") / "window"
    told = json.loads((worded / "config.json").read_text())
    sizes = {**GQA, "vocab_size": told["vocab_size"], "eos_token_id": None}
    net = build(MistralConfig(**sizes, sliding_window=5))
    with torch.no_grad():
        for layer in net.model.layers:
            layer.self_attn.q_proj.weight.zero_()
    net.save_pretrained(folder)
    shutil.copy(worded / "tokenizer.json", folder)
    return str(folder)


def test_heads_that_look_at_all_that_they_see_alike_are_at_chance(question, short_sighted):
    """Each score of each experiment; chance of what is causal alone would be another."""
    blocks = {"model": short_sighted, "n_sequences": 4, "block_len": 9, "seed": 0}
    others = {name: getattr(question, name) for name in ("text", "bos", "n_sequences", "n_tokens")}
    found = [
        replace(question, model=short_sighted).run(silent),
        InductionScores(**blocks, max_shift=3).run(silent),
        SecondCopy(**blocks).run(silent),
        SuccessorScores(model=short_sighted, n_sequences=3, n_items=6, seed=0).run(silent),
        SInhibitionScores(model=short_sighted, n_sequences=4, seed=0).run(silent),
        QueryOffsets(model=short_sighted, **others, head="L1H0", max_offset=8, seed=0).run(silent),
    ]
    tables = ("head_scores", "head_profiles")
    rows = [frame[table] for frame in found for table in tables if table in frame]
    for frame in rows:
        known = frame.filter(pl.col("chance").is_not_null())
        np.testing.assert_allclose(known["value"], known["chance"], atol=1e-6)
    texts = rows[0].filter(score="delimiter", data="text")
    assert not texts.is_empty()
    assert (texts["chance"] == 1).all()
    previous = rows[0].filter(pl.col("sequence").is_null(), score="previous_token", data="random")
    expected = np.mean([1 / min(q + 1, 5) for q in range(2, N_TOKENS)])
    np.testing.assert_allclose(previous["chance"], expected, rtol=1e-12)
    far = rows[1].filter(pl.col("lag") >= 5, profile="offset")
    assert not far.is_empty()
    assert (far["chance"] == 0).all()


def test_the_same_question_is_the_same_and_any_change_is_another(question, worded, saved, tmp_path):
    first = json.dumps(question.question(), sort_keys=True)
    assert json.dumps(replace(question).question(), sort_keys=True) == first
    moved = shutil.copytree(worded, tmp_path / "elsewhere")
    renamed = tmp_path / "renamed.txt"
    renamed.write_text(TEXT * 20)
    same = replace(question, model=str(moved), text=str(renamed))
    assert json.dumps(same.question(), sort_keys=True) == first
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("Mary", "Lucy") * 20)
    changed = [
        {"seed": 4},
        {"n_tokens": 23},
        {"n_sequences": 5},
        {"n_offsets": 5},
        {"pictured": ("L0H1",)},
        {"bos": False},
        {"text": str(other)},
        {"text": "reference"},
        {"model": str(saved("llama"))},
    ]
    found = [json.dumps(replace(question, **c).question(), sort_keys=True) for c in changed]
    assert len({first, *found}) == len(changed) + 1


def test_the_subjects_are_the_rows_that_the_answer_points_to(question, answer):
    subjects = question.subjects()
    assert subjects["models"]["model"].to_list() == [question.card.model]
    assert set(answer["head_scores"]["text"]) <= set(subjects["texts"]["text"])
    assert set(answer["head_scores"]["model"]) == {question.card.model}
