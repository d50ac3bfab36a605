"""A pretrained model with previous-token heads and no induction head: what we find is there."""

import numpy as np
import polars as pl
import pytest

from analysis.studies.atlas.induction_scores import InductionScores
from analysis.studies.atlas.text_scores import TextScores


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def on_text(stories260k, prose):
    asked = TextScores(
        model=str(stories260k),
        text=str(prose),
        bos=True,
        n_sequences=24,
        n_tokens=256,
        n_offsets=32,
        n_pictured=8,
        pictured=(),
        seed=0,
    )
    return asked.run(silent)


@pytest.fixture(scope="module")
def on_repeats(stories260k):
    asked = InductionScores(
        model=str(stories260k), n_sequences=24, block_len=50, max_shift=8, seed=0
    )
    return asked.run(silent)


def every(frame: pl.DataFrame, **where) -> pl.DataFrame:
    """The heads in aggregate, strongest first."""
    return frame.filter(pl.col("sequence").is_null(), **where).sort("value", descending=True)


def heads(frame: pl.DataFrame) -> list[tuple[int, int]]:
    return list(frame.select("layer", "head").iter_rows())


def test_the_two_previous_token_heads_are_found(on_text):
    found = every(on_text["head_scores"], score="previous_token", data="text")
    assert set(heads(found)[:2]) == {(1, 3), (3, 6)}
    assert found["value"][:2].to_list() == pytest.approx([0.65, 0.65], abs=0.08)
    assert found["value"][2] < 0.55
    assert found["lower"][1] > found["upper"][2]
    assert (found["chance"] < 0.03).all()


def test_they_peak_at_the_token_before(on_text):
    profile = on_text["head_profiles"].filter(data="text")
    for layer, head in ((1, 3), (3, 6)):
        values = profile.filter(layer=layer, head=head).sort("lag")["value"].to_numpy()
        assert values.argmax() == 1


def test_no_head_is_an_induction_head(on_repeats):
    for data in ("repeated", "shuffled"):
        found = every(on_repeats["head_scores"], score="induction", data=data)
        assert len(found) == 40
        assert found["value"][0] < 0.05


def test_the_model_does_not_copy(on_repeats):
    """Losses on the second copy are as large as on a shuffled one, and as on the first."""
    frame = on_repeats["model_scores"].filter(pl.col("sequence").is_null())
    means = {
        (score, data): frame.filter(score=score, data=data)["value"].item()
        for score in ("first_copy_loss", "second_copy_loss")
        for data in ("repeated", "shuffled")
    }
    assert means["first_copy_loss", "repeated"] > np.log(512)
    for data in ("repeated", "shuffled"):
        gain = means["first_copy_loss", data] - means["second_copy_loss", data]
        assert abs(gain) < 1
    gap = means["second_copy_loss", "repeated"] - means["second_copy_loss", "shuffled"]
    assert abs(gap) < 1


def test_text_is_predicted_better_than_chance_by_the_model_that_is_scored(stories260k):
    """So that a broken model cannot pass the tests above."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    from analysis.interventions.passes.stream import stream_scores, token_losses  # noqa: PLC0415
    from analysis.models.load import load_model  # noqa: PLC0415

    story = "Once upon a time, there was a little girl named Lily. She loved to play outside."
    ids = AutoTokenizer.from_pretrained(stories260k).encode(story, add_special_tokens=False)
    row = np.array([[1, *ids]], dtype=np.int32)
    keep, losses = token_losses(load_model(str(stories260k)), row)
    stream_scores(load_model(str(stories260k)), row, {}, silent, also=[keep])
    assert losses.mean() < 2
