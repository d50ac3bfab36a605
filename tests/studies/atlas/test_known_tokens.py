"""Which random tokens are shown: heads are found on tokens that the model knows."""

from dataclasses import replace
from random import Random

import numpy as np
import polars as pl
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from analysis.interventions import Head
from analysis.questions.asked import Asked, Profile
from analysis.studies.atlas import views
from analysis.studies.atlas.claims import HeadClaims
from analysis.studies.atlas.induction_scores import InductionScores
from analysis.studies.atlas.study import AtlasStudy
from analysis.text.pool import ceiling
from tests.studies.circuit.circuit_model import COPIER, circuit_model

N_KNOWN, N_UNKNOWN = 104, 400


class Stored(dict):
    """Frames by table name, as the store answers them."""

    runs = ("0123456789abcdef",)


def answered(question) -> Stored:
    return Stored(question.run(lambda *_: None))


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Asked:
    """A model that knows a fifth of its tokens, and a text of those."""
    folder = tmp_path_factory.mktemp("known")
    circuit_model(folder, N_KNOWN, N_UNKNOWN)
    words = ["<bos>", *(f"w{i}" for i in range(1, N_KNOWN)), *(f"u{i}" for i in range(N_UNKNOWN))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="u0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    text = folder / "known.txt"
    text.write_text(" ".join(Random(0).choices(words[1:N_KNOWN], k=3_000)))
    return Asked(model=str(folder), text=str(text), profile=Profile.TINY)


def induction(asked: Asked, pool: str) -> InductionScores:
    return replace(AtlasStudy(replace(asked, token_pool=pool)).induction_scores(), n_sequences=16)


def mean(answer: Stored, data: str = "repeated") -> float:
    rows = answer["head_scores"].filter(
        pl.col("sequence").is_null(), score="induction", data=data, layer=COPIER[0], head=COPIER[1]
    )
    return rows["value"].item()


def test_a_model_that_knows_part_of_its_tokens_gets_its_induction_head_on_these(asked):
    """By default; where tokens are drawn from all ids, the same head is not one."""
    text = answered(replace(AtlasStudy(asked).text_scores(), n_sequences=16))
    lags = answered(AtlasStudy(asked).copy_lags())
    verdicts: dict[str, str] = {}
    for pool in (Asked(model="").token_pool, "all"):
        found = answered(replace(induction(asked, pool), n_sequences=64))
        claims = HeadClaims(card=asked.card, seed=0, text=text, induction=found, lags=lags)
        rows = claims.run(lambda *_: None)["claims"]
        verdicts |= {pool: dict(rows.select("claim", "verdict").iter_rows())["induction_head"]}
    assert verdicts == {"text": "supported", "all": "refuted"}


def test_a_perfect_head_scores_one_on_blocks_without_repeats(asked):
    question = induction(asked, "text")
    blocks = question.repeated.ids[:, 1:13]
    assert all(len(set(row)) == 12 for row in blocks.tolist())
    assert (blocks < N_KNOWN).all()
    assert mean(answered(question)) == pytest.approx(1, abs=1e-4)


def test_on_a_pool_smaller_than_a_block_the_ceiling_is_told_and_reached(asked):
    """As many tokens as have no other copy in their block; others share what they look at."""
    question = replace(induction(asked, "frequent:8"), n_sequences=300)
    (note,) = question.repeated.notes
    assert "with replacement from the 8 ids that are most frequent" in note
    most = ceiling(8, 12)
    assert f"about {most:.2f}" in note
    blocks = question.repeated.ids[:, 1:13]
    alone = np.mean([[row.count(i) == 1 for i in row] for row in blocks.tolist()])
    assert alone == pytest.approx(most, abs=0.02)
    found = answered(question)
    ceilings = found["model_scores"].filter(score="induction_ceiling", data="repeated")
    assert set(ceilings["value"]) == {most}
    claims = AtlasStudy(asked).claims(
        answered(AtlasStudy(asked).text_scores()), found, answered(AtlasStudy(asked).copy_lags())
    )
    rows = claims.run(lambda *_: None)["claims"].filter(claim="induction_head")
    assert rows["verdict"].to_list() == ["not testable"], "no head could have half of it"


def test_the_same_heads_stand_beside_each_other_on_every_pool(asked):
    question = replace(AtlasStudy(asked).pool_scores(), n_sequences=16)
    found = answered(question)
    table = views.pool_table(found, [Head(*COPIER)])
    assert table["pool"].to_list() == ["text", "frequent:200", "all"]
    assert table["ids"].to_list() == [N_KNOWN - 1, 200, N_KNOWN - 1 + N_UNKNOWN]
    assert table["perfect head"].to_list() == [1, 1, 1]
    for pool in ("text", "all"):
        alone = mean(answered(induction(asked, pool)))
        assert mean(found, f"repeated: {pool}") == pytest.approx(alone)
        assert table.filter(pool=pool)["L1H0"].item().startswith(f"{alone:.2f}"[:3])


def test_the_pool_is_part_of_the_question(asked):
    keys = [induction(asked, pool).question() for pool in ("text", "all", "frequent:103")]
    pools = [key["parameters"]["token_pool"] for key in keys]
    assert [pool["rule"] for pool in pools] == ["text", "all", "frequent:103"]
    assert [pool["size"] for pool in pools] == [103, 503, 103]
    assert pools[0]["ids"] == pools[2]["ids"] != pools[1]["ids"]
    assert "103 ids that occur in the text 'known.txt'" in induction(asked, "text").data()[0].source
