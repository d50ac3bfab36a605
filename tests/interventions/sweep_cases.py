"""Sequences, scopes and conditions that sweeps of small models are tested on."""

import numpy as np

from analysis.interventions import Condition, Head, Intervention, Method
from analysis.interventions.averages import Measurement
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.sweep import Source
from tests.models.architectures import VOCAB

N_SEQUENCES, N_POS = SHAPE = 4, 9
IDS = np.random.default_rng(0).integers(2, VOCAB, SHAPE).astype(np.int32)
EVERYWHERE = np.ones(SHAPE, dtype=bool)
SECOND_HALF = np.tile(np.arange(N_POS) >= N_POS // 2, (N_SEQUENCES, 1))
SCOPES = {"all": EVERYWHERE, "second half": SECOND_HALF}
NO_SOURCE = Source(means=None, donor_of=None)


def silent(*_args) -> None:
    pass


def one(name: str, method: Method, heads, positions=None) -> Condition:
    each = Intervention(method=method, heads=tuple(heads), positions=positions)
    return Condition(name=name, family="test", interventions=(each,))


NONE = Condition(name="none", family="test", interventions=())
NO_HEADS = one("no heads", Method.ZERO, [])
ATTENDING = [
    one(f"{method.value} {positions}", method, [Head(layer, 2)], positions)
    for method in (Method.UNIFORM, Method.MASK_KEY, Method.ZERO_VALUE)
    for layer, positions in ((0, (3,)), (1, None))
]
SINGLE = [
    one(f"zero {layer} {head}", Method.ZERO, [Head(layer, head)])
    for layer in range(2)
    for head in range(4)
]


def measurement(metrics: Metrics, max_rows: int, scopes=SCOPES) -> Measurement:
    return Measurement(scopes=scopes, metrics=metrics, max_rows=max_rows)


LEAN, FULL = measurement(Metrics.LEAN, 12), measurement(Metrics.FULL, 12)
