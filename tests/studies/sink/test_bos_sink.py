"""The sink: controls that match, verdicts that follow, and no sink where there is none."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
import transformers as tf

from analysis.errors import UserError
from analysis.interventions import Head
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.plots.intervals import claim_intervals
from analysis.studies.sink import views as sink_views
from analysis.studies.sink.claims import PART_SMALL, SILENT, SINK, VALUE_SMALL
from analysis.studies.sink.conditions import Plan
from analysis.studies.sink.passes import scores_under
from analysis.studies.sink.question import ONE_HEAD, BosSink
from analysis.studies.sink.verdicts import (
    NO_OP,
    OF_A_COPIER,
    OF_A_SINK,
    SinkClaims,
)
from analysis.tables import judged_claims
from store.schema import conformed
from tests.models.architectures import GQA, build

N_LAYERS, N_HEADS = 2, 4
ALONE = {"text": "a text", "no_second": "none was asked for", "second": {}}
"""A judgement of one text."""
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
        n_sequences=12,
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
    names = [c.name for c in (*crowded.conditions(), *crowded.other_values())]
    assert len(names) == len(set(names))
    assert replace(plan, top=every[:1], every=every[:1]).others() == ("random", [])


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
    claims = SinkClaims(card=question.card, seed=0, **ALONE, sink=Stored(answer)).run(silent)[
        "claims"
    ]
    conformed("claims", claims.with_columns(run=pl.lit("0123")))
    assert {*NO_OP, "no_op_sink", "sink_is_token", "sink_massive"} < set(claims["claim"])
    assert not claims.filter(verdict="supported").height, claims.filter(verdict="supported")
    about = dict(claims.select("claim", "verdict").iter_rows())
    assert about["no_op_sink"] == about["sink_attends"] == "refuted"
    assert {about[claim] for claim in (*OF_A_SINK, *OF_A_COPIER)} == {"not testable"}


def test_without_bos_only_position_0_is_tested(question):
    bare = replace(question, bos=False)
    frames = bare.run(silent)
    assert set(frames["head_scores"]["data"]) == {"word_first", "repeated", "fresh"}
    assert set(frames["absences"]["score"]) == {"attention_to_middle"}
    assert frames["absences"]["reason"].str.contains("without BOS").all()
    claims = SinkClaims(card=bare.card, seed=0, **ALONE, sink=Stored(frames)).run(silent)["claims"]
    assert not {"sink_is_token", "sink_needs_both"} & set(claims["claim"])
    assert not claims["statement"].str.contains("on BOS").any()


def test_without_a_tokenizer_only_random_blocks_are_tested(question, saved):
    asked = replace(question, model=str(saved("llama")))
    frames = asked.run(silent)
    assert set(frames) == {"head_scores", "absences"}
    assert frames["absences"]["reason"].str.contains("tokenizer").all()
    claims = SinkClaims(card=asked.card, seed=0, **ALONE, sink=Stored(frames)).run(silent)["claims"]
    assert set(claims["claim"]) == set(OF_A_COPIER)


@pytest.fixture(scope="module")
def made(worded, tmp_path_factory):
    """The folder of a small Llama of other sizes, with the words' tokenizer."""
    told = json.loads((worded / "config.json").read_text())

    def folder(change: Callable[[torch.nn.Module], None], **sizes: int) -> str:
        path = tmp_path_factory.mktemp("sink") / "llama"
        about = {**GQA, "vocab_size": told["vocab_size"], "pad_token_id": 0, "eos_token_id": None}
        model = build(tf.LlamaConfig(**{**about, **sizes}))
        change(model)
        model.save_pretrained(path)
        shutil.copy(worded / "tokenizer.json", path)
        return str(path)

    return folder


