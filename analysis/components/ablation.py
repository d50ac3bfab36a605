"""Ablation of components at single tokens, in three modes, each under its own masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch
from jaxtyping import Int
from torch import Tensor

from analysis.attention import Site
from analysis.errors import UserError
from analysis.models.files.card import ModelCard
from analysis.models.load import Model

from .adversary import Ascent, Search, Sources, worst_masks
from .decomposed import Cut, Decomposition, Mask, Masks, with_cuts
from .losses import Importances

SITES = {
    "q_proj": Site.Q,
    "k_proj": Site.K,
    "v_proj": Site.V,
    "o_proj": Site.Z,
}
"""What a decomposed layer writes or reads, by the last part of its name."""
LAGS = {Site.Q: 0, Site.K: 1, Site.V: 1, Site.Z: 0}
"""How far before t a component is ablated: queries look from t, at keys and values of t - 1."""
ASCENT = Ascent(n_steps=50, step=0.01)
"""Of the adversary that ablations are made under."""


class Mode(Enum):
    """What all other components are while one is ablated. No default: the choice is the science."""

    DETERMINISTIC = "deterministic"
    """All masks 1, with the remainder: the baseline is the target itself."""

    STOCHASTIC = "stochastic"
    """Masks between importance and 1, drawn at random; both arms share each draw."""

    STOCHASTIC_APART = "stochastic_apart"
    """The same with a draw for each arm, which is noisier: there to be compared with."""

    STOCHASTIC_CI = "stochastic_ci"
    """As published: the component's importance is 0 and its mask then random, not 0."""

    ADVERSARIAL = "adversarial"
    """Masks between importance and 1, chosen to do harm in each arm."""


@dataclass(frozen=True, order=True)
class Part:
    """One component of a layer."""

    layer: str
    component: int

    def __str__(self) -> str:
        """As `h.1.attn.q_proj:12`."""
        return f"{self.layer}:{self.component}"

    @property
    def site(self) -> Site:
        """What its layer computes.

        Raises:
            UserError: The layer is not a projection of queries, keys, values or outputs.
        """
        name = self.layer.rsplit(".", 1)[-1]
        if name not in SITES:
            raise UserError(
                f"expected a component of {', '.join(SITES)}, got {self}; only those of attention "
                "are ablated at a token"
            )
        return SITES[name]

    @property
    def lag(self) -> int:
        """How far before t it is ablated."""
        return LAGS[self.site]


def parse_parts(text: str, decomposition: Decomposition) -> tuple[Part, ...]:
    """Components out of `h.1.attn.q_proj:12,h.1.attn.k_proj:7`.

    Raises:
        UserError: One is written otherwise, or does not exist.
    """
    return tuple(_parse(each.strip(), decomposition) for each in text.split(","))


def _parse(text: str, decomposition: Decomposition) -> Part:
    layer, _, index = text.rpartition(":")
    if not layer or not index.isdigit():
        raise UserError(f"expected components as h.1.attn.q_proj:12, got {text!r}; write them so")
    known = decomposition.components.get(layer)
    if known is None or int(index) >= known.n:
        found = "no such layer" if known is None else f"components 0 to {known.n - 1}"
        raise UserError(
            f"expected a component of the decomposition, got {text}: {found}; decomposed are "
            f"{', '.join(decomposition.components)}"
        )
    return Part(layer, int(index))


