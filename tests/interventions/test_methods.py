"""A method says where it acts and what it needs; nothing else of the book has to know it."""

import numpy as np
import pytest

from analysis.attention import Site
from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, Method, Needs, Pooling, StandIns, taps
from analysis.interventions.passes import sweep

from .intervened import IDS, REFERENCE, done, loaded, logits

HERE = Head(1, 2)


@pytest.fixture(scope="module")
def llama(saved):
    return loaded(saved("llama"), "llama")


@pytest.mark.parametrize("method", Method)
def test_a_method_is_called_by_its_value_and_says_the_rest(method):
    assert Method(method.value) is method
    assert method.value == method.name.lower()
    assert method.of_queries == (method.site in {Site.Z, Site.PATTERN})
    assert method.at_z == (method.site is Site.Z)


@pytest.mark.parametrize("method", Method)
def test_a_method_acts_at_its_site_and_attention_is_recomputed_for_scores_and_patterns(method):
    edits = set(taps([done(method, HERE)], NOTHING, 3).edits)
    both = {Site.SCORES, Site.PATTERN}
    assert edits == (both if method.site in both else {method.site})


@pytest.mark.parametrize("method", Method)
def test_a_source_measures_what_its_methods_need_and_nothing_else(llama, method, monkeypatch):
    measured: list[str] = []
    for name in ("means", "derangement"):
        own = getattr(sweep, name)
        monkeypatch.setattr(sweep, name, lambda *a, n=name, f=own: (measured.append(n), f(*a))[1])
    source = sweep.stand_in_source(llama, {method}, REFERENCE, Pooling.PER_POSITION, len(IDS), 0)
    needed = {Needs.NOTHING: [], Needs.MEANS: ["means"], Needs.DONORS: ["derangement"]}
    assert measured == needed[method.needs]
    given = source.stand_ins(llama, IDS.numpy(), slice(0, 3))
    assert (given.means is None, given.donors is None) == (
        method.needs is not Needs.MEANS,
        method.needs is not Needs.DONORS,
    )
    changed = logits(llama, done(method, HERE), given=given)
    assert np.isfinite(changed.numpy()).all()


@pytest.mark.parametrize("method", [m for m in Method if m.needs is not Needs.NOTHING])
def test_without_what_it_needs_a_method_is_refused(llama, method):
    with pytest.raises(UserError, match="expected"):
        logits(llama, done(method, HERE), given=StandIns(means=None, donors=None))