def test_one_layer_with_one_head_is_told_of_and_has_nothing_to_compare_with(question, made):
    path = made(
        lambda _model: None,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    asked = replace(question, model=path, n_top=1)
    frames = asked.run(silent)
    for table, frame in frames.items():
        conformed(table, frame.with_columns(run=pl.lit("0123")))
    assert frames["absences"]["reason"].to_list() == [ONE_HEAD]
    claims = SinkClaims(card=asked.card, seed=0, **ALONE, sink=Stored(frames)).run(silent)["claims"]
    assert "sink_value_unused" in set(claims["claim"])
    assert "sink_attention_needed" not in set(claims["claim"])
    assert sink_views.position_rows(frames)["positions"].unique().to_list() == ["1-15"]


def test_a_head_without_values_is_told_of_and_has_no_claim(question, made):
    def silence(model: torch.nn.Module) -> None:
        model.get_submodule("model.layers.0").self_attn.v_proj.weight.data[:8] = 0

    asked = replace(question, model=made(silence, num_key_value_heads=4))
    frames = asked.run(silent)
    for table, frame in frames.items():
        conformed(table, frame.with_columns(run=pl.lit("0123")))
    assert frames["absences"]["score"].to_list() == ["value_norm_ratio"]
    assert frames["absences"]["reason"].str.contains("^values of L0H0 are 0").all()
    here = (pl.col("score") == "sink_mass") & (pl.col("layer") == 0) & (pl.col("head") == 0)
    masses = pl.when(here).then(1.0).otherwise("value")
    sinking = frames["head_scores"].with_columns(value=masses)
    evidence = Stored({**frames, "head_scores": sinking})
    claims = SinkClaims(card=asked.card, seed=0, **ALONE, sink=evidence).run(silent)["claims"]
    assert claims.filter(claim="sink_attends")["statement"].str.contains(": L0H0").all()
    assert not {"sink_value_small", "no_op_sink"} & set(claims["claim"])


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


def built(answer, scores: dict[str, float], effects: dict[str, float], spread: float) -> Stored:
    """The answer with scores of all heads, and effects of families, at new means."""
    noise = pl.col("sequence").fill_null(0) * spread
    frame, changes = answer["head_scores"], answer["ablation_effects"]
    for name, mean in scores.items():
        score, data = name.split(" on ")
        here = (pl.col("score") == score) & (pl.col("data") == data)
        frame = frame.with_columns(value=pl.when(here).then(mean + noise).otherwise("value"))
    for name, mean in effects.items():
        method, families = name.split(" of ")
        chosen = answer["ablations"].filter(
            pl.col("method").str.starts_with(method), pl.col("family").is_in(families.split("/"))
        )
        assert chosen.height, name
        here = pl.col("condition").is_in(chosen["condition"].to_list())
        kl = pl.when(here).then(mean + noise).otherwise("kl_base_ablated")
        changes = changes.with_columns(kl_base_ablated=kl)
    return Stored({**answer, "head_scores": frame, "ablation_effects": changes})


PERFECT = {
    "sink_mass on bos_first": 0.99,
    "attention_to_0 on bos_first": 0.99,
    "value_norm_ratio on bos_first": 0.0,
    "value_norm_ratio_elsewhere on bos_first": 1.0,
    "carried_over_residual on bos_first": 0.0,
    "carried_over_residual_elsewhere on bos_first": 0.3,
    "induction on repeated": 0.9,
    "resting on repeated": 0.9,
    "resting on fresh": 0.1,
    "resting_output on repeated": 0.0,
    "resting_output on fresh": 1.0,
}
"""All attention of a head at rest on a value of 0, and so no output."""
OF_WHAT_IT_CARRIES = OF_A_SINK[3:]
"""The claims about a sink that hold of a token and of a position alike."""
UNUSED = {
    "zero_value of top": 0.0,
    "other_value of top_other_value": 0.1,
    "mask_key of top": 0.3,
    "mask_key of layer_matched/random": 0.02,
}
"""What that does to predictions, in nats."""
TOKEN = {
    "attention_to_middle on bos_moved": 0.9,
    "attention_to_0 on bos_moved": 0.05,
    "attention_to_0 on word_first": 0.05,
    "attention_to_middle on word_first": 0.05,
}
POSITION = {
    "attention_to_middle on bos_moved": 0.0,
    "attention_to_0 on bos_moved": 0.98,
    "attention_to_0 on word_first": 0.98,
    "attention_to_middle on word_first": 0.0,
    "sink_mass on word_first": 0.98,
}
BOTH = {**TOKEN, "attention_to_middle on bos_moved": 0.05, "sink_mass on word_first": 0.05}


def judged(
    answer, worded, scores: dict[str, float], effects: dict[str, float] = UNUSED, spread=1e-4
) -> dict[str, str]:
    evidence = built(answer, scores, effects, spread)
    claims = SinkClaims(card=read_card(str(worded)), seed=0, **ALONE, sink=evidence).run(silent)[
        "claims"
    ]
    return dict(claims.select("claim", "verdict").iter_rows())


def test_a_perfect_sink_passes_every_claim_that_is_made_of_one(answer, worded):
    found = judged(answer, worded, {**PERFECT, **BOTH})
    asked = {*NO_OP, *OF_WHAT_IT_CARRIES, *OF_A_COPIER, "no_op_sink"}
    assert {found[claim] for claim in asked} == {"supported"}


HEAVY = {
    "value_norm_ratio on bos_first": 1.0,
    "carried_over_residual on bos_first": 0.3,
    "resting_output on repeated": 1.0,
}
"""A sink whose value matters."""
SMALL_ANYWHERE = {
    "value_norm_ratio_elsewhere on bos_first": 0.0,
    "carried_over_residual_elsewhere on bos_first": 0.0,
    "resting_output on fresh": 0.0,
}
"""Below every bar, but so is the same attention on another value: that says nothing of the sink."""


@pytest.mark.parametrize(
    ("sizes", "effect", "verdict"),
    [
        (HEAVY, {"zero_value of top": 0.1}, "refuted"),
        (SMALL_ANYWHERE, {"other_value of top_other_value": 0.0}, "not shown"),
    ],
    ids=["heavy", "small anywhere"],
)
def test_what_a_sink_carries_must_be_small_and_smaller_than_elsewhere(
    sizes, effect, verdict, answer, worded
):
    found = judged(answer, worded, {**PERFECT, **sizes}, {**UNUSED, **effect})
    lost = ("sink_value_small", "sink_writes_little", "sink_value_unused", "sink_rests_silently")
    assert {found[claim] for claim in (*lost, "no_op_sink")} == {verdict}
    assert found["sink_attends"] == found["sink_rests"] == "supported"


def test_rest_is_beyond_what_the_place_alone_changes(answer, worded):
    by_place = {**PERFECT, "resting on fresh": 0.9}
    assert judged(answer, worded, by_place)["sink_rests"] == "refuted"


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        (TOKEN, {"sink_is_token": "supported", "sink_is_position": "refuted"}),
        (
            POSITION,
            {
                "sink_is_position": "supported",
                "sink_is_token": "refuted",
                "sink_without_bos": "supported",
            },
        ),
        (BOTH, {"sink_needs_both": "supported", "sink_without_bos": "refuted"}),
    ],
    ids=["token", "position", "both"],
)
def test_token_position_and_both_are_told_apart(design, expected, answer, worded):
    found = judged(answer, worded, {**PERFECT, **design})
    claims = ("sink_is_token", "sink_is_position", "sink_needs_both")
    assert {claim: found[claim] for claim in expected} == expected
    assert sum(found[claim] == "supported" for claim in claims) == 1


