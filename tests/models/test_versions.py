"""The version lock of the experiments: other code at the same version is an error."""

from store import lock_problems
from tests.lock import LOCK, PACKAGES, all_experiments


def test_every_experiment_is_locked_as_it_is_now():
    found = all_experiments()
    assert found, "found no experiments; a check of nothing must not pass"
    assert not lock_problems(LOCK, found, PACKAGES)
