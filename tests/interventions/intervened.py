"""Random models under interventions: what their heads see, read and write."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch

from analysis.attention import Site, Taps, Where
from analysis.interventions import (
    NOTHING,
    Head,
    Intervention,
    Method,
    Pooling,
    StandIns,
    derangement,
    means,
    read_z,
    taps,
)
from analysis.models.load import load_model
from tests.models.architectures import VOCAB

N_LAYERS, N_HEADS, N_POS = 2, 4, 9
IDS = torch.randint(2, VOCAB, (3, N_POS), generator=torch.Generator().manual_seed(1))
REFERENCE = np.random.default_rng(2).integers(2, VOCAB, (5, N_POS + 2))
"""Sequences whose mean stands in; longer than needed."""
HEADS = tuple(Head(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS))
ORDER = torch.from_numpy(derangement(len(IDS), 0))


def loaded(folder, name: str):
    """A loaded model in float64; the experts of GPT-OSS cannot have that."""
    found = deepcopy(load_model(str(folder)))
    if name != "gpt_oss":
        found.net.double()
    return found


def done(method: Method, *heads: Head, positions: Sequence[int] | None = None) -> Intervention:
    """A method at some heads, at all positions unless some are given."""
    places = None if positions is None else tuple(positions)
    return Intervention(method=method, heads=heads, positions=places)


def stand_ins(model) -> StandIns:
    """Everything that any method needs."""
    average = means(model, REFERENCE, Pooling.PER_POSITION)
    return StandIns(means=average, donors=read_z(model, IDS[ORDER]))


def tapped(model, tapping: Taps, ids: torch.Tensor = IDS, **inputs) -> torch.Tensor:
    """Logits under some taps."""
    with torch.no_grad():
        return model.net(ids, use_cache=False, taps=tapping, **inputs).logits


def logits(model, *done: Intervention, given: StandIns = NOTHING, ids=IDS) -> torch.Tensor:
    """Logits under interventions."""
    return tapped(model, taps(done, given, len(ids)), ids)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to the precision of the type."""
    tolerance = 1e-5 if expected.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to the precision of float32, in which stand-ins are kept."""
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5, check_dtype=False)


def written(model, head: Head, z: torch.Tensor) -> torch.Tensor:
    """What one head adds to the residual stream (batch, pos, d_model), given every head's z."""
    return z[:, head.head] @ model.W_O(head.layer)[head.head]


@dataclass
class Seen:
    """What a call shows after all edits, one entry a layer."""

    v: list[torch.Tensor] = field(default_factory=list)
    pattern: list[torch.Tensor] = field(default_factory=list)
    z: list[torch.Tensor] = field(default_factory=list)
    attn_out: list[torch.Tensor] = field(default_factory=list)


def seen(model, tapping: Taps, ids: torch.Tensor = IDS, **inputs) -> Seen:
    """Run a model and keep what its heads see, read and write."""
    found = Seen()

    def keeping(site: Site, kept: list[torch.Tensor]):
        def edit(where: Where, tensor: torch.Tensor) -> torch.Tensor:
            kept.append(tapping.edit(site, where, tensor))
            return kept[-1]

        return edit

    edits = {**tapping.edits, Site.V: keeping(Site.V, found.v), Site.Z: keeping(Site.Z, found.z)}
    watched = Taps(edits=edits, watch=lambda _where, pattern: found.pattern.append(pattern))
    handles = [
        m.register_forward_hook(lambda _m, _args, out: found.attn_out.append(out[0]))
        for m in model.attentions
    ]
    try:
        tapped(model, watched, ids, **inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def intervened(model, *done: Intervention, given: StandIns = NOTHING) -> Seen:
    """What heads see, read and write under interventions."""
    return seen(model, taps(done, given, len(IDS)))


def visible(model, layer: int) -> torch.Tensor:
    """Which keys a query of a layer may look at (query, key), from the config alone."""
    config = model.net.config
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if window is None or (kinds is not None and kinds[layer] != "sliding_attention"):
        window = N_POS
    back = torch.arange(N_POS)[:, None] - torch.arange(N_POS)
    return (back >= 0) & (back < window)


def editing(head: Head, change):
    """An edit that changes one head's slice of a site (batch, ...) and leaves the others."""

    def edit(where: Where, tensor: torch.Tensor) -> torch.Tensor:
        if where.layer != head.layer:
            return tensor
        edited = tensor.clone()
        edited[:, head.head] = change(tensor[:, head.head])
        return edited

    return edit