@pytest.mark.parametrize(
    ("claim", "score", "threshold"),
    [
        ("sink_attends", "sink_mass on bos_first", SINK),
        ("sink_value_small", "value_norm_ratio on bos_first", VALUE_SMALL),
        ("sink_writes_little", "carried_over_residual on bos_first", PART_SMALL),
        ("sink_rests_silently", "resting_output on repeated", SILENT),
    ],
)
def test_an_interval_that_includes_the_threshold_is_undecided(
    claim, score, threshold, answer, worded
):
    """The odd sequences are 1, 3, ..., 11, so that their mean is the threshold."""
    noise = 0.005
    scores = {**PERFECT, "sink_mass on bos_first": 0.9, score: threshold - 6 * noise}
    assert judged(answer, worded, scores, spread=noise)[claim] == "undecided"


def test_few_sequences_test_nothing(answer, worded):
    """Five differences have no p below .025, however large they are."""
    few = dict(answer)
    for table in ("head_scores", "ablation_effects"):
        few[table] = few[table].filter(pl.col("sequence").is_null() | (pl.col("sequence") < 10))
    found = judged(few, worded, PERFECT)
    assert {found[claim] for claim in (*NO_OP, "no_op_sink")} == {"not testable"}


def test_a_claim_about_a_sink_is_no_stronger_than_the_sink(answer, worded):
    weak = judged(answer, worded, {**PERFECT, "sink_mass on bos_first": 0.2})
    assert {weak[claim] for claim in OF_A_SINK} == {"not testable"}
    assert weak["no_op_sink"] == "refuted"
    open_ = judged(answer, worded, {**PERFECT, "sink_mass on bos_first": 0.5 - 6e-4})
    assert {open_[claim] for claim in OF_WHAT_IT_CARRIES} == {"undecided"}


