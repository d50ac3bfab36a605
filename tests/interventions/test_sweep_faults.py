"""What a sweep refuses, and that nothing stays behind."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from analysis.errors import UserError
from analysis.interventions import Head, Method, Pooling, means
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.sweep import Source, sweep
from analysis.models.load import load_model
from tests.models.architectures import VOCAB

from .slow_sweep import slow_sweep
from .sweep_cases import EVERYWHERE, IDS, LEAN, NO_SOURCE, SINGLE, measurement, one, silent


@pytest.fixture
def llama(saved):
    return load_model(str(saved("llama")))


def test_no_hook_stays_after_an_exception(llama):
    """Raised inside a layer, while another condition's rows bypass its attention."""
    inside = one("mean_value", Method.MEAN_VALUE, [Head(0, 1)])
    before = sweep(llama, IDS, SINGLE, NO_SOURCE, LEAN, silent)
    for bad in (inside, one("mean", Method.MEAN, [Head(1, 1)])):
        with pytest.raises(UserError, match="expected a reference set for the mean, got none"):
            sweep(llama, IDS, [*SINGLE, bad], NO_SOURCE, LEAN, silent)
    for module in llama.net.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    after = sweep(llama, IDS, SINGLE, NO_SOURCE, LEAN, silent)
    for metric, values in after.values.items():
        assert np.array_equal(values, before.values[metric])


@pytest.mark.parametrize("function", [sweep, slow_sweep])
@pytest.mark.parametrize("max_rows", [1, 100])
def test_a_sequence_without_predictions_is_named(saved, function, max_rows):
    model = deepcopy(load_model(str(saved("llama"))))
    ids = np.minimum(IDS, VOCAB - 2)
    ids[2, 4] = VOCAB - 1
    with torch.no_grad():
        model.net.get_input_embeddings().weight[VOCAB - 1] = torch.nan
    message = "expected finite logits of the model as it is, got others on sequence 2;"
    with pytest.raises(UserError, match=message):
        function(model, ids, SINGLE, NO_SOURCE, measurement(Metrics.LEAN, max_rows), silent)


def test_a_condition_without_predictions_is_named(llama):
    average = means(llama, IDS, Pooling.POOLED)
    source = Source(means=replace(average, z=average.z * torch.nan), donor_of=None)
    condition = one("mean L1H1", Method.MEAN, [Head(1, 1)])
    with pytest.raises(UserError, match="got others under mean L1H1 on sequence 0"):
        sweep(llama, IDS, [condition], source, LEAN, silent)


@pytest.mark.parametrize("function", [sweep, slow_sweep])
def test_what_cannot_be_measured_is_refused(llama, function):
    resample = [one("resample", Method.RESAMPLE, [Head(0, 0)])]
    with pytest.raises(UserError, match="expected heads from L0H0"):
        function(llama, IDS, [one("", Method.ZERO, [Head(2, 0)])], NO_SOURCE, LEAN, silent)
    with pytest.raises(UserError, match="expected positions from 0 to 8"):
        function(llama, IDS, [one("", Method.ZERO, [Head(0, 0)], (9,))], NO_SOURCE, LEAN, silent)
    with pytest.raises(UserError, match="expected donors"):
        function(llama, IDS, resample, NO_SOURCE, LEAN, silent)
    with pytest.raises(UserError, match="expected sequences of tokens"):
        function(llama, IDS[:0], SINGLE, NO_SOURCE, LEAN, silent)
    for donors in ([0, 2, 3, 1], [1, 0, 1, 0], [1, 0]):
        source = Source(means=None, donor_of=np.array(donors))
        with pytest.raises(ValueError, match="expected a derangement of 4 sequences"):
            function(llama, IDS, resample, source, LEAN, silent)


def test_a_measurement_without_sense_is_refused(llama):
    with pytest.raises(ValueError, match="expected room for at least 1 row, got 0"):
        measurement(Metrics.LEAN, 0)
    with pytest.raises(ValueError, match="other scopes than the automatic ones"):
        measurement(Metrics.LEAN, 1, {"at": EVERYWHERE})
    asked = measurement(Metrics.LEAN, 1, {"all": EVERYWHERE[:2]})
    with pytest.raises(ValueError, match="expected a scope all of shape"):
        sweep(llama, IDS, SINGLE, NO_SOURCE, asked, silent)
