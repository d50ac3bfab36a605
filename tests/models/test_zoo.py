"""A kind of model for every mechanism: what is computed of it is right, or absent with a reason."""

from dataclasses import replace

import pytest
import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from analysis.attention import attention
from analysis.errors import UserError
from analysis.models.anatomy import anatomy
from analysis.models.holds import measured, probe
from analysis.models.load import load_model
from analysis.models.network import switch

from .zoo import beside_passes, beside_stock
from .zoo.beside_stock import BAR, Pair, logits_of, off, tokens
from .zoo.build import build, save
from .zoo.kinds import every_kind
from .zoo.sweep import CHECKS, Row, looked_at

EVERY = every_kind()
ALL: set[str] = set()
STREAM = {"paths"}
"""Absent where attention is normed or scaled before it is added, or where layers are given more."""
GATED = {"composed"}
"""Absent where what heads write is not linear in values."""
LATENT = {"weights", "composed"}
"""Absent where queries, keys or values are no linear function of what attention reads."""
KINDS = {
    # nothing special, and what is parallel, normed behind, biased or tied
    **dict.fromkeys(("llama, biases", "gpt2, scores by layer", "gpt_neox", "phi"), ALL),
    **dict.fromkeys(("mistral", "phi3", "persimmon", "gpt_bigcode, many key heads"), ALL),
    **dict.fromkeys(("olmo2", "gemma2, caps", "gemma3, two windows"), STREAM),
    # something stands between z and W_O
    **dict.fromkeys(("qwen3_5_text", "laguna, heads by layer"), GATED),
    "afmoe": GATED | STREAM,
    "qwen3_next": GATED,
    "bitnet": GATED,
}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    return made(request.param, tmp_path_factory.mktemp("zoo"))


def made(name: str, folder) -> Pair:
    model_type, changes, pictures = EVERY[name]
    net = build(model_type, changes, with_pictures=pictures)
    return Pair(load_model(str(save(net, folder))), net)
