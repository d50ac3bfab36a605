"""The version lock of the experiments: other code at the same version is an error."""

from store import lock_problems
from tests.lock import LOCK, PACKAGES, all_experiments, all_scores


def test_every_experiment_is_locked_as_it_is_now():
    experiments, scores = all_experiments(), all_scores()
    assert experiments, "found no experiments; a check of nothing must not pass"
    assert scores, "found no scores; a check of nothing must not pass"
    assert not lock_problems(LOCK, [*experiments, *scores], PACKAGES)
