"""A coordinate of the residual stream that dwarfs all others hides none of them."""

import torch
from torch import nn

from analysis.interventions.direct import frozen
from analysis.interventions.heads import Head, every_name
from analysis.models.parts.anatomy import _multiple

HUGE = 1e18


def stream() -> torch.Tensor:
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    x[..., 3] = HUGE
    return x


def test_tensors_that_share_the_largest_coordinate_alone_are_not_the_same():
    x = stream()
    assert _multiple(x, 3 * x)
    other = x.clone()
    other[..., 0] += 1
    assert not _multiple(x, other)


def test_a_frozen_norm_reads_what_the_norm_answers():
    norm = nn.RMSNorm(8)
    nn.init.constant_(norm.weight, HUGE / 8**0.5)
    x = stream()
    directions = torch.randn(3, 2, 5, 8, generator=torch.Generator().manual_seed(1))
    directions[..., 3] = 0
    with torch.no_grad():
        found = (frozen(norm, x, directions) * x).sum(-1)
        torch.testing.assert_close(found, (directions * norm(x)).sum(-1), rtol=1e-4, atol=1e-4)


def test_neighbours_are_named_together():
    heads = [Head(1, 4), Head(0, 2), Head(0, 3), Head(0, 4), Head(1, 2), Head(2, 3)]
    assert every_name(heads) == "L0H2-4, L1H2, L1H4, L2H3"
    assert every_name([]) == ""
