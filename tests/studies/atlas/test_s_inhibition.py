"""What zeroing a head does to an answer is what a whole pass without it says."""

import shutil

import numpy as np
import polars as pl
import pytest
import torch
import transformers as tf

from analysis.attention import Site, Taps
from analysis.models.load import last_logits
from analysis.progress import silent
from analysis.studies.atlas.s_inhibition_scores import SInhibitionScores
from tests.models.architectures import GQA, build

N_GIFTS = 12


@pytest.fixture
def longrope(worded, tmp_path):
    """A Llama whose rotary factors change beyond the length of its shortest prompt."""
    asked = SInhibitionScores(model=str(worded), seed=0, n_sequences=N_GIFTS)
    switch = int(asked._prompts.positions["end"].min()) + 1
    rope = {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": [4.0, 8.0, 12.0, 16.0],
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": switch,
    }
    vocab = {"vocab_size": tf.AutoConfig.from_pretrained(worded).vocab_size}
    folder = tmp_path / "longrope"
    build(tf.LlamaConfig(**GQA | vocab, rope_parameters=rope)).save_pretrained(folder)
    shutil.copy(worded / "tokenizer.json", folder)
    return folder


def test_every_prompt_is_read_as_if_alone(longrope):
    asked = SInhibitionScores(model=str(longrope), seed=0, n_sequences=N_GIFTS)
    prompts, found = asked._prompts, asked.run(silent)
    ends = prompts.positions["end"].tolist()
    net = tf.AutoModelForCausalLM.from_pretrained(longrope, attn_implementation="eager").eval()

    def alone(row: int, n_pos: int) -> tuple[float, torch.Tensor]:
        ids, end = torch.from_numpy(prompts.tokens.ids[[row], :n_pos]).long(), ends[row]
        with torch.no_grad():
            said = net(ids, output_attentions=True)
        gap = said.logits[0, end, prompts.io[row]] - said.logits[0, end, prompts.s[row]]
        s2 = int(prompts.positions["s2"][row])
        return float(gap), torch.stack([layer[0, :, end, s2] for layer in said.attentions])

    values = _by_sequence(found["model_scores"], "io_s_logit_difference")
    looked = _by_sequence(found["head_scores"], "s_inhibition").reshape(N_GIFTS, 2, -1)
    expected = [alone(row, end + 1) for row, end in enumerate(ends)]
    np.testing.assert_allclose(values, [gap for gap, _ in expected], atol=1e-5)
    np.testing.assert_allclose(looked, torch.stack([each for _, each in expected]), atol=1e-5)
    filled = [alone(row, max(ends) + 1)[0] for row in range(N_GIFTS)]
    assert np.abs(values - filled).max() > 1e-3, "the switch does nothing"


def _by_sequence(rows: pl.DataFrame, score: str) -> np.ndarray:
    order = [name for name in ("sequence", "layer", "head") if name in rows.columns]
    single = rows.filter(pl.col("sequence").is_not_null(), score=score)
    return single.sort(order)["value"].to_numpy()


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
