"""The sink on a second text: its mass, and claims that noise alone must not support."""

import numpy as np
import polars as pl
import pytest

from analysis.models.files.card import read_card
from analysis.questions.asked import Asked, Profile
from analysis.studies.atlas.study import AtlasStudy
from analysis.studies.sink import views
from analysis.studies.sink.mass import Beside, SinkMass
from analysis.studies.sink.verdicts import SinkClaims
from store.schema import conformed
from tests.studies.sink.test_bos_sink import Stored, answer, question, silent

__all__ = ["answer", "question"]
NAMES = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


def test_the_mass_is_the_score_of_the_atlas_on_the_same_rows(worded):
    atlas = AtlasStudy(Asked(model=str(worded), profile=Profile.TINY)).text_scores()
    about = ("model", "text", "bos", "n_sequences", "n_tokens", "seed")
    mass = SinkMass(**{name: getattr(atlas, name) for name in about})
    assert mass.data()[0].sha256 == atlas.data()[0].sha256
    found = mass.run(silent)["head_scores"]
    conformed("head_scores", found.with_columns(run=pl.lit("r")))
    known = atlas.run(silent)["head_scores"].filter(score="bos", data="text")
    columns = ("layer", "head", "sequence", "value", "chance")
    assert found.select(columns).sort(columns[:3]).equals(known.select(columns).sort(columns[:3]))


def massed(own: Stored, second: dict[str, float], seed: int) -> Stored:
    """Masses on a second text: as on the first, of other sequences, but for heads named here."""
    rows = own["head_scores"].filter(score="sink_mass", data="bos_first")
    name = pl.format("L{}H{}", "layer", "head")
    noise = np.random.default_rng(seed).normal(0, 0.005, rows.height)
    value = pl.col("value") + pl.Series(noise)
    for head, mean in second.items():
        value = pl.when(name == head).then(mean + pl.Series(noise)).otherwise(value)
    return Stored(head_scores=rows.with_columns(value=value, data=pl.lit("text")))


def judged(worded, own: Stored, second: dict[str, Stored]) -> pl.DataFrame:
    about = {"text": "one text", "no_second": "" if second else "it is too short"}
    judge = SinkClaims(card=read_card(str(worded)), seed=0, **about, sink=own, second=second)
    return Stored(judge.run(silent))


def test_the_head_that_moves_is_named_and_no_other_is(answer, worded):
    own = Stored(answer)
    claims = judged(worded, own, {"another": massed(own, {"L1H2": 0.9}, 0)})["claims"]
    row = claims.row(by_predicate=pl.col("claim") == "sink_depends_on_text", named=True)
    assert row["verdict"] == "supported"
    assert "L1H2, which moves most" in row["statement"] and "0.1 more" in row["statement"]
    masses = Beside.of(own, massed(own, {"L1H2": 0.9}, 0))
    assert list(masses.heads) == NAMES
    odd = masses.changes[1::2, NAMES.index("L1H2")]
    assert row["estimate"] == pytest.approx(odd.mean())
    fallen = judged(worded, own, {"another": massed(own, {"L0H1": -0.9}, 0)})["claims"]
    row = fallen.row(by_predicate=pl.col("claim") == "sink_depends_on_text", named=True)
    assert row["verdict"] == "supported" and "L0H1" in row["statement"]
    assert "0.1 less" in row["statement"] and row["estimate"] > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_other_sequences_of_one_text_move_nothing(answer, worded, seed):
    own = Stored(answer)
    found = judged(worded, own, {"another": massed(own, {}, seed)})["claims"]
    verdicts = dict(found.select("claim", "verdict").iter_rows())
    assert verdicts["sink_depends_on_text"] == "refuted"
    assert verdicts["sink_on_second_text"] == "refuted", "nor is there a sink where none was"


def test_a_sink_on_the_second_text_is_told_of(answer, worded):
    own = Stored(answer)
    strongest = judged(worded, own, {})["claims"].filter(claim="sink_attends")["statement"].item()
    head = strongest.removeprefix("On one text: ").split(",")[0]
    found = judged(worded, own, {"another": massed(own, {head: 0.9}, 0)})["claims"]
    row = found.row(by_predicate=pl.col("claim") == "sink_on_second_text", named=True)
    assert row["verdict"] == "supported" and row["statement"].startswith(head)


def test_every_claim_says_on_which_text_it_is(answer, worded):
    own = Stored(answer)
    claims = judged(worded, own, {"another": massed(own, {}, 0)})["claims"]
    alone = claims.filter(~pl.col("claim").is_in(["sink_on_second_text", "sink_depends_on_text"]))
    assert alone["statement"].str.contains("^On (one text|random blocks|one text and random)").all()
    both = claims.filter(claim="sink_depends_on_text")["statement"].item()
    assert "on another than on one text" in both


def test_without_a_second_text_the_reason_is_shown(answer, worded):
    own = Stored(answer)
    frames = judged(worded, own, {})
    assert frames["absences"]["reason"].to_list() == ["it is too short"]
    rows = views.text_rows(own, {}, 0)
    assert rows.is_empty()
    said = views.text_sentence(frames, rows, ("one text", "another"))
    assert said == "There is no second text: it is too short."
    second = {"another": massed(own, {"L1H2": 0.9}, 0)}
    rows = views.text_rows(own, second, 0)
    assert rows["name"][0] == "L1H2" and rows.height == len(NAMES)
    assert rows.filter(pl.col("change_lower") > pl.col("change")).is_empty()
    assert "L1H2 moves most" in views.text_sentence({}, rows, ("one text", "another"))
