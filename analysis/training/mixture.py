"""Training rows of the reference model: prose, generated English, records, lists shown again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor

from analysis.text import english, records, words
from analysis.text.repeats import log_uniform, shown_again


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with rows of one length and one mixture."""

    share: float
    """Of all steps, in (0, 1]."""
    n_rows: int
    n_tokens: int
    mixture: dict[str, float]
    """Weights of the kinds of rows: prose, english, records, repeats; and gifts and records with
    invented names of people and states."""


PHASES = (
    Phase(
        share=0.203,
        n_rows=32,
        n_tokens=64,
        mixture={"prose": 0.4, "repeats": 0.6},
    ),
    Phase(
        share=0.175,
        n_rows=16,
        n_tokens=256,
        mixture={"prose": 0.25, "english": 0.2, "records": 0.3, "repeats": 0.25},
    ),
    Phase(
        share=0.322,
        n_rows=8,
        n_tokens=512,
        mixture={"prose": 0.15, "english": 0.3, "records": 0.35, "repeats": 0.2},
    ),
    Phase(
        share=0.05,
        n_rows=8,
        n_tokens=512,
        mixture={"prose": 0.1, "english": 0.3, "records": 0.4, "repeats": 0.2},
    ),
    Phase(
        share=0.25,
        n_rows=8,
        n_tokens=512,
        mixture={
            "prose": 0.1,
            "english": 0.2,
            "invented gifts": 0.1,
            "records": 0.2,
            "invented records": 0.2,
            "repeats": 0.2,
        },
    ),
)
"""Short rows first, with prose from the first step: otherwise fixed-lag heads form instead."""


def phase_at(step: int, n_steps: int) -> Phase:
    """The phase that a step belongs to."""
    edge = 0.0
    for phase in PHASES[:-1]:
        edge += phase.share * n_steps
        if step < round(edge):
            return phase
    return PHASES[-1]


@dataclass(frozen=True)
class Mixture:
    """Draws training batches; the same seed and step give the same batch."""

    tokenizer: Tokenizer
    prose: Sequence[int]
    """Token ids of the training share of the corpus."""
    seed: int
    n_steps: int

    def batch(self, step: int) -> Int[Tensor, "batch pos"]:
        """Rows of `<bos>` and `n_tokens` tokens, so that every row gives `n_tokens` losses."""
        phase = phase_at(step, self.n_steps)
        rng = Random(f"{self.seed}/{step}")
        draw: dict[str, Callable[[Random, int], list[int]]] = {
            "prose": self._prose,
            "english": self._english,
            "invented gifts": self._invented_gifts,
            "records": self._records,
            "invented records": partial(self._records, states=words.INVENTED),
            "repeats": self._repeats,
        }
        kinds = rng.choices(list(phase.mixture), list(phase.mixture.values()), k=phase.n_rows)
        rows = [[0, *draw[kind](rng, phase.n_tokens)] for kind in kinds]
        return torch.tensor(rows)

    def _prose(self, rng: Random, length: int) -> list[int]:
        start = rng.randrange(len(self.prose) - length)
        return list(self.prose[start : start + length])

    def _english(self, rng: Random, length: int) -> list[int]:
        row: list[int] = []
        while len(row) < length:
            row += self.tokenizer.encode(english.paragraph(rng)).ids
        return row[:length]

    def _invented_gifts(self, rng: Random, length: int) -> list[int]:
        row: list[int] = []
        while len(row) < length:
            gift = english.gift_among(rng, english.Split.TRAIN, words.INVENTED)
            row += self.tokenizer.encode(f"{gift.text}.\n").ids
        return row[:length]

    def _records(self, rng: Random, length: int, states: Sequence[str] = words.STATES) -> list[int]:
        row: list[int] = []
        while len(row) < length:
            room = length - len(row)
            n_records = min(rng.randrange(1, 6), 1 + room // 90)
            n_filler = rng.randrange(1 + max(0, room - 80 * n_records) // 20)
            n_questions = rng.randrange(2, 4 * n_records + 1)
            text = records.document(rng, n_records, n_filler, n_questions, states)
            row += self.tokenizer.encode(text).ids
        return row[:length]

    def _repeats(self, rng: Random, length: int) -> list[int]:
        n = log_uniform(rng, 8, max(30, length // 2))
        kind = rng.random()
        if kind < 0.25:
            block = [rng.randrange(1, self.tokenizer.get_vocab_size()) for _ in range(n)]
        elif kind < 0.75:
            block = rng.sample(self._prose(rng, n), n)
        else:
            pool = (
                *words.OBJECTS,
                *words.NAMES,
                *words.HELD_OUT_NAMES,
                *words.PLACES,
                *words.STATES,
                *words.HELD_OUT_STATES,
            )
            joint = rng.choice((" ", ", "))
            text = joint.join(rng.choices(pool, k=1 + n // len(joint)))
            block = self.tokenizer.encode(" " + text + joint.rstrip()).ids
        return shown_again(rng, block, length)
