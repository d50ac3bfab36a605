"""What is done to a sink: its value or its key removed, from some heads, here or elsewhere."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from analysis.interventions import (
    Condition,
    Head,
    HeadSet,
    Intervention,
    Method,
    StandIns,
    layer_matched_sets,
    random_sets,
    read_z,
)
from analysis.interventions.passes.sweep import Source, on_device
from analysis.models.load import Model

OTHER_HEADS = {
    "layer_matched": "other heads of the same layers",
    "random": "other heads of any layer",
}
"""By family: what the strongest sinks are compared with."""

METHODS = (Method.ZERO_VALUE, Method.MASK_KEY)
"""Whether the value at a position is needed, and whether the attention to it is."""

OTHER_VALUE = "other_value"
"""What `moved` does, as a method: the attention stays, and reads another value."""

BANDS = (1, 16, 64)
"""Where the parts of a sequence start that effects are told of, beside all positions after 0."""


def bands(shape: tuple[int, int]) -> dict[str, Bool[np.ndarray, "sequence pos"]]:
    """Parts of sequences as scopes, by their first and last position, such as `1-15`."""
    places, ends = np.arange(shape[1]), (*BANDS[1:], shape[1])
    parts = [(start, min(end, shape[1])) for start, end in zip(BANDS, ends, strict=True)]
    return {
        f"{start}-{end - 1}": np.broadcast_to((places >= start) & (places < end), shape)
        for start, end in parts
        if start < end
    }


def removed(
    method: Method, position: int, heads: Sequence[Head]
) -> tuple[Intervention, Intervention]:
    """Remove a position from what *later* positions read; it keeps what it reads itself.

    Query 0 sees nothing but key 0, so removing that key from all queries would also change what
    position 0 itself becomes. Giving z at the position back, by a `resample` from the same
    sequence (`Own`), leaves the position's own residual stream as it was, in every layer.

    Args:
        method: `zero_value` or `mask_key`.
        position: The key.
        heads: Query heads.

    Returns:
        Both interventions, to be applied together.
    """
    chosen = tuple(heads)
    own = Intervention(method=Method.RESAMPLE, heads=chosen, positions=(position,))
    return Intervention(method=method, heads=chosen, positions=(position,)), own


class Own(Source):
    """A source whose `resample` gives every sequence back what it read itself."""

    def stand_ins(
        self, model: Model, ids: Int[np.ndarray, "sequence pos"], rows: slice
    ) -> StandIns:
        """Each row's own z."""
        return StandIns(means=self.means, donors=read_z(model, on_device(model, ids[rows])))


OWN = Own(means=None, donor_of=None)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which heads and positions are compared."""

    top: tuple[Head, ...]
    """The strongest sinks, chosen on the even sequences."""
    every: tuple[Head, ...]
    elsewhere: tuple[int, ...]
    """Random positions in the first half, to compare position 0 with."""
    n_draws: int
    """Sets of other heads, at most, and draws of other values."""
    seed: int

    @property
    def _sets(self) -> list[tuple[str, str, HeadSet]]:
        """Heads that the same is done to, by their family and what they are called."""
        single = [("single", str(head), (head,)) for head in self.top]
        return [*single, ("top", "top", self.top), ("all", "all", self.every)]

    def conditions(self) -> list[Condition]:
        """Everything that the sweep applies.

        Families: `single`, `top` and `all` remove position 0 from one, the top or all heads;
        `top_elsewhere` hides a random position instead; `layer_matched`, or else `random`, hides
        position 0 from other heads; `..._and_query_0` also changes what position 0 itself reads.
        """
        found: list[Condition] = []
        for family, who, heads in self._sets:
            for method in METHODS:
                found.append(_condition((method, 0), who, family, heads))
                if family != "single":
                    found.append(_whole(method, who, heads))
        for draw, position in enumerate(self.elsewhere):
            what = (Method.MASK_KEY, position)
            found.append(_condition(what, "top", "top_elsewhere", self.top, draw))
        family, others = self.others()
        for draw, heads in enumerate(others):
            what = (Method.MASK_KEY, 0)
            found.append(_condition(what, f"draw {draw}", family, heads, draw))
        return found

    def other_values(self) -> list[Condition]:
        """The control of every removed value: the same attention on another one.

        Families are those of the removed values, with `_other_value`.
        """
        return [
            Condition(
                name=f"{OTHER_VALUE} 0 of {who}, draw {draw}",
                family=f"{family}_{OTHER_VALUE}",
                interventions=removed(Method.ZERO_VALUE, 0, heads),
                draw=draw,
            )
            for family, who, heads in self._sets
            for draw in range(self.n_draws)
        ]

    def others(self) -> tuple[str, list[HeadSet]]:
        """Random sets of other heads, with as many in each layer as the top ones have.

        Where a layer has too few others, heads are drawn from all layers; a model with a single
        head has none.
        """
        if len(self.every) < 2:
            return "random", []
        top, every = Counter(h.layer for h in self.top), Counter(h.layer for h in self.every)
        if all(2 * n <= every[layer] for layer, n in top.items()):
            matched = layer_matched_sets(self.every, self.top, self.n_draws, self.seed)
            return "layer_matched", matched
        size = len(self.top)
        return "random", random_sets(self.every, self.top, size, self.n_draws, self.seed)


def _condition(
    what: tuple[Method, int],
    who: str,
    family: str,
    heads: tuple[Head, ...],
    draw: int | None = None,
) -> Condition:
    method, position = what
    return Condition(
        name=f"{method.value} {position} of {who}",
        family=family,
        interventions=removed(method, position, heads),
        draw=draw,
    )


def _whole(method: Method, who: str, heads: tuple[Head, ...]) -> Condition:
    """The plain intervention, which changes position 0 itself as well."""
    return Condition(
        name=f"{method.value} 0 of {who}, and query 0",
        family=f"{who}_and_query_0",
        interventions=(Intervention(method=method, heads=heads, positions=(0,)),),
    )
