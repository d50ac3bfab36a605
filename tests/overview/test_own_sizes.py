"""A profile file: what it says reaches what is asked, and what it cannot say is named."""

import pytest

from analysis.errors import UserError
from analysis.overview.own_sizes import LARGEST, read_own, size_tables
from analysis.questions.asked import Asked, Profile, told_sizes
from analysis.studies.kinds.study import KindStudy
from analysis.studies.sink.study import SinkStudy

OWN = """
profile = "tiny"
n_draws = 4
[sink]
n_places = 3
[kinds]
set_sizes = [1, 3]
"""


@pytest.fixture
def written(tmp_path):
    def file(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return read_own(path)

    return file


def test_sizes_of_a_file_reach_their_studies_and_no_other(written):
    asked = Asked(model="reference", **told_sizes(written(OWN)))
    tiny = Asked(model="reference", profile=Profile.TINY)
    assert (asked.sizes.n_draws, asked.sizes.n_blocks) == (4, tiny.sizes.n_blocks)
    assert SinkStudy(asked).sink().n_draws == 3 != SinkStudy(tiny).sink().n_draws
    assert KindStudy(asked).sizes.set_sizes == (1, 3)
    assert KindStudy(asked).sizes.n_identity == KindStudy(tiny).sizes.n_identity
    assert asked.sizes_said == "tiny, but for kinds set sizes (1, 3), n draws 4, sink n places 3"


def test_what_is_told_is_read_again(written):
    own = told_sizes(written(OWN))
    assert told_sizes(Asked(model="reference", **own).sizes_told) == own
    assert Asked.of("reference", {"profile": written(OWN)}).own == own["own"]


def test_a_file_that_changes_nothing_is_its_profile(written):
    assert written("") == "quick"
    assert written('profile = "full"') == "full"


def test_a_chapter_is_told_what_run_is():
    """As text from a notebook's command line, as values from ours."""
    options = {"n_tokens": 40, "n_sequences": 6, "seed": 3, "bos": False, "heads": "L0H1,L1H0"}
    text = {**options, "n_tokens": "40", "n_sequences": "6", "seed": "3", "bos": "no"}
    assert Asked.of("reference", options) == Asked.of("reference", text)
    assert Asked.of("reference", text).heads == ("L0H1", "L1H0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_drawss = 4", "got n_drawss; sizes are n_sequences, .*sink.n_places"),
        ("[sunk]\nn_places = 4", "got sunk.n_places; sizes are"),
        ('profile = "big"', "tiny, quick or full, got 'big'"),
        ('[sink]\nn_places = "3"', 'a number from 2, .* the 4 of the profile quick, got "3"'),
        ("n_draws = true", "n_draws .* got true"),
        ("n_draws = 0", "got 0"),
        (f"n_draws = {LARGEST + 1}", f"to {LARGEST:,}"),
        ("[kinds]\nset_sizes = [2, 1]", "ascending"),
        ("[kinds]\nset_sizes = []", "ascending"),
        ("[lags]\neverywhere = 1", "true or false"),
        ("n_draws = [", "TOML file of sizes"),
    ],
)
def test_what_is_no_size_is_named(text, message, written):
    with pytest.raises(UserError, match=message):
        written(text)


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_own(tmp_path / "none.toml")


def test_the_tiny_profile_is_the_least_of_everything():
    """So that what a file may say is what every test of a tiny book has tried."""
    for table in size_tables().values():
        tiny, quick, full = (vars(table[p]) for p in Profile)
        for name, least in tiny.items():
            if type(least) is int:
                assert least <= quick[name] <= full[name], name
