"""What a check announces is what a run leaves out, on models of different kinds."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import transformers as tf

from analysis.errors import UserError
from analysis.overview.capabilities import ModelCheck, chapter_table
from analysis.overview.findings import findings
from analysis.questions.asked import Asked, Profile
from analysis.questions.verdicts.judgement import Judgement
from analysis.studies import CHAPTERS, STUDIES
from analysis.text.tokens import NO_TOKENIZER
from book.editions import Subject, subject_of
from tests.conftest import ROOT, beside
from tests.models.architectures import GQA, build

from . import listed

GAPS = ("score", "data", "reason")
SUMMED_UP = {"00_claims", "12_methods"}
"""Chapters about one model that show what the others found."""
NEXT = {
    **{"head_dim": 8, "linear_num_value_heads": 4, "linear_num_key_heads": 2},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_hidden_layers": 3},
    **{"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16},
    **{"shared_expert_intermediate_size": 16},
    "layer_types": ["full_attention", "linear_attention", "full_attention"],
}


class Answer(dict[str, pl.DataFrame]):
    """Frames that are a run of their own."""

    @property
    def runs(self) -> tuple[str, ...]:
        return (str(id(self)),)


def silent(*_args) -> None:
    pass


KINDS = {
    "norm": lambda sizes: tf.Gemma2Config(**sizes, head_dim=8, query_pre_attn_scalar=8),
    "clip": lambda sizes: tf.OlmoConfig(**sizes, clip_qkv=0.2),
    "gate in a hybrid": lambda sizes: tf.Qwen3NextConfig(**{**sizes, **NEXT}),
    "one layer": lambda sizes: tf.LlamaConfig(**{**sizes, "num_hidden_layers": 1}),
}
LACKING = {
    "norm": {"path"},
    "clip": {"q_composition", "k_composition", "v_composition"},
    "gate in a hybrid": {
        "q_composition",
        "k_composition",
        "v_composition",
        "carried_over_residual",
    },
    "one layer": set(),
}


@pytest.fixture(scope="module")
def made(worded, tmp_path_factory):
    """The folder of a small model of a kind, with a tokenizer."""
    told = json.loads((worded / "config.json").read_text())
    sizes = {**GQA, "vocab_size": told["vocab_size"], "pad_token_id": 0, "eos_token_id": None}

    def folder(kind: str) -> str:
        path = tmp_path_factory.mktemp("kind") / kind
        build(KINDS[kind](sizes)).save_pretrained(path)
        shutil.copy(worded / "tokenizer.json", path)
        return str(path)

    return folder


def checked(model: str | Path, **options) -> dict[str, pl.DataFrame]:
    return ModelCheck.of(Asked(model=str(model), profile=Profile.TINY, **options)).run(silent)


def announced(chapters: pl.DataFrame) -> set[tuple[str, ...]]:
    rows = chapters.filter(pl.col("score").is_not_null(), ~pl.col("score").is_in(STUDIES))
    return set(rows.select(GAPS).rows())


def left_out(model: str) -> set[tuple[str, ...]]:
    """What a run of everything leaves out."""
    found: list[Answer] = []
    known: dict[object, Answer] = {}

    def recall(question) -> Answer:
        key = id(question) if isinstance(question, Judgement) else question
        if key not in known:
            known[key] = Answer(question.run(silent))
            found.append(known[key])
        return known[key]

    findings(Asked(model=model, profile=Profile.TINY), recall)
    return {row for one in found if "absences" in one for row in one["absences"][GAPS].rows()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_lacks_is_announced(kind, made):
    gaps = announced(checked(made(kind))["model_chapters"])
    assert {score for score, *_ in gaps} == LACKING[kind]


@pytest.mark.parametrize("kind", ["norm", "gate in a hybrid"])
def test_what_is_announced_is_what_a_run_leaves_out(kind, made):
    """All of it, with the same reasons, and nothing else."""
    model = made(kind)
    assert left_out(model) == announced(checked(model)["model_chapters"])


def test_a_chapter_that_nobody_can_ask_says_why(made, saved):
    alone = chapter_table(checked(made("one layer"))["model_chapters"])
    (row,) = alone.filter(chapter="02 induction circuit").rows()
    assert row[1:3] == ("no", None)
    assert "one layer attends" in row[3]
    wordless = chapter_table(checked(saved("llama"))["model_chapters"])
    answers = dict(wordless.select("chapter", "answer").iter_rows())
    assert answers["01 head atlas"] == "in part"
    no_text = wordless.filter(reason=NO_TOKENIZER)
    assert {"03 bos sink", "05 ablation kinds", "10 prediction tables"} <= set(no_text["chapter"])
    assert not wordless["reason"].is_null().all()
    (atlas,) = wordless.filter(chapter="01 head atlas")["reason"].unique()
    assert atlas == NO_TOKENIZER


def test_what_a_run_refuses_is_refused_with_its_reason(worded, tmp_path):
    """A tokenizer gives more ids than the embedding has rows: no text can be read."""
    small = tmp_path / "small"
    build(tf.LlamaConfig(**GQA)).save_pretrained(small)
    shutil.copy(worded / "tokenizer.json", small)
    rows = checked(small)["model_chapters"].filter(pl.col("score").is_null())
    reasons = dict(rows.filter(~pl.col("holds")).select("chapter", "reason").iter_rows())
    beyond = {name: reason for name, reason in reasons.items() if "token ids below" in reason}
    assert beyond.keys() == CHAPTERS.keys() - {"06_components", "07_component_redundancy"}
    silently = {"08_retrieval_heads", "09_lag_profiles"}  # as their rooms say, and no question
    for name in sorted(beyond.keys() - silently):
        asked = Asked(model=str(small), profile=Profile.TINY, chapters=(name[:2],))
        with pytest.raises(UserError) as error:
            findings(asked, lambda question: Answer(question.run(silent)))
        assert str(error.value) == beyond[name]


def test_layers_that_differ_have_a_row_each(made):
    parts = checked(made("gate in a hybrid"))["model_parts"]
    heads = dict(parts.filter(part="heads").select("answer", "layers").iter_rows())
    assert heads == {"4 of width 8": "0, 2", "no attention": "1"}
    (gate,) = parts.filter(
        pl.col("part").str.contains("W_O", literal=True), answer="a gate or a norm"
    )["layers"]
    assert gate is None  # of every layer that attends


def test_the_reference_gets_every_chapter_whole():
    found = checked("reference")
    assert found["model_chapters"]["holds"].all()
    assert found["model_chapters"]["chapter"].to_list() == list(CHAPTERS)


def test_the_tokenizers_bos_is_told_from_the_one_that_is_used(worded, tmp_path):
    from tokenizers import Tokenizer, processors  # noqa: PLC0415

    shutil.copytree(worded, tmp_path / "adds")
    path = tmp_path / "adds" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 0)]
    )
    tokenizer.save(str(path))

    def bos(model: str | Path) -> str:
        parts = checked(model)["model_parts"]
        return parts.filter(part="BOS that sequences start with")["answer"].item()

    assert bos(worded).startswith("id 0 ('<bos>'); the tokenizer does not add it")
    assert bos(tmp_path / "adds") == "id 0 ('<bos>'); the tokenizer adds it too"


def test_another_tokenizer_is_another_question(worded, tmp_path):
    shutil.copytree(worded, tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer.json").unlink()
    with_words, without = (
        ModelCheck.of(Asked(model=str(path))).question() for path in (worded, tmp_path / "bare")
    )
    assert with_words["model"] == without["model"]
    assert with_words != without


def test_a_published_run_is_told_with_its_decomposition(tmp_path):
    run = shutil.copytree(beside("models/published_run"), tmp_path / "run")
    listed.names_tokenizer().save(str(run / "tokenizer.json"))
    found = checked(run)
    (made,) = found["model_parts"].filter(part="decomposition")["answer"]
    assert made != "none"
    whole = found["model_chapters"].filter(pl.col("score").is_null())
    assert whole.filter(chapter="06_components")["holds"].item()


def test_a_model_that_is_refused_is_refused_here_too(tmp_path):
    sizes = {**GQA, "num_hidden_layers": 1}
    build(tf.LlamaConfig(**sizes)).save_pretrained(tmp_path / "cut")
    told = json.loads((tmp_path / "cut" / "config.json").read_text())
    told["num_attention_heads"] = "many"
    (tmp_path / "cut" / "config.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="expected a number"):
        checked(tmp_path / "cut")


def test_the_text_decoder_of_a_model_of_several_parts_is_told(tmp_path):
    text = tf.Gemma3TextConfig(**GQA, head_dim=8)
    vision = {**GQA, "image_size": 16, "patch_size": 8}
    del vision["vocab_size"]
    config = tf.Gemma3Config(text_config=text.to_dict(), vision_config=vision)
    net = tf.Gemma3ForConditionalGeneration(config)
    net.save_pretrained(tmp_path / "parts")
    parts = dict(checked(tmp_path / "parts")["model_parts"].select("part", "answer").iter_rows())
    assert parts["architecture"] == "Gemma3ForConditionalGeneration"
    assert parts["heads"] == "4 of width 8"
    assert parts["between W_O and the residual stream"] == "a norm"


def test_every_chapter_about_one_model_is_checked():
    notebooks = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
    about_one = {path.stem for path in notebooks if subject_of(path) is Subject.MODEL}
    assert about_one - SUMMED_UP == set(CHAPTERS)
    assert {room for rooms in CHAPTERS.values() for room in rooms} == set(STUDIES)


def test_the_lists_of_architectures_are_what_is_found():
    found = listed.kinds()
    stale = "is out of date; write it anew with `python -m tests.overview.listed`"
    assert listed.DOCS.read_text("utf-8") == listed.long_table(found), f"docs/ {stale}"
    readme = listed.README.read_text("utf-8")
    assert listed.written(readme, found) == readme, f"README.md {stale}"
