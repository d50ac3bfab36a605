"""Blocks in bfloat16: nearly the same numbers, under keys of their own, for every architecture."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import spearmanr

from analysis.attention import Taps
from analysis.errors import UserError
from analysis.interventions import Pooling
from analysis.models.load import hidden_states, load_model, unembed
from analysis.overview.findings import findings
from analysis.precision import Precision, native_bfloat16
from analysis.questions.asked import Asked
from analysis.studies.component_redundancy.study import ComponentRedundancyStudy
from analysis.studies.kinds.ablation_sweep import AblationSweep
from book.computing import refuse_slow
from store import Store, run_key

from .architectures import SUPPORTED, VOCAB

IDS = torch.from_numpy(np.random.default_rng(0).integers(2, VOCAB, (3, 11)))


@pytest.mark.parametrize("name", SUPPORTED)
def test_blocks_are_narrow_and_logits_wide(saved, name):
    wide, narrow = (load_model(str(saved(name)), "cpu", precision) for precision in Precision)
    ends = {*narrow.final_norm.parameters(), *narrow.unembedding.parameters()}
    assert {weight.dtype for weight in ends} == {torch.float32}
    blocks = [weight for weight in narrow.net.parameters() if weight not in ends]
    assert {weight.dtype for weight in blocks} == {torch.bfloat16}
    assert {buffer.dtype for buffer in narrow.net.buffers() if buffer.is_floating_point()} <= {
        torch.float32
    }
    with torch.no_grad():
        exact, near = (unembed(m, hidden_states(m, IDS, Taps())) for m in (wide, narrow))
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() < 0.1 * exact.abs().max()
    assert narrow.W_O(0).dtype == narrow.b_O(0).dtype == torch.float32


def sweep(folder, text, dtype: str) -> AblationSweep:
    return AblationSweep(
        model=str(folder),
        text=str(text),
        bos=True,
        n_sequences=16,
        n_tokens=32,
        seed=0,
        dtype=dtype,
        method="mean",
        pooling=Pooling.POOLED.value,
        positions=None,
        family="single",
        sets=tuple((f"L{layer}H{head}",) for layer in range(2) for head in range(4)),
        first_draw=None,
    )


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 200)
    return path


def test_a_preview_ranks_heads_as_float32_does_and_is_stored_apart(worded, text, tmp_path):
    store, asked = Store.open(tmp_path / "store"), [sweep(worded, text, p.value) for p in Precision]
    assert len({run_key(one) for one in asked}) == 2
    kl = []
    for one in asked:
        rows = store.recall(one)["ablation_effects"]
        by_condition = rows.filter(scope="all").group_by("condition", maintain_order=True)
        kl.append(by_condition.agg(pl.col("kl_base_ablated").mean())["kl_base_ablated"].to_numpy())
    assert not np.array_equal(*kl)
    assert spearmanr(*kl).statistic > 0.9
    np.testing.assert_allclose(kl[1], kl[0], rtol=0.25)


def test_everything_but_components_can_be_asked_in_bfloat16(worded, text, tmp_path):
    request = Asked(model=str(worded), text=str(text), n_tokens=12, n_sequences=4, dtype="bfloat16")
    claims = findings(request, Store.open(tmp_path / "store").recall)
    assert claims.height > 10
    assert ComponentRedundancyStudy.of(Asked(model="reference")) is not None
    assert ComponentRedundancyStudy.of(Asked(model="reference", dtype="bfloat16")) is None


KNOWN = [({"avx2": True}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": False}, False)]


@pytest.mark.parametrize(("known", "native"), [*KNOWN, ({}, True)])
def test_bfloat16_is_refused_where_the_processor_lacks_it(known, native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert native_bfloat16() == native
    for device, dtype in [("cpu", "float32"), ("cuda", "bfloat16")]:
        refuse_slow(device, dtype)
    if native:
        refuse_slow("cpu", "bfloat16")
        return
    with pytest.raises(UserError, match=r"5 to 9 times slower with it; choose --dtype float32, or"):
        refuse_slow("cpu", "bfloat16")
