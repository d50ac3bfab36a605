"""How many floating-point operations a task needs, counted and not timed."""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from analysis.interventions.passes.sweep import on_device
from analysis.models.load import Model

from .models import stock
from .tasks import Work, our_sweep, sampled_heads


def _fused(query: Any, key: Any, value: Any, *_args: Any, **_kwargs: Any) -> int:
    """Both products of fused attention on a CPU, which the counter does not know."""
    return sdpa_flop_count(query, key, value)


def _product(x: Any, weight: Any, *_args: Any, **_kwargs: Any) -> int:
    """A product through oneDNN, which the counter does not know either."""
    return 2 * prod(x) * weight[0]


_ONEDNN: Any = torch.ops.mkldnn._linear_pointwise
_FUSED_ON_CPU: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def counted_flops(function: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products of a call."""
    known = {_FUSED_ON_CPU: _fused, _ONEDNN: _product}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        function()
    return counter.get_total_flops()


def sweep_flops(model: Model, work: Work) -> int:
    """What our task A needs, counted on one and two sequences, since it is linear in both.

    Args:
        model: The model.
        work: What is asked; sampled heads are scaled to all of them.

    Returns:
        Multiplications and additions of all matrix products, for all sequences and heads.
    """
    run = our_sweep(model)
    sample = sampled_heads(model.card, model.card.n_layers)

    def count(n_sequences: int, heads: bool) -> int:
        ids = work.ids[:1].repeat(n_sequences, axis=0)
        asked = replace(work, ids=ids, heads=sample if heads else ())
        return counted_flops(lambda: run(asked))

    alone = count(1, heads=False)
    each_base = count(2, heads=False) - alone
    each_sample = count(2, heads=True) - count(1, heads=True) - each_base
    n_samples = len(work.heads) * work.scale / len(sample)
    return round(alone - each_base + len(work.ids) * (each_base + n_samples * each_sample))


def passes_flops(model: Model, work: Work) -> int:
    """What task A needs by whole passes, one without an ablation and one a head.

    Args:
        model: The model.
        work: What is asked; sampled heads are scaled to all of them.

    Returns:
        As `sweep_flops`.
    """
    net, one = stock(model, "sdpa"), on_device(model, work.ids[:1])
    with torch.inference_mode():
        each = counted_flops(lambda: net(one, use_cache=False))
    return each * len(work.ids) * (1 + round(work.scale * len(work.heads)))