def test_what_does_not_copy_cannot_rest_from_it(answer, worded):
    found = judged(answer, worded, {**PERFECT, "induction on repeated": 0.1})
    assert {found[claim] for claim in OF_A_COPIER} == {"not testable"}
    assert found["no_op_sink"] == "not testable"
    evidence = built(answer, {**PERFECT, "induction on repeated": 0.1}, UNUSED, 1e-4)
    rows = SinkClaims(card=read_card(str(worded)), seed=0, **ALONE, sink=evidence).run(silent)[
        "claims"
    ]
    said = rows.filter(pl.col("claim").is_in(OF_A_COPIER))["statement"]
    assert said.str.contains(r"\(there are none: L\dH\d has the largest, 0.10\)").all()


def test_rest_is_that_of_all_heads_that_copy_and_of_no_other(answer, worded):
    """Two heads copy: one rests by .9 beyond its place, one not; the third and fourth copy little,
    rest, and are not asked."""
    layer, copying = pl.col("layer") == 1, pl.col("head") < 2
    is_score = pl.col("score") == "induction"
    rests = (pl.col("score") == "resting") & (pl.col("data") == "repeated")
    frame = built(answer, PERFECT, UNUSED, 1e-4)["head_scores"].with_columns(
        value=pl.when(is_score & ~(layer & copying))
        .then(0.1)
        .when(rests & layer & (pl.col("head") == 1))
        .then(0.1 + pl.col("sequence").fill_null(0) * 1e-4)
        .otherwise("value")
    )
    asked = SinkClaims(
        card=read_card(str(worded)), seed=0, **ALONE, sink=Stored({**answer, "head_scores": frame})
    )
    row = asked.run(silent)["claims"].row(by_predicate=pl.col("claim") == "sink_rests", named=True)
    assert row["estimate"] == pytest.approx(0.4, abs=1e-6)
    assert "(L1H0, L1H1) rest" in row["statement"] or "(L1H1, L1H0) rest" in row["statement"]


def test_a_conjunction_shows_its_parts_and_no_number(answer, worded):
    evidence = built(answer, {**PERFECT, "resting on fresh": 0.9}, UNUSED, 1e-4)
    judge = SinkClaims(card=read_card(str(worded)), seed=0, **ALONE, sink=evidence)
    rows = judge.run(silent)["claims"]
    row = rows.row(by_predicate=pl.col("claim") == "no_op_sink", named=True)
    numbers = ("estimate", "lower", "upper", "control", "threshold", "p", "n_null")
    assert [row[name] for name in numbers] == [None] * len(numbers)
    assert "sink_rests refuted, sink_rests_silently supported" in row["statement"]
    chart = claim_intervals(rows, "t", "d").to_dict()["vconcat"]
    assert len(chart) == rows.height
    assert chart[-1]["layer"][0]["encoding"]["text"]["field"] == "verdict"
    assert judged_claims(rows.with_columns(run=pl.lit("x")))["95 %"].null_count() == 1


def test_views_tell_the_same_scope_of_every_removal(answer):
    for methods in (("zero_value", "other_value"), ("mask_key",)):
        rows = sink_views.removal_rows(answer, methods, "kl_base_ablated")
        after = answer["ablation_means"].filter(scope="after", metric="kl_base_ablated")
        assert set(rows["value"]) <= set(after["value"])
        assert rows["group"].null_count() == 0
    parts = sink_views.position_rows(answer)
    assert parts.group_by("what").agg(pl.col("share").sum())["share"].to_list() == (
        pytest.approx([1, 1, 1])
    )
    copiers = sink_views.copier_rows(answer["head_scores"])
    assert copiers["induction"].is_sorted(descending=True)
    assert sink_views.massive_rows(answer)["layer"].to_list() == [0, 1]
    carried = sink_views.carried_rows(answer["head_scores"])
    assert carried.null_count().sum_horizontal().item() == 0


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
