"""What zeroing a head does to an answer is what a whole pass without it says."""

import numpy as np
import torch

from analysis.attention import Site, Taps
from analysis.models.load import last_logits
from analysis.studies.atlas.s_inhibition_scores import SInhibitionScores


def test_effects_are_those_of_whole_passes(worded):
    asked = SInhibitionScores(model=str(worded), seed=0, n_sequences=5)
    model, prompts = asked.loaded_model(), asked._prompts
    told: list[tuple[int, int]] = []
    base, effects = asked._effects(model, prompts, lambda *args: told.append(args[:2]))
    ids, row = torch.from_numpy(prompts.tokens.ids).long(), np.arange(5)

    def difference(at: tuple[int, int] | None) -> np.ndarray:
        def zero(where, z):
            z = z.clone()
            if at is not None and where.layer == at[0]:
                z[:, at[1]] = 0
            return z

        with torch.inference_mode():
            lengths, taps = prompts.positions["end"] + 1, Taps(edits={Site.Z: zero})
            logits = last_logits(model, ids, lengths, taps).double().numpy()
        return logits[row, prompts.io] - logits[row, prompts.s]

    np.testing.assert_allclose(base, difference(None), atol=1e-5)
    for layer in range(asked.card.n_layers):
        for head in range(asked.card.n_heads):
            expected = difference((layer, head)) - base
            np.testing.assert_allclose(effects[:, layer, head], expected, atol=1e-5)
    assert np.abs(effects).max() > 1e-3
    assert told[-1][0] == told[-1][1]
