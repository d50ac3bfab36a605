"""Redundancy by construction, which is a share of one pass, and heads that are built to show it."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
import transformers as tf

from analysis.attention import Taps
from analysis.interventions import NOTHING, Head, Intervention, Method, taps
from analysis.models.load import Model
from analysis.studies.redundancy.claims import HALF, RedundancyClaims, RedundancyEvidence
from analysis.studies.redundancy.question import ValueRedundancy
from tests.interventions.intervened import IDS, N_POS, done, loaded, seen
from tests.models.architectures import GQA, SUPPORTED, build
from tests.questions.test_experiments import silent

LAYER, HEAD = 0, 2
METHODS = ("zero_value", "mean_value", "mask_key")


class Answer(dict):
    """Frames by table and one run."""

    runs = ("r",)


@pytest.fixture(scope="module")
def question(worded) -> ValueRedundancy:
    return ValueRedundancy(
        model=str(worded),
        seed=3,
        text="reference",
        bos=True,
        n_sequences=12,
        n_tokens=14,
        head=f"L{LAYER}H{HEAD}",
        method="zero_value",
        max_lag=3,
    )


def shares(model: Model, ids: torch.Tensor, t: int, lag: int) -> torch.Tensor:
    """Of what a layer reads at t - lag, how much comes through the head: one unmodified pass."""
    watched = seen(model, Taps(), ids)
    looked, value = watched.pattern[LAYER][:, :, t, t - lag], watched.v[LAYER][:, :, t - lag]
    weights = model.W_O(LAYER).double()
    brought = torch.einsum("bh,bhd,hdm->bhm", looked.double(), value.double(), weights)
    channel = brought.sum(1)
    rest = channel - brought[:, HEAD]
    return 1 - rest.square().sum(-1) / channel.square().sum(-1)


def indices(model: Model, ids: torch.Tensor, t: int, lag: int) -> torch.Tensor:
    """R by whole passes with the head and the values ablated."""
    head, every = Head(LAYER, HEAD), [Head(LAYER, h) for h in range(4)]
    zeroed = done(Method.ZERO, head, positions=(t,))
    unread = done(Method.ZERO_VALUE, *every, positions=(t - lag,))

    def wrote(*what: Intervention) -> torch.Tensor:
        found: list[torch.Tensor] = []
        hook = model.writer(LAYER).register_forward_hook(lambda _m, _args, out: found.append(out))
        seen(model, taps(what, NOTHING, len(ids)), ids)
        hook.remove()
        return found[0][:, t]

    left = (wrote(zeroed) - wrote(zeroed, unread)).square().sum(-1)
    return 1 - left / (wrote() - wrote(unread)).square().sum(-1)


def test_in_the_attention_output_the_index_is_the_heads_share_of_the_channel(question, monkeypatch):
    """The experiment's own numbers, on every sequence: no evidence, whatever they are."""
    model = loaded(question.model, "worded")
    monkeypatch.setattr(ValueRedundancy, "loaded_model", lambda _: model)
    rows = question.run(silent)["comparisons"].filter(
        pl.col("sequence").is_not_null(), layer=LAYER, condition="A+B(all)", metric="redundancy"
    )
    found = {(i, lag): r for i, lag, r in rows.select("sequence", "lag", "value").iter_rows()}
    assert len(found) > 24
    for (i, lag), index in found.items():
        t = int(question.positions[i])
        ids = torch.from_numpy(question.tokens.ids[i : i + 1, : t + 1]).long()
        assert index == pytest.approx(float(shares(model, ids, t, lag)), abs=1e-12)


@pytest.mark.parametrize(
    ("config", "same"),
    [
        pytest.param(SUPPORTED["gemma2"], True, id="norm behind W_O"),
        pytest.param(tf.BitNetConfig(**GQA), False, id="norm between z and W_O"),
    ],
)
def test_only_a_norm_between_z_and_the_output_projection_makes_it_another_number(
    tmp_path, config, same
):
    build(config).save_pretrained(tmp_path)
    model = loaded(tmp_path, "any")
    apart = (indices(model, IDS, N_POS - 1, 1) - shares(model, IDS, N_POS - 1, 1)).abs().max()
    assert float(apart) < 1e-12 if same else float(apart) > 1e-3


def silenced(question, *silent_heads: Head) -> Model:
    """The model with some heads whose output projection is 0."""
    model = loaded(question.model, "worded")
    for layer, head in silent_heads:
        width = model.card.d_head
        with torch.no_grad():
            model.writer(layer).weight[:, head * width : (head + 1) * width] = 0
    return model


def judged(question, model: Model, monkeypatch) -> tuple[dict, pl.DataFrame]:
    """The claim, and the aggregates of the head with values zeroed."""
    monkeypatch.setattr(ValueRedundancy, "loaded_model", lambda _: model)
    answers = {m: Answer(replace(question, method=m).run(silent)) for m in METHODS}
    others = {"L0H0": Answer(replace(question, head="L0H0").run(silent))}
    evidence = RedundancyEvidence(head=question.head, methods=answers, others=others)
    rows = RedundancyClaims(card=question.card, seed=0, evidence=evidence).run(silent)["claims"]
    every = answers["zero_value"]["comparisons"].filter(pl.col("sequence").is_null())
    (row,) = rows.iter_rows(named=True)
    return row, every.filter(pl.col("layer").is_null(), condition="A+B(all)")


def test_a_head_that_alone_reads_makes_values_redundant_at_every_offset(question, monkeypatch):
    """Nothing is left after A. It is far above the bar, and no more so at offset 1 than at 2."""
    others = [Head(0, h) for h in range(4) if h != HEAD] + [Head(1, h) for h in range(4)]
    row, every = judged(question, silenced(question, *others), monkeypatch)
    assert row["lower"] > 5 * HALF
    assert row["verdict"] != "supported"
    assert row["control"] > HALF
    shown = {m: every.filter(metric=m, lag=1)["value"].item() for m in ("at_floor", "undefined")}
    assert shown == {"at_floor": 1, "undefined": 0}, "A+B is within rounding of A"


def test_a_head_that_writes_nothing_makes_nothing_redundant(question, monkeypatch):
    row, every = judged(question, silenced(question, Head(LAYER, HEAD)), monkeypatch)
    np.testing.assert_allclose(every.filter(metric="log_ratio")["value"].to_numpy(), 0, atol=1e-6)
    assert row["verdict"] == "refuted"


def test_where_nothing_is_read_there_is_no_claim(question, monkeypatch):
    """All that B does is rounding: every sequence is left out, and said to be."""
    model = silenced(question, *(Head(layer, h) for layer in (0, 1) for h in range(4)))
    monkeypatch.setattr(ValueRedundancy, "loaded_model", lambda _: model)
    found = Answer(question.run(silent))
    rows = found["comparisons"].filter(pl.col("layer").is_null(), condition="A+B(all)")
    assert "log_ratio" not in rows["metric"].to_list()
    assert (rows.filter(metric="undefined")["value"] == 1).all()
    evidence = RedundancyEvidence(
        head=question.head, methods={"zero_value": found}, others={"L0H0": found}
    )
    assert RedundancyClaims(card=question.card, seed=0, evidence=evidence).run(silent) == {}
