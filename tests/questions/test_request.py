"""What a reader may ask for, how heads are named, and what it costs."""

from dataclasses import replace

import pytest

from analysis.errors import UserError
from analysis.interventions.heads import parse_heads
from analysis.models.card import read_card
from analysis.questions.asked import Asked
from analysis.questions.cost import cost
from analysis.studies.atlas.study import AtlasStudy


def test_heads_are_named_by_layer_and_head(saved):
    card = read_card(str(saved("llama")))
    assert parse_heads(("L0H0", " L1H3 "), card) == ((0, 0), (1, 3))
    for wrong in ("L2H0", "L0H4", "H1L0", "L-1H0", "", "L1H3x"):
        with pytest.raises(UserError, match="expected heads from L0H0 to L1H3"):
            parse_heads((wrong,), card)


def test_a_request_asks_for_what_the_model_can_hold(worded, tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text("Mary and John went to the shop. " * 20)
    asked = Asked(model=str(worded), text=str(path))
    assert asked.sizes.n_tokens == 64
    assert asked.sizes.block_len == 31
    assert AtlasStudy(asked).text_scores().bos
    for wrong, message in (
        ({"n_tokens": 65}, "from 3 to 64"),
        ({"n_tokens": 2}, "from 3 to 64"),
        ({"n_sequences": 1}, "at least 2 sequences"),
        ({"heads": ("L9H9",)}, "expected heads from L0H0"),
    ):
        with pytest.raises(UserError, match=message):
            AtlasStudy(replace(asked, **wrong)).text_scores()
    small = replace(asked, n_tokens=12, n_sequences=2)
    estimate = cost([AtlasStudy(small).text_scores()])
    rows = [tokens.ids for tokens in AtlasStudy(small).text_scores().data()]
    assert estimate.n_sequences == sum(len(ids) for ids in rows) >= 4
    assert estimate.n_tokens == sum(ids.size for ids in rows) >= 48
    assert estimate.seconds > 0
