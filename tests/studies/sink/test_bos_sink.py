"""The sink: controls that match, verdicts that follow, and no sink where there is none."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from analysis.errors import UserError
from analysis.interventions import Head
from analysis.models.card import read_card
from analysis.models.load import load_model
from analysis.questions.judgement import Verdict
from analysis.studies.sink import views as sink_views
from analysis.studies.sink.claims import NO_OP, SinkClaims, weaker
from analysis.studies.sink.conditions import Plan
from analysis.studies.sink.measures import scores_under
from analysis.studies.sink.question import BosSink
from store.schema import conformed

N_LAYERS, N_HEADS = 2, 4
TEXT = "Mary and John went to the shop, and Mary gave a red book to John. The lamp was old! "


class Stored(dict):
    """Frames by table name, as the store answers them."""

    runs = ("0123456789abcdef",)


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def question(worded, tmp_path_factory) -> BosSink:
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(TEXT * 40)
    return BosSink(
        model=str(worded),
        text=str(path),
        bos=True,
        n_sequences=6,
        n_tokens=16,
        moved_to=5,
        n_top=2,
        n_draws=2,
        block_len=12,
        seed=3,
    )


@pytest.fixture(scope="module")
def answer(question):
    return question.run(silent)


def test_controls_match_the_layers_where_that_can_be(question):
    every = tuple(Head(layer, head) for layer in range(2) for head in range(4))
    plan = Plan(top=(every[0], every[5]), every=every, elsewhere=(3,), n_draws=3, seed=0)
    family, others = plan.others()
    assert family == "layer_matched"
    assert len(set(others)) == 3
    for heads in others:
        assert Counter(head.layer for head in heads) == {0: 1, 1: 1}
        assert not set(heads) & set(plan.top)
    crowded = replace(plan, top=every[:3])
    family, others = crowded.others()
    assert family == "random"
    assert all(len(heads) == 3 and not set(heads) & set(crowded.top) for heads in others)
    names = [condition.name for condition in crowded.conditions()]
    assert len(names) == len(set(names))


def test_the_answer_fits_the_store_and_is_of_the_patterns(question, answer):
    for table, frame in answer.items():
        conformed(table, frame.with_columns(run=pl.lit("0123")))
    tokens = question.data()[0]
    base = scores_under(
        load_model(question.model),
        tokens.ids,
        (),
        lambda pattern, _: {"mass": pattern[..., 1:, 0].mean(-1)},
    )
    rows = answer["head_scores"].filter(
        pl.col("sequence").is_not_null(), score="sink_mass", data="bos_first"
    )
    values = rows.sort("sequence", "layer", "head")["value"].to_numpy()
    np.testing.assert_allclose(values, base["mass"].reshape(-1), atol=1e-6)
    order = np.argsort(-base["mass"][::2].mean(0).reshape(-1))[:2]
    top = {f"L{i // N_HEADS}H{i % N_HEADS}" for i in order}
    assert set(answer["ablations"].filter(family="top")["heads"][0].split(",")) == top
    moved = sink_views.moved_rows(answer, "L1H2", "mask_key 0 of all")
    for _, state in moved.group_by("state"):
        assert state["value"].sum() == pytest.approx(1, abs=1e-5)
    hidden = moved.filter(state="position 0 hidden", place="position 0")
    assert hidden["value"].item() == pytest.approx(0, abs=1e-6)


def test_a_random_model_has_no_sink_of_any_kind(question, answer):
    claims = SinkClaims(card=question.card, seed=0, sink=Stored(answer)).run(silent)["claims"]
    conformed("claims", claims.with_columns(run=pl.lit("0123")))
    assert {*NO_OP, "no_op_sink", "sink_is_token", "sink_massive"} < set(claims["claim"])
    assert not claims.filter(verdict="supported").height, claims.filter(verdict="supported")
    assert claims.filter(claim="no_op_sink")["verdict"].item() == "not supported"


def test_without_bos_only_position_0_is_tested(question):
    bare = replace(question, bos=False)
    frames = bare.run(silent)
    assert set(frames["head_scores"]["data"]) == {"word_first", "repeated", "fresh"}
    assert set(frames["absences"]["score"]) == {"attention_to_middle"}
    assert frames["absences"]["reason"].str.contains("without BOS").all()
    claims = SinkClaims(card=bare.card, seed=0, sink=Stored(frames)).run(silent)["claims"]
    assert not {"sink_is_token", "sink_needs_both"} & set(claims["claim"])
    assert not claims["statement"].str.contains("on BOS").any()


def test_without_a_tokenizer_only_random_blocks_are_tested(question, saved):
    asked = replace(question, model=str(saved("llama")))
    frames = asked.run(silent)
    assert set(frames) == {"head_scores", "absences"}
    assert frames["absences"]["reason"].str.contains("tokenizer").all()
    claims = SinkClaims(card=asked.card, seed=0, sink=Stored(frames)).run(silent)["claims"]
    assert set(claims["claim"]) == {"sink_rests"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_tokens": 7}, "at least 8 tokens"),
        ({"moved_to": 15}, "a middle inside"),
        ({"n_top": 5}, "from 1 to 4 top heads"),
    ],
)
def test_what_cannot_be_compared_is_refused(wrong, message, question):
    with pytest.raises(UserError, match=message):
        replace(question, **wrong).run(silent)


def changed(answer, values: dict[str, float], spread: float) -> Stored:
    """The answer with one score of all heads at new means, the odd and even sequences alike."""
    frame = answer["head_scores"]
    noise = pl.col("sequence").fill_null(0) * spread
    for name, mean in values.items():
        score, data = name.split(" on ")
        here = (pl.col("score") == score) & (pl.col("data") == data)
        value = pl.when(here).then(mean + noise).otherwise(pl.col("value"))
        frame = frame.with_columns(value=value)
    return Stored({**answer, "head_scores": frame})


SINKING = {
    "sink_mass on bos_first": 0.9,
    "attention_to_0 on bos_first": 0.9,
    "carried_share on bos_first": 0.01,
    "carried_by_attention on bos_first": 0.5,
    "resting on repeated": 0.6,
    "resting on fresh": 0.0,
}


def verdicts(answer, worded, values: dict[str, float], spread: float) -> dict[str, str]:
    evidence = changed(answer, values, spread)
    claims = SinkClaims(card=read_card(str(worded)), seed=0, sink=evidence).run(silent)["claims"]
    return dict(claims.select("claim", "verdict").iter_rows())


def test_verdicts_follow_what_was_measured(answer, worded):
    token = {
        "attention_to_middle on bos_moved": 0.9,
        "attention_to_0 on bos_moved": 0.1,
        "attention_to_0 on word_first": 0.1,
        "attention_to_middle on word_first": 0.1,
    }
    found = verdicts(answer, worded, {**SINKING, **token}, 1e-4)
    for claim in ("sink_attends", "sink_carries_little", "sink_rests", "sink_is_token"):
        assert found[claim] == "supported"
    assert found["sink_needs_both"] == "not supported"
    both = {**token, "attention_to_middle on bos_moved": 0.1}
    found = verdicts(answer, worded, {**SINKING, **both}, 1e-4)
    assert found["sink_needs_both"] == "supported"
    assert found["sink_is_token"] == "not supported"
    heavy = {**SINKING, "carried_share on bos_first": 0.4}
    assert verdicts(answer, worded, heavy, 1e-4)["sink_carries_little"] == "not supported"
    assert verdicts(answer, worded, heavy, 1e-4)["no_op_sink"] == "not supported"


@pytest.mark.parametrize(
    ("claim", "score", "threshold"),
    [
        ("sink_attends", "sink_mass on bos_first", 0.5),
        ("sink_carries_little", "carried_share on bos_first", 0.1),
        ("sink_rests", "resting on repeated", 0.1),
    ],
)
def test_an_interval_that_includes_the_threshold_is_undecided(
    claim, score, threshold, answer, worded
):
    """The odd sequences are 1, 3 and 5, so that their mean is the threshold."""
    around = {**SINKING, score: threshold - 3 * 0.02}
    assert verdicts(answer, worded, around, 0.02)[claim] == "undecided"


def test_a_claim_about_a_sink_is_no_stronger_than_the_sink(answer, worded):
    weak = {**SINKING, "sink_mass on bos_first": 0.2}
    assert verdicts(answer, worded, weak, 1e-4)["sink_carries_little"] == "not supported"
    open_ = {**SINKING, "sink_mass on bos_first": 0.5 - 3 * 0.001}
    assert verdicts(answer, worded, open_, 0.001)["sink_carries_little"] == "undecided"
    assert weaker(Verdict.SUPPORTED, Verdict.UNDECIDED) is Verdict.UNDECIDED
    assert weaker(Verdict.NOT_SUPPORTED, Verdict.UNDECIDED) is Verdict.NOT_SUPPORTED


def test_no_op_is_supported_only_if_every_part_is(worded):
    claims = SinkClaims(card=read_card(str(worded)), seed=0, sink=Stored())
    held, open_, lost = Verdict.SUPPORTED, Verdict.UNDECIDED, Verdict.NOT_SUPPORTED
    for parts, expected in (
        ([held] * 4, "supported"),
        ([held, held, open_, held], "undecided"),
        ([held, held, open_, lost], "not supported"),
    ):
        assert claims._no_op(parts)["verdict"] == expected


def test_the_question_is_everything_that_the_answer_depends_on(question):
    first = json.dumps(question.question(), sort_keys=True)
    assert json.dumps(replace(question).question(), sort_keys=True) == first
    wrong = [
        {"seed": 4},
        {"n_tokens": 17},
        {"n_sequences": 5},
        {"moved_to": 6},
        {"n_top": 1},
        {"n_draws": 3},
        {"block_len": 11},
        {"bos": False},
    ]
    found = [json.dumps(replace(question, **w).question(), sort_keys=True) for w in wrong]
    assert len({first, *found}) == len(wrong) + 1