def rows_of(heads: Iterable[int], site: Site, card: ModelCard) -> Tensor:
    """Which outputs of a projection belong to some heads.

    Args:
        heads: Query heads.
        site: Q, or K or V, whose rows belong to the key-value heads that these heads read.
        card: The model's sizes.

    Returns:
        Bool (d_out,).

    Raises:
        UserError: Rows of the output projection belong to no head.
    """
    if site is Site.Z:
        raise UserError(
            "expected components of q, k or v for single heads, got some of o_proj, whose outputs "
            "belong to no head; ablate them in full"
        )
    n = card.n_heads if site is Site.Q else card.n_kv_heads
    chosen = {head * n // card.n_heads for head in heads}
    every = torch.arange(n).repeat_interleave(card.d_head)
    return torch.isin(every, torch.tensor(sorted(chosen)))


def cuts(
    model: Model,
    parts: Sequence[Part],
    t: Int[Tensor, " batch"],
    n_pos: int,
    heads: Iterable[int] | None,
) -> dict[str, tuple[Cut, ...]]:
    """Components that write nothing at t, or at t - 1 if they are of keys or values.

    Args:
        model: The model.
        parts: Which components.
        t: The position of each sequence; at least 1.
        n_pos: Length of the sequences.
        heads: Query heads that they are cut from; all by default.

    Returns:
        Cuts by layer.
    """
    found: dict[str, tuple[Cut, ...]] = {}
    places = torch.arange(n_pos, device=t.device)
    for part in parts:
        tokens = places == (t - part.lag)[:, None]
        rows = None if heads is None else rows_of(heads, part.site, model.card).to(t.device)
        cut = Cut(part.component, tokens, rows)
        found[part.layer] = (*found.get(part.layer, ()), cut)
    return found


@dataclass(frozen=True)
class Arm:
    """One condition."""

    draws: tuple[Masks, ...]
    """One, or several in the stochastic modes."""
    trajectory: Sequence[float]
    """Of an adversary: divergence from the target in nats a token, at first and after each step."""


@dataclass(frozen=True)
class Arms:
    """Two conditions; the i-th draws of both belong together."""

    base: tuple[Masks, ...]
    ablated: tuple[Masks, ...]
    trajectories: Mapping[str, Sequence[float]]
    """Of an adversary, by arm."""

    @classmethod
    def of(cls, base: Arm, ablated: Arm) -> "Arms":
        """Two arms side by side."""
        arms = {"base": base, "ablated": ablated}
        trajectories = {name: arm.trajectory for name, arm in arms.items() if arm.trajectory}
        return cls(base.draws, ablated.draws, trajectories)


@dataclass(frozen=True)
class Ablation:
    """What is ablated, in which sequences, and under which masks."""

    decomposition: Decomposition
    tokens: Int[Tensor, "batch pos"]
    importances: Importances
    removed: Mapping[str, tuple[Cut, ...]]
    n_draws: int
    """Of masks in stochastic modes; of an adversary's starts, of which the most harmful counts."""
    seed: int

    def arms(self, mode: Mode) -> Arms:
        """Masks of both conditions.

        Args:
            mode: What all other components are.

        Returns:
            One draw of masks, or `n_draws` in the stochastic modes.
        """
        if mode is Mode.ADVERSARIAL:
            return Arms.of(*self.worst({}, self.removed))
        return Arms.of(self.base(mode), self.ablated(mode))

    def base(self, mode: Mode) -> Arm:
        """Masks where nothing is ablated."""
        if mode is Mode.DETERMINISTIC:
            return Arm(({},), ())
        if mode is Mode.ADVERSARIAL:
            return self.worst({})[0]
        return Arm(tuple(each.masks(self.importances) for each in self._sources(0)), ())

    def ablated(self, mode: Mode) -> Arm:
        """Masks where the components are ablated.

        Raises:
            UserError: The mode is of whole components, and some are cut from single heads.
        """
        if mode is Mode.DETERMINISTIC:
            return Arm((self._cut({}),), ())
        if mode is Mode.ADVERSARIAL:
            return self.worst(self.removed)[0]
        sources = self._sources(int(mode is Mode.STOCHASTIC_APART))
        if mode is Mode.STOCHASTIC_CI:
            unimportant = self._unimportant()
            return Arm(tuple(each.masks(unimportant) for each in sources), ())
        return Arm(tuple(self._cut(each.masks(self.importances)) for each in sources), ())

    def _sources(self, batch: int) -> list[Sources]:
        """Random sources; those of a batch are the same whenever they are drawn."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [
            Sources.drawn(self.importances, generator, shared=False)
            for _ in range((batch + 1) * self.n_draws)
        ]
        return drawn[batch * self.n_draws :]

    def _cut(self, masks: Masks) -> dict[str, Mask]:
        return with_cuts(self.decomposition, masks, self.removed)

    def _unimportant(self) -> dict[str, Tensor]:
        """Importances that are 0 where components are cut."""
        found = dict(self.importances)
        for name, removed in self.removed.items():
            found[name] = found[name].clone()
            for cut in removed:
                if cut.rows is not None:
                    raise UserError(
                        "expected whole components in the published mode, got some of single "
                        "heads; importance is of a whole component"
                    )
                found[name][..., cut.component].masked_fill_(cut.tokens, 0.0)
        return found

    def worst(self, *every: Mapping[str, tuple[Cut, ...]]) -> list[Arm]:
        """The masks that do most harm in each of some conditions, and the way there.

        Args:
            *every: What is cut in each condition, none for the base.

        Returns:
            As many arms: the best that is found from any start.
        """
        return worst_arms([replace(self, removed=cut) for cut in every])

    def search(self) -> Search:
        """For the masks that do most harm where the components are ablated."""
        return Search(self.tokens, self.importances, self.removed, self._sources(0))


def worst_arms(conditions: Sequence[Ablation]) -> list[Arm]:
    """The masks that do most harm in each of some conditions, searched for side by side.

    Args:
        conditions: Of one decomposition, with equally many starts.

    Returns:
        As many arms.
    """
    if not conditions:
        return []
    searches = [each.search() for each in conditions]
    found = worst_masks(conditions[0].decomposition, searches, ASCENT)
    return [Arm((masks,), losses) for masks, losses in found]
