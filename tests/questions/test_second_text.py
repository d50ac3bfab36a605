"""Which text stands beside the one that is asked for, and when none does."""

import pytest

from analysis.questions.asked import Asked, Profile
from analysis.questions.second_text import no_second_text, second_text, texts_said
from analysis.studies.kinds.study import KindStudy
from analysis.studies.sink.study import SinkStudy
from analysis.text.tokens import NO_TOKENIZER


@pytest.mark.parametrize(
    ("text", "second"),
    [("reference", "prose"), ("prose", "reference"), ("notes.txt", "prose")],
)
def test_prose_stands_beside_every_text_but_itself(text, second):
    asked = Asked(model="reference", text=text, seed=3, profile=Profile.TINY)
    other = second_text(asked)
    assert (other.text, asked.text) == (second, text)
    assert (other.model, other.seed, other.profile) == ("reference", 3, Profile.TINY)
    assert texts_said(asked)[0] != texts_said(asked)[1]


def test_a_second_text_is_asked_at_the_same_size():
    asked = Asked(model="reference", profile=Profile.TINY)
    kinds, sink = KindStudy(asked), SinkStudy(asked)
    (sweep,), (mass,) = kinds.second().values(), sink.second().values()
    assert sweep.text == mass.text == "prose"
    assert sweep.tokens.ids.shape == kinds.kinds()["zero"].tokens.ids.shape
    assert mass.tokens.ids.shape == sink.sink().data()[0].ids.shape
    assert mass.tokens.bos == sink.sink().data()[0].bos
    assert sweep.tokens.sha256 != kinds.kinds()["zero"].tokens.sha256


def test_a_model_without_a_tokenizer_has_no_second_text_and_is_told_why(saved):
    asked = Asked(model=str(saved("llama")), profile=Profile.TINY)
    assert no_second_text(asked, 16) == NO_TOKENIZER == KindStudy.hindrance(asked)
    assert KindStudy.of(asked) is None
    assert SinkStudy(asked).second() == {}


def test_rows_that_prose_cannot_fill_are_not_asked_of_it(tmp_path):
    asked = Asked(model="reference", text=str(tmp_path / "long.txt"), profile=Profile.TINY)
    why = no_second_text(asked, 1_000_000)
    assert why == "public-domain prose fills no 4 rows of 1,000,000 tokens"
    assert not no_second_text(asked, 512)
