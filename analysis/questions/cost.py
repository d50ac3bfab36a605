"""What experiments cost before they start: time and memory, from counts and a measured pace."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch.nn import functional as F

from analysis.attention import Taps
from analysis.interventions import Metrics
from analysis.interventions.passes.predictions import differences, predictions
from analysis.models.load import Model, hidden_states, load_model, unembed
from analysis.precision import Precision

from .experiment import Experiment
from .work import Work, total

GRADIENT = 3.0
"""Of a pass, what one there and back takes."""
UNIT_S = 0.2
"""Of every unit, which statistics and its part of the store take."""
STARTS = 2
"""Times that the model is loaded, or looked at for as long."""
_ROWS, _LENGTH = 8, 128
"""Random tokens that layers are timed on: what experiments stack in one batch."""
_FEW = 8
_LAPS = 3
_ROOM_GIB = 0.5
"""Beside what a pass takes: tables of results, and batches that are longer."""


@dataclass(frozen=True)
class Cost:
    """An estimate, good to a factor of 1.5 where answers turn out as usual."""

    n_units: int
    n_tokens: float
    """That go through all layers."""
    seconds: float
    """Of one core, or of the accelerator."""
    gib: float
    """In one process."""

    def __str__(self) -> str:
        tokens = f"{self.n_tokens:,.0f} tokens through all layers"
        return f"{tokens}, about {in_words(self.seconds)} and {self.gib:.1f} GiB"


@dataclass(frozen=True)
class Rates:
    """How fast a machine computes a model, in one thread: seconds, and memory."""

    layer: float
    """Of a token in a layer."""
    logits: float
    """Of all logits of a position."""
    compared: float
    """Of a comparison of two distributions, their logits apart."""
    call: float
    """Of a layer that is called on few tokens, these apart."""
    load: float
    """Until the model is loaded."""
    gib: float
    """The most memory that the process which measured this had held."""

    @classmethod
    def measured(cls, name: str, device: str, precision: Precision) -> Rates:
        """Time real layers of a model on random tokens, a second or two once it is loaded.

        By the processor's time, which what else the machine does lengthens least; on an
        accelerator by the clock.

        Args:
            name: What `load_model` takes.
            device: Where to compute.
            precision: What in.
        """
        started = _clock(device)
        model = load_model(name, device, precision)
        load, threads = _clock(device) - started, torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return cls(**_timed(model), load=load, gib=_peak_gib())
        finally:
            torch.set_num_threads(threads)

    def seconds(self, work: Work) -> float:
        """What work takes."""
        layers = work.layers + GRADIENT * work.gradients
        logits = work.logits * self.logits + work.compared * self.compared
        return layers * self.layer + work.calls * self.call + logits


def cost(units: Iterable[Experiment], rates: Rates) -> Cost:
    """Estimate what units of experiments on one model take.

    Args:
        units: What will be computed.
        rates: How fast that model is computed.

    Returns:
        Counts, time and memory; nothing for no units.
    """
    asked = list(units)
    if not asked:
        return Cost(0, 0.0, 0.0, 0.0)
    work, n_layers = total(unit.work() for unit in asked), asked[0].card.n_layers
    seconds = STARTS * rates.load + rates.seconds(work) + UNIT_S * len(asked)
    n_tokens = (work.layers + work.gradients) / n_layers
    return Cost(len(asked), n_tokens, seconds, rates.gib + _ROOM_GIB)


def in_words(seconds: float) -> str:
    """A time, such as `40 s`, `2.5 min`, `12 min` or `3.4 h`: to two digits or more."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        minutes = seconds / 60
        return f"{round(minutes, 1 if minutes < 10 else None):g} min"
    return f"{round(seconds / 3600, 1):g} h"


def _timed(model: Model) -> dict[str, float]:
    """Seconds of a token in a layer, of a position's logits, and of one that is compared."""
    ids = torch.arange(_ROWS * _LENGTH).reshape(_ROWS, _LENGTH) * 7919 % model.card.vocab
    tokens = ids[:, : model.card.n_ctx].to(model.device)
    with torch.inference_mode():
        whole, few = (
            _lap(partial(hidden_states, model, some, Taps()), model)
            for some in (tokens, tokens[:1, :_FEW])
        )
        hidden, following = hidden_states(model, tokens, Taps())[0], tokens[0]
        logits = _lap(lambda: F.cross_entropy(unembed(model, hidden), following), model)
        base = predictions(model, hidden, following)
        both = hidden.repeat(2, 1, 1)
        full = _lap(lambda: differences(model, base, both, Metrics.FULL), model)
    n_pos, n_layers = len(hidden), model.card.n_layers
    layer = whole / (tokens.numel() * n_layers)
    return {
        "layer": layer,
        "call": max(0.0, few / n_layers - _FEW * layer),
        "logits": logits / n_pos,
        "compared": max(0.0, full - 3 * logits) / (2 * n_pos),
    }


def _lap(run: Callable[[], object], model: Model) -> float:
    """Seconds of one call, the first apart."""
    laps: list[float] = []
    for _ in range(1 + _LAPS):
        started = _clock(model.device.type)
        run()
        laps.append(_clock(model.device.type) - started)
    return median(laps[1:])


def _clock(device: str) -> float:
    """Seconds of this process on the CPU; by the clock, all being done, on an accelerator."""
    if not device.startswith("cuda"):
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _peak_gib() -> float:
    """The most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
