"""The context on a card is what can be run, and no token more."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.auto.configuration_auto import model_type_to_module_name
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.models.files.sizes import BEHIND_PADDING

from .zoo.build import VOCAB, build, save

DECODER = {"is_decoder": True}
LIMITED = {
    **dict.fromkeys((*BEHIND_PADDING, "bert"), DECODER),
    **{name: {} for name in ("gpt2", "opt", "bart", "mpt", "whisper")},
}
"""Types with a last position, however they say it."""


@pytest.mark.parametrize("name", LIMITED)
def test_the_whole_context_can_be_run_and_no_more(name, tmp_path):
    net = build(name, LIMITED[name])
    n_ctx = read_card(str(save(net, tmp_path))).n_ctx
    tokens = torch.randint(3, VOCAB, (1, n_ctx + 1), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert net(tokens[:, :n_ctx], use_cache=False).logits.shape[1] == n_ctx
        with pytest.raises((IndexError, RuntimeError)):
            net(tokens, use_cache=False)


def test_a_context_that_is_not_said_is_that_of_the_class(tmp_path):
    folder = save(build("gpt2"), tmp_path)
    edited(folder, "n_positions", None)
    assert read_card(str(folder)).n_ctx == transformers.GPT2Config().n_positions


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("llama", "max_position_embeddings", 1), ("roberta", "pad_token_id", 126)],
)
def test_a_context_of_less_than_two_tokens_is_refused(name, key, value, tmp_path):
    folder = save(build(name, LIMITED.get(name, {})), tmp_path)
    edited(folder, key, value)
    with pytest.raises(UserError, match=f"at least 2 positions in .* {key} {value}"):
        read_card(str(folder))


def edited(folder: Path, key: str, value: int | None) -> None:
    """Change a field of a configuration, or leave it out."""
    path = folder / "config.json"
    said = json.loads(path.read_text("utf-8")) | {key: value}
    path.write_text(json.dumps({k: v for k, v in said.items() if v is not None}), "utf-8")


def test_every_type_whose_positions_begin_behind_padding_is_known():
    behind = re.compile(r"nn\.Embedding\(\s*config\.max_position_embeddings,[^()]*padding_idx=")
    models = Path(transformers.__file__).parent / "models"
    sources = {
        name: "".join(
            path.read_text("utf-8")
            for path in (models / model_type_to_module_name(name)).glob("modeling_*.py")
        )
        for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    }
    assert {name for name, text in sources.items() if behind.search(text)} == set(BEHIND_PADDING)
