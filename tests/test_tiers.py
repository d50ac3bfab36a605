"""Tiers of tests: every test is in one, and each tier can be run alone."""

from pathlib import Path

import pytest

from .conftest import QUICK_S, ROOT, SECONDS, tier

TIERS = ("quick", "slow", "browser", "kills")
FILES = sorted(
    path.relative_to(ROOT).as_posix() for path in Path(ROOT / "tests").rglob("test_*.py")
)


def test_the_tiers_have_every_test_once(request):
    """Of all that was collected, whichever part of it is run."""
    for item in request.session.items:
        assert sum(item.get_closest_marker(name) is not None for name in TIERS) == 1, item.nodeid


@pytest.mark.parametrize("name", TIERS)
def test_every_tier_has_files(name):
    assert any(tier(file) == name for file in FILES)


def test_what_is_quick_was_measured():
    assert FILES
    quick = [file for file in FILES if tier(file) == "quick"]
    assert all(SECONDS[file] < QUICK_S for file in quick)


def test_no_file_that_is_gone_is_measured():
    assert sorted(SECONDS.keys() - set(FILES)) == []


def test_a_file_that_was_not_measured_is_not_quick(tmp_path, monkeypatch):
    new = tmp_path / "test_new.py"
    new.write_text("def test_one(): pass", encoding="utf-8")
    monkeypatch.setattr("tests.conftest.ROOT", tmp_path)
    assert tier("test_new.py") == "slow"
