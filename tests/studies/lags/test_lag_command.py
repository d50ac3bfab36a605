"""`headbook lags` writes one CSV for each condition."""

import pytest
from click.testing import CliRunner

from analysis.questions.asked import Profile
from analysis.studies.lags import study
from book.lag_command import lags


@pytest.fixture(autouse=True)
def few_lists(monkeypatch):
    small = study.LagSizes(n_words=6, n_permutations=4, n_longer=2, everywhere=False)
    monkeypatch.setitem(study.SIZES, Profile.QUICK, small)


def test_every_condition_is_a_file_of_two_columns(worded, tmp_path):
    options = ["--model", str(worded), "--method", "uniform", "--layers", "upper half"]
    told = ["--store", str(tmp_path / "store"), "--design", "serial"]
    done = CliRunner().invoke(lags, [str(tmp_path / "out"), *options, *told])
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [
        f"serial_uniform_upper-half_{size}-heads.csv" for size in ("00", "01")
    ]
    for file in files:
        head, *lines = file.read_text().splitlines()
        assert head == "Lag,Mean Probability"
        assert [int(line.split(",")[0]) for line in lines] == list(range(-4, 6))


def test_what_stands_in_must_be_said(tmp_path):
    done = CliRunner().invoke(lags, [str(tmp_path)])
    assert done.exit_code == 2
    assert "--method" in done.output
