"""What a reader may ask for, how heads are named, and what it costs."""

from dataclasses import replace

import pytest
from transformers import LlamaConfig

from analysis.errors import UserError
from analysis.interventions.heads import parse_heads
from analysis.models.files.card import read_card
from analysis.questions.asked import Asked, Profile
from analysis.questions.cost import STARTS, UNIT_S, Rates, cost
from analysis.studies.atlas.study import AtlasStudy
from analysis.studies.circuit.study import CircuitStudy
from tests.models.architectures import GQA, build


class Stored(dict):
    """Frames by table name, as the store answers them."""

    runs = ("0123456789abcdef",)


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
    rates = Rates(layer=1.0, logits=0.0, compared=0.0, call=0.0, load=2.0, gib=1.0)
    estimate = cost([AtlasStudy(small).text_scores()], rates)
    rows = [tokens.ids for tokens in AtlasStudy(small).text_scores().data()]
    chance = sum(2 * ids.shape[1] for ids in rows)
    assert estimate.n_tokens == sum(ids.size for ids in rows) + chance >= 48
    assert estimate.seconds == UNIT_S + 2.0 * STARTS + asked.card.n_layers * estimate.n_tokens
    assert cost([], rates).seconds == 0


def test_a_notebooks_command_line_says_bos_and_the_pool():
    assert Asked.of("reference", {}) == Asked(model="reference")
    asked = Asked.of("reference", {"bos": "no", "token_pool": "frequent:9", "profile": "tiny"})
    assert (asked.bos, asked.token_pool, asked.profile) == (False, "frequent:9", Profile.TINY)
    assert Asked.of("reference", {"bos": "yes"}).bos is True


def test_without_bos_nothing_starts_with_one_and_that_is_said(worded):
    """Also what is drawn or generated; the id is not drawn instead."""
    for bos, n_bos in ((None, 1), (False, 0)):
        asked = Asked(model=str(worded), profile=Profile.TINY, bos=bos)
        atlas = AtlasStudy(asked)
        questions = [*atlas.scores(), atlas.copy_lags(), CircuitStudy(asked).second_copy()]
        for question in questions[1:]:
            for tokens in question.data():
                assert (tokens.ids[:, :n_bos] == 0).all()
                assert (tokens.ids[:, n_bos:] != 0).all()
                assert tokens.bos == bool(n_bos)
        start = "Sequences start with" if n_bos else "Sequences start without"
        assert asked.tokens_said.startswith(f"{start} the BOS '<bos>' (id 0)")
        assert "does not add by itself" in asked.tokens_said
        assert asked.pool.said in asked.tokens_said


@pytest.mark.parametrize(("layers", "heads"), [(1, 2), (2, 1), (1, 1)])
def test_a_model_of_one_layer_or_one_head_is_judged(tmp_path, layers, heads):
    sizes = {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 1}
    config = LlamaConfig(**{**GQA, **sizes}, pad_token_id=0)
    build(config).save_pretrained(tmp_path)
    asked = Asked(model=str(tmp_path), n_sequences=4)
    (judged,) = AtlasStudy(asked).findings(lambda q: Stored(q.run(lambda *_: None)))
    assert judged["claims"]["verdict"].to_list() == ["not testable"]
    assert (CircuitStudy.of(asked) is None) == (layers == 1)
