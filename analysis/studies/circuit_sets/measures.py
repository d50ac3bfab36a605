"""What sets of heads keep of copying: rises of the loss, and shares of what all heads gain."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from analysis.questions.verdicts.judgement import Evidence

from .conditions import ALL, ALONE, BUT_ONE, CIRCUIT, PATH
from .question import SCOPES

Names = tuple[str, ...]


@dataclass(frozen=True)
class SetRises:
    """Rises of the loss on the second copy, nats per token, on the sequences that judge."""

    of: dict[str, Float[np.ndarray, "set sequence"]]
    """By family; of one without sets none."""
    kept: dict[str, list[Names]]
    """Heads that are kept or, of families that replace a set alone, those of the set."""
    n_heads: int
    """Of the model."""

    def share(self, rise: Float[np.ndarray, " sequence"]) -> Float[np.ndarray, " sequence"]:
        """What is kept of the gain, nats per token: the rise with all heads replaced minus it."""
        return self.of[ALL][0] - rise

    def without(self, head: str) -> Float[np.ndarray, " sequence"]:
        """The rise with the circuit kept but for one of its heads."""
        circuit = set(self.kept[CIRCUIT][0])
        place = [set(kept) for kept in self.kept[BUT_ONE]].index(circuit - {head})
        return self.of[BUT_ONE][place]

    @property
    def one_more(self) -> Float[np.ndarray, " sequence"]:
        """The rise with the circuit kept and the head that was cut from it last."""
        size = len(self.kept[CIRCUIT][0])
        larger = [i for i, kept in enumerate(self.kept[PATH]) if len(kept) > size]
        nearest = min(larger, key=lambda i: len(self.kept[PATH][i]), default=None)
        none = np.zeros_like(self.of[ALL][0])
        return none if nearest is None else self.of[PATH][nearest]


def rises(answer: Evidence, scope: str = SCOPES[0]) -> SetRises:
    """What an answer of `CircuitSets` measured.

    Args:
        answer: The answer.
        scope: Where the loss is measured.

    Returns:
        Rises by family, in the order of the store.
    """
    rows = answer["ablation_effects"].filter(scope=scope).sort("condition", "sequence")
    changes = {
        str(name): part["loss_change"].to_numpy()
        for (name,), part in rows.partition_by("condition", as_dict=True).items()
    }
    asked = answer["ablations"].select("family", "condition", "heads").sort("condition")
    every = asked.filter(family=ALL)["heads"].item().split(",")
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    kept: dict[str, list[Names]] = defaultdict(list)
    for family, condition, heads in asked.iter_rows():
        replaced = set((heads or "").split(","))
        kept[family].append(tuple(h for h in every if (h in replaced) == (family in ALONE)))
        found[family].append(changes[condition])
    n = len(changes[next(iter(changes))])
    arrays = {name: np.array(each) for name, each in found.items()}
    return SetRises(defaultdict(lambda: np.empty((0, n)), arrays), kept, len(every))
