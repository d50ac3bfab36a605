"""A typed prompt: every method answers what a plain pass does, and mistakes get one line."""

from dataclasses import replace

import polars as pl
import pytest
import torch

from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, Intervention, Method, taps
from analysis.models.load import hidden_states, load_model, unembed
from analysis.questions.asked import Asked
from analysis.studies.predictions import views
from analysis.studies.predictions.prompt_probe import PromptProbe
from store.schema import conformed

HEAD = Head(1, 2)


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def probe(worded) -> PromptProbe:
    return PromptProbe(
        model=str(worded),
        seed=3,
        text="Mary went to the shop and Mary",
        bos=True,
        position=5,
        head=str(HEAD),
        method="zero_value",
        positions=(4,),
        pooling="per position",
        n_reference=4,
        top_k=3,
    )


@pytest.mark.parametrize("method", Method)
def test_every_method_answers_and_fits_the_store(probe, method):
    frames = replace(probe, method=method.value).run(silent)
    for table, frame in frames.items():
        conformed(table, frame.with_columns(run=pl.lit("0123")))
    effects = views.place_effects(frames)
    n_pos = probe.tokens.ids.size
    assert effects["position"].to_list() == list(range(n_pos))
    assert effects["kl_base_ablated"][:4].max() == pytest.approx(0, abs=1e-6)
    assert effects["kl_base_ablated"][4:].max() > 1e-6
    assert effects["loss_change"].is_null().to_list() == [False] * (n_pos - 1) + [True]
    kinds = set(frames["patterns"]["kind"])
    changes_pattern = method in {Method.UNIFORM, Method.MASK_KEY}
    assert kinds == ({"example", "ablated"} if changes_pattern else {"example"})


@pytest.mark.parametrize("method", [Method.ZERO, Method.ZERO_VALUE, Method.UNIFORM])
@pytest.mark.parametrize("positions", [(4,), None])
def test_predictions_are_those_of_a_plain_pass(probe, method, positions):
    frames = replace(probe, method=method.value, positions=positions).run(silent)
    model = load_model(probe.model)
    ids = torch.from_numpy(probe.tokens.ids).long()
    one = Intervention(method=method, heads=(HEAD,), positions=positions)
    with torch.no_grad():
        base, ablated = (
            unembed(model, hidden_states(model, ids, taps(done, NOTHING, 1)))[0]
            for done in ((), (one,))
        )
    rows = frames["predictions"].filter(pl.col("condition") != "target")
    for row in rows.iter_rows(named=True):
        token = row["token_id"]
        assert row["logit"] == pytest.approx(ablated[5, token].item(), abs=1e-4)
        change = (ablated - base)[5, token].item()
        assert row["change"] == pytest.approx(change, abs=1e-4)
    p, q = base.log_softmax(-1), ablated.log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1)
    found = torch.tensor(frames["ablation_effects"]["kl_base_ablated"].to_list())
    torch.testing.assert_close(found, kl.double().to(found.dtype), atol=1e-5, rtol=1e-4)


def test_every_query_of_the_pattern_sums_to_one(probe):
    rows = probe.run(silent)["patterns"]
    sums = rows.group_by("query").agg(pl.col("weight").sum())["weight"]
    assert sums.to_list() == pytest.approx([1] * probe.tokens.ids.size, abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"text": ""}, "at least one token, got ''"),
        ({"text": "the " * 80}, "at most 64 tokens, the context of worded, got"),
        ({"position": 40}, "a position t from 0 to"),
        ({"position": -1}, "a position t from 0 to"),
        ({"positions": (40,)}, "expected positions from 0 to"),
        ({"positions": (-1,)}, "expected positions from 0 to"),
        ({"head": "L7H0"}, "expected heads from L0H0"),
    ],
)
def test_a_mistake_gets_one_line(probe, wrong, message):
    with pytest.raises(UserError, match=message) as error:
        replace(probe, **wrong).run(silent)
    assert "\n" not in str(error.value)


def test_one_token_is_enough(probe):
    with_bos = replace(probe, text="Mary", position=1, positions=(0,))
    assert with_bos.run(silent)["prompts"].height == 2
    alone = replace(probe, text="Mary", bos=False, position=0, positions=None)
    assert alone.run(silent)["patterns"]["weight"].to_list() == pytest.approx([1])
    for method in Method:
        replace(alone, method=method.value).run(silent)
    with pytest.raises(UserError, match=r"positions from 0 to 0, .* got -1"):
        replace(alone, positions=(-1,)).run(silent)


def test_the_question_is_of_the_tokens_not_of_the_text(probe):
    question = probe.question()
    assert "text" not in question["parameters"]
    assert replace(probe, text="<bos>" + probe.text).question() == question
    assert replace(probe, text=probe.text + " the").question() != question
    resampled = replace(probe, method="resample")
    assert len(resampled.question()["tokens"]) == 2
    assert resampled.data()[1].ids.shape == probe.tokens.ids.shape


def test_places_are_positions_before_t():
    assert views.positions_of("t", 3) == (3,)
    assert views.positions_of("t-2", 3) == (1,)
    assert views.positions_of("all before t", 3) == (0, 1, 2)
    assert views.positions_of("all positions", 3) is None
    for place in ("t-1", "all before t"):
        with pytest.raises(UserError, match="expected t of at least 1 for"):
            views.positions_of(place, 0)


def test_a_prompt_that_cannot_be_asked_has_no_words(worded):
    request = Asked(model=str(worded))
    choice = {"head": "L1H2", "method": "zero", "place": "t-1"}
    assert len(views.words_of(request, "Mary and")) == 3
    assert views.probe_of(request, "Mary and", choice, 2).positions == (1,)
    for text in ("", "the " * 80):
        assert views.words_of(request, text) == []
        with pytest.raises(UserError, match="expected a prompt of at"):
            views.probe_of(request, text, choice, 0)
