"""Identities of single layers are those of whole passes, with a fraction of the work."""

import numpy as np
import pytest
import torch

from analysis.attention import Site, Taps
from analysis.interventions.passes import staircase
from analysis.models.load import hidden_states
from analysis.studies.kinds import identities
from analysis.studies.kinds.identities import VARIANTS, AblationIdentities


@pytest.fixture
def asked(worded, tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 40)
    return AblationIdentities(
        model=str(worded), text=str(path), bos=True, n_sequences=3, n_tokens=12, seed=0
    )


def silent(*_args) -> None:
    pass


def slowly(asked, layer: int, variant: str) -> torch.Tensor:
    """z of a layer under a variant, from one whole pass."""
    found: list[torch.Tensor] = []
    edits = dict(asked._edits(layer, variant, len(asked.tokens.ids)))
    change = edits.get(Site.Z, lambda _where, z: z)

    def keep(where, z):
        changed = change(where, z)
        if where.layer == layer:
            found.append(changed)
        return changed

    with torch.inference_mode():
        taps = Taps(edits={**edits, Site.Z: keep}, watch=silent)
        hidden_states(asked.loaded_model(), torch.from_numpy(asked.tokens.ids).long(), taps)
    return found[0]


@pytest.mark.parametrize("walked", [True, False])
def test_every_difference_is_that_of_whole_passes(asked, walked, monkeypatch):
    monkeypatch.setattr(identities, "walks", lambda _model: walked)
    rows = asked.run(silent)["head_scores"].drop_nulls("sequence")
    for layer in range(asked.card.n_layers):
        uniform = slowly(asked, layer, "uniform")
        for variant in set(VARIANTS) - {"uniform"}:
            expected = (slowly(asked, layer, variant) - uniform).abs().amax((2, 3))
            found = rows.filter(score=f"{variant}_from_uniform", layer=layer)
            values = found.sort("sequence", "head")["value"].to_numpy()
            np.testing.assert_allclose(values, expected.flatten(), atol=1e-6)
            assert (values.max() > 1e-3) == (variant in {"zero", "unmasked_scores"})


def test_a_layer_runs_once_for_each_variant(asked):
    model = asked.loaded_model()
    assert staircase.walks(model)
    calls: list[int] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _m, args: calls.append(len(args[0])))
        for layer in model.layers
    ]
    try:
        asked.run(silent)
    finally:
        for hook in hooks:
            hook.remove()
    n_layers = asked.card.n_layers
    assert len(calls) == n_layers * (2 + len(VARIANTS))
