"""Sweeps as experiments: rows from the engine, reference rows apart, units that add up."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from analysis.errors import UserError
from analysis.interventions import DRAWING, NOTHING, Head, Intervention, Method, taps
from analysis.models.load import load_model
from analysis.questions.verdicts import head_sets as module
from analysis.studies.kinds import views
from analysis.studies.kinds.ablation_sweep import AblationSweep
from analysis.studies.kinds.estimates import DirectEffects, GradientEstimates
from analysis.studies.kinds.identities import AblationIdentities
from store import Store
from tests.questions.test_experiments import prose_file, silent

__all__ = ["prose_file"]
N_SEQUENCES, N_TOKENS = 4, 16
HEADS = tuple(f"L{layer}H{head}" for layer in range(2) for head in range(4))


@pytest.fixture(scope="module")
def asked(worded, prose_file) -> dict:
    return {
        "model": str(worded),
        "text": str(prose_file),
        "bos": True,
        "n_sequences": N_SEQUENCES,
        "n_tokens": N_TOKENS,
        "seed": 3,
    }


@pytest.fixture(scope="module")
def question(asked) -> AblationSweep:
    return AblationSweep(
        **asked,
        method="zero",
        pooling="pooled",
        positions=None,
        family="single",
        sets=tuple((head,) for head in HEADS),
        first_draw=None,
    )


def test_effects_are_those_of_a_plain_pass(question, worded):
    """KL of one head against torch's, from logits of the bare model and of the tapped one."""
    answer = question.run(silent)
    model = load_model(str(worded))
    ids = torch.from_numpy(question.tokens.ids).long()
    one = Intervention(method=Method.ZERO, heads=(Head(1, 2),), positions=None)
    with torch.no_grad():
        base = torch.distributions.Categorical(logits=model.net(ids, use_cache=False).logits)
        tapped = taps([one], NOTHING, len(ids))
        ablated = model.net(ids, use_cache=False, taps=tapped).logits
    expected = torch.distributions.kl_divergence(
        base, torch.distributions.Categorical(logits=ablated)
    )
    rows = answer["ablation_effects"].filter(condition="zero L1H2").sort("sequence")
    np.testing.assert_allclose(
        rows["kl_base_ablated"].to_numpy(), expected.mean(1).numpy(), atol=1e-5
    )
    mean = answer["ablation_means"].filter(condition="zero L1H2", metric="kl_base_ablated")
    assert mean["value"].item() == pytest.approx(rows["kl_base_ablated"].mean())
    assert mean["lower"].item() <= mean["value"].item() <= mean["upper"].item()


def test_drawn_tokens_estimate_kl_and_say_how_well(question, tmp_path):
    """The key of what draws nothing is as it was; rows of what does tell of it."""
    assert "drawn_tokens" not in question.question()["parameters"]
    drawn = replace(question, drawn_tokens=64)
    assert drawn.question()["parameters"]["drawn_tokens"] == 64
    store = Store.open(tmp_path / "store")
    answer, exact = store.recall(drawn), store.recall(question)
    each = answer["ablation_effects"]
    assert each["top1_changed", "js", "kl_ablated_base"].null_count().row(0) == (each.height,) * 3
    means = answer["ablation_means"]
    metric = pl.col("metric")
    told = means.filter(metric.is_in(list(DRAWING)))
    assert told.filter(pl.col("lower").is_not_null()).is_empty()
    assert set(told["n"]) == {N_SEQUENCES}
    assert "kl_base_ablated_error" not in set(exact["ablation_means"]["metric"])
    shares = told.filter(metric == "exact_share")["value"]
    assert shares.is_between(0, 1).all()
    assert shares.min() < 1, "everything was exact, so nothing was estimated"
    on = ["condition", "scope", "metric"]
    errors = told.filter(metric == "kl_base_ablated_error").drop("metric")
    both = means.join(exact["ablation_means"], on=on, suffix="_exact").join(
        errors, on=on[:2], suffix="_error"
    )
    for name in ("kl_base_ablated", "loss_change"):
        off = both.filter(metric == name).select(
            off=(pl.col("value") - pl.col("value_exact")).abs(), error=4 * pl.col("value_error")
        )
        assert off.height == len(HEADS)
        assert (off["off"] <= off["error"] + 1e-6).all()
    assert both.filter(metric == "kl_base_ablated", value=pl.col("value_exact")).height < len(HEADS)
    said = views.drawn_said({"zero": answer})
    assert f"{errors['value'].median():.1g} nats" in said
    assert f"{shares.mean():.1%} of the positions" in said
    assert views.drawn_said({"zero": exact}) == ""


