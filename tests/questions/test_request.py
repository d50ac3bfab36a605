"""What a reader may ask for, how heads are named, and what it costs."""

from dataclasses import replace

import pytest

from analysis.errors import UserError
from analysis.models.card import read_card
from analysis.overview.request import Request
from analysis.questions.cost import cost
from analysis.questions.heads import parse_heads


def test_heads_are_named_by_layer_and_head(saved):
    card = read_card(str(saved("llama")))
    assert parse_heads(("L0H0", " L1H3 "), card) == ((0, 0), (1, 3))
    for wrong in ("L2H0", "L0H4", "H1L0", "L-1H0", "", "L1H3x"):
        with pytest.raises(UserError, match="expected heads from L0H0 to L1H3"):
            parse_heads((wrong,), card)


def test_a_request_asks_for_what_the_model_can_hold(worded, tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text("Mary and John went to the shop. " * 20)
    request = Request(model=str(worded), text=str(path))
    assert request.sizes.n_tokens == 64
    assert request.sizes.block_len == 31
    assert request.text_scores().bos
    for wrong, message in (
        ({"n_tokens": 65}, "from 3 to 64"),
        ({"n_tokens": 2}, "from 3 to 64"),
        ({"n_sequences": 1}, "at least 2 sequences"),
        ({"heads": ("L9H9",)}, "expected heads from L0H0"),
    ):
        with pytest.raises(UserError, match=message):
            replace(request, **wrong).text_scores()
    small = replace(request, n_tokens=12, n_sequences=2)
    estimate = cost([small.text_scores()])
    rows = [tokens.ids for tokens in small.text_scores().data()]
    assert estimate.n_sequences == sum(len(ids) for ids in rows) >= 4
    assert estimate.n_tokens == sum(ids.size for ids in rows) >= 48
    assert estimate.seconds > 0
