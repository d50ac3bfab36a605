"""From interventions to taps of the one attention function: the slow, plain way to apply them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.attention import Edit, Site, Taps, Where
from analysis.errors import UserError
from analysis.interventions.kinds import Intervention, Method, Needs
from analysis.interventions.stand_ins import Means, StandIns

_ATTENDING = {Site.SCORES, Site.PATTERN}
"""Acting at either takes both: what is visible is known by the scores alone."""


@dataclass(frozen=True)
class Block:
    """Rows of a batch, and what is done to them."""

    rows: slice
    """With a start and a stop."""
    interventions: tuple[Intervention, ...]
    donors: slice
    """Rows of `StandIns.donors` that stand in for them, as many."""


def taps(interventions: Sequence[Intervention], stand_ins: StandIns, n_rows: int) -> Taps:
    """What applies some interventions together to every row of a batch.

    Args:
        interventions: Checked against the model before; none changes nothing.
        stand_ins: What methods put in that need means or donors.
        n_rows: Rows of the batch.

    Returns:
        Taps for one call of the model on such a batch. They raise a `UserError` there if a
        stand-in that a method needs is missing or does not fit.
    """
    rows = slice(0, n_rows)
    return block_taps([Block(rows, tuple(interventions), rows)], stand_ins)


def block_taps(blocks: Sequence[Block], stand_ins: StandIns) -> Taps:
    """The same for a batch whose blocks of rows have interventions of their own."""
    work = _Work(blocks, stand_ins)
    wanted = [one for block in blocks for one in block.interventions]
    sites = {one.method.site for one in wanted if one.heads and one.positions != ()}
    edits: dict[Site, Edit] = {site: work.replacing(site) for site in sites & {Site.Z, Site.V}}
    if sites & _ATTENDING:
        edits[Site.SCORES], edits[Site.PATTERN] = work.edit_scores, work.edit_pattern
    return Taps(edits=edits)


@dataclass(frozen=True)
class _Work:
    """The edits of one call."""

    blocks: Sequence[Block]
    stand_ins: StandIns
    visible: dict[int, Bool[Tensor, "batch head query key"]] = field(
        default_factory=dict[int, Tensor]
    )
    """By first row of the chunk at hand: from its scores to its pattern."""

    def replacing(self, site: Site) -> Edit:
        """What puts stand-ins in the place of z, or of values."""

        def edit(
            where: Where, tensor: Float[Tensor, "batch head pos d_head"]
        ) -> Float[Tensor, "batch head pos d_head"]:
            edited = tensor
            for one, rows, donors in self._at(where, {site}):
                edited = tensor.clone() if edited is tensor else edited
                heads, positions = _index(one, where.layer, tensor)
                new = self._stand_in(one, where.layer, tensor[rows], donors)
                edited[rows][:, heads[:, None], positions] = new
            return edited

        return edit

    def _stand_in(
        self, one: Intervention, layer: int, tensor: Tensor, donors: slice
    ) -> Float[Tensor, "*batch head position d_head"] | float:
        """What replaces z or values of one intervention's heads and positions."""
        if one.method.needs is Needs.NOTHING:
            return 0.0
        heads, positions = _index(one, layer, tensor)
        if one.method.needs is Needs.MEANS:
            average = _mean(self.stand_ins.means, tensor.shape[2])
            own = (average.z if one.method.at_z else average.v)[layer, ..., : tensor.shape[-1]]
            return _at_positions(own, heads, positions).to(tensor.dtype)
        every = self.stand_ins.donors
        given = None if every is None or layer >= len(every) else every[layer, donors]
        if given is not None:  # other layers may have more heads, or wider ones
            given = given[:, : tensor.shape[1], :, : tensor.shape[3]]
        if given is None or given.shape != tensor.shape:
            found = "none" if given is None else f"some of shape {tuple(given.shape)}"
            raise UserError(
                f"expected donors of shape {tuple(tensor.shape)} to resample layer {layer}, got "
                f"{found}; read them from a derangement of the same sequences"
            )
        return given[:, heads[:, None], positions].to(tensor.dtype)

    def edit_scores(
        self, where: Where, scores: Float[Tensor, "batch head query key"]
    ) -> Float[Tensor, "batch head query key"]:
        """Note what is visible; hide masked keys."""
        hidden = torch.finfo(scores.dtype).min
        visible, edited = scores > hidden / 2, scores
        for one, rows, _ in self._at(where, {Site.SCORES}):
            edited = edited.clone() if edited is scores else edited
            heads, keys = _index(one, where.layer, scores.transpose(-1, -2))
            for tensor, masked in ((visible, False), (edited, hidden)):
                tensor[rows].transpose(-1, -2)[:, heads[:, None], keys] = masked
        self.visible[where.rows.start] = visible
        return edited

    def edit_pattern(
        self, where: Where, pattern: Float[Tensor, "batch head query key"]
    ) -> Float[Tensor, "batch head query key"]:
        """Make patterns uniform; a query that masking left without a key attends to nothing."""
        visible, edited = self.visible.pop(where.rows.start), pattern
        for one, rows, _ in self._at(where, _ATTENDING):
            edited = edited.clone() if edited is pattern else edited
            heads, queries = _index(one, where.layer, pattern)
            if one.method is Method.UNIFORM:
                seen = visible[rows][:, heads[:, None], queries].to(pattern.dtype)
                share = seen / seen.sum(-1, keepdim=True).clamp(min=1)
                edited[rows][:, heads[:, None], queries] = share
            else:
                edited[rows][:, heads] *= visible[rows][:, heads]
        return edited

    def _at(
        self, where: Where, sites: Collection[Site]
    ) -> Iterator[tuple[Intervention, slice, slice]]:
        """Interventions at some sites here, their rows in the chunk at hand, and these' donors."""
        for block in self.blocks:
            start = max(block.rows.start, where.rows.start)
            stop = min(block.rows.stop, where.rows.stop)
            if start >= stop:
                continue
            rows = slice(start - where.rows.start, stop - where.rows.start)
            shift = block.donors.start - block.rows.start
            for one in block.interventions:
                if one.method.site in sites and one.in_layer(where.layer):
                    yield one, rows, slice(start + shift, stop + shift)


def _index(one: Intervention, layer: int, tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Heads and positions (axes 1 and 2 of the tensor) as indices."""
    positions = range(tensor.shape[2]) if one.positions is None else one.positions
    device = tensor.device
    heads = torch.tensor(one.in_layer(layer), device=device)
    return heads, torch.tensor(list(positions), device=device, dtype=torch.long)


def _mean(average: Means | None, n_pos: int) -> Means:
    """The reference means, if there are any and they cover the positions."""
    if average is None:
        raise UserError(
            "expected a reference set for the mean, got none; compute `means` of one first"
        )
    known = average.z.shape[1]
    if known != 1 and known < n_pos:
        raise UserError(
            f"expected a reference set of at least {n_pos} positions, got {known}; "
            "use longer sequences or a pooled mean"
        )
    return average


def _at_positions(
    average: Float[Tensor, "pos head d_head"],
    heads: Int[Tensor, " some_heads"],
    positions: Int[Tensor, " some_positions"],
) -> Float[Tensor, "some_heads some_positions d_head"]:
    """Means of some heads at some positions; a pooled mean is the same everywhere."""
    where = positions if average.shape[0] > 1 else torch.zeros_like(positions)
    return average[where[None, :], heads[:, None]]