def test_the_reference_rows_are_not_the_measured_ones(question):
    measured, reference = question.data()
    assert measured.sha256 != reference.sha256
    assert measured.ids.shape == reference.ids.shape == (N_SEQUENCES, N_TOKENS)


def test_units_together_are_the_whole_and_keep_their_draws(question, monkeypatch):
    monkeypatch.setattr(module, "UNIT", 3)
    drawn = replace(question, family="random", first_draw=0)
    units = drawn.units()
    assert [len(unit.sets) for unit in units] == [3, 3, 2]
    names = [condition.name for unit in units for condition in unit.conditions()]
    assert names == [condition.name for condition in drawn.conditions()]
    assert [c.draw for unit in units for c in unit.conditions()] == list(range(len(HEADS)))


def test_an_interrupted_sweep_keeps_its_finished_units(question, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "UNIT", 3)
    real, calls = AblationSweep.run, []

    def fails_at_the_third(self, report):
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, report)

    store = Store.open(tmp_path / "store")
    monkeypatch.setattr(AblationSweep, "run", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        store.recall(question)
    assert len(store.missing(question)) == 1
    answer = store.recall(question)
    assert len(calls) == 4, "only the missing unit ran again"
    whole = real(question, silent)["ablation_means"]
    stored = answer["ablation_means"].select(whole.columns)
    assert_frame_equal(stored, whole, check_dtypes=False, check_row_order=False)


def test_every_method_has_rows_in_the_stores_tables(question, tmp_path):
    store = Store.open(tmp_path / "store")
    for method in Method:
        answer = store.recall(
            replace(question, method=method.value, positions=(0, 3), sets=(("L0H1", "L1H3"),))
        )
        (row,) = answer["ablations"].iter_rows(named=True)
        assert (row["method"], row["heads"], row["size"]) == (method.value, "L0H1,L1H3", 2)
        assert row["positions"] == "0,3"
        scopes = set(answer["ablation_means"]["scope"].to_list())
        assert scopes == {"all", "at", "after"}


def test_ranking_view_names_single_heads(question, tmp_path):
    store = Store.open(tmp_path / "store")
    store.recall(question)
    query = "SELECT heads FROM ablation_ranking WHERE metric = 'loss_change' AND rank = 1"
    assert store.sql(query)["heads"].item() in HEADS


def test_mistakes_are_named(question, asked):
    with pytest.raises(UserError, match="expected heads from L0H0 to L1H3"):
        replace(question, sets=(("L7H0",),)).run(silent)
    with pytest.raises(UserError, match="expected positions from 0 to 15"):
        replace(question, positions=(16,)).run(silent)
    with pytest.raises(UserError, match="half of them are the reference set"):
        replace(question, n_sequences=1).run(silent)


def test_direct_effects_and_estimates_have_a_row_for_every_head(asked):
    direct = DirectEffects(**asked).run(silent)
    estimate = GradientEstimates(**asked, method="zero").run(silent)
    for answer, metric in ((direct, "logit_change"), (estimate, "loss_change")):
        rows = answer["ablation_means"].filter(scope="all", metric=metric)
        heads = answer["ablations"].join(rows, on="condition")["heads"].to_list()
        assert heads == list(HEADS)
    assert set(estimate["ablations"]["family"]) == {"estimate"}, "never taken for a sweep"


def test_uniform_is_query_zeroing_and_neither_is_zero(asked):
    answer = AblationIdentities(**asked).run(silent)
    largest = dict(answer["head_scores"].group_by("score").agg(pl.col("value").max()).iter_rows())
    assert largest["q_zero_from_uniform"] < 1e-6
    assert largest["constant_scores_from_uniform"] < 1e-6
    assert largest["zero_from_uniform"] > 0.1
    model = answer["model_scores"].filter(pl.col("sequence").is_null())
    values = dict(model.select("score", "value").iter_rows())
    assert values["future_attention_uniform"] == 0
    assert values["future_attention_unmasked_scores"] == pytest.approx(
        (N_TOKENS - 1) / 2 / N_TOKENS
    )
    assert values["nan_when_all_scores_are_minus_inf"] == 1
