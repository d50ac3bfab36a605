"""Training rows of the reference model: prose, generated English, records, lists shown again."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from random import Random

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from analysis.text import english, records, words
from analysis.text.repeats import log_uniform, shown_again


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with rows of one length and one mixture."""

    share: float
    """Of all steps, in (0, 1]."""
    mixture: dict[str, float]
    """Weights of the kinds of rows: prose, english, records, repeats; gifts and records with
    invented names of people and states; gifts, records and lists in many more wordings; gifts and
    records whose people and states are any words of the vocabulary; such records of firms that are
    called alike; and lists and questions among any words."""
    n_rows: int = 8
    n_tokens: int = 512
    answer_weight: float = 1.0
    """How much more than other tokens those count that answer a question or name a receiver."""


PHASES = (
    Phase(share=2.03 / 19.5, mixture={"prose": 0.4, "repeats": 0.6}, n_rows=32, n_tokens=64),
    Phase(
        share=1.75 / 19.5,
        mixture={"prose": 0.25, "english": 0.2, "records": 0.3, "repeats": 0.25},
        n_rows=16,
        n_tokens=256,
    ),
    Phase(
        share=3.22 / 19.5,
        mixture={"prose": 0.15, "english": 0.3, "records": 0.35, "repeats": 0.2},
    ),
    Phase(
        share=0.5 / 19.5,
        mixture={"prose": 0.1, "english": 0.3, "records": 0.4, "repeats": 0.2},
    ),
    Phase(
        share=2.5 / 19.5,
        mixture={
            "prose": 0.1,
            "english": 0.2,
            "invented gifts": 0.1,
            "records": 0.2,
            "invented records": 0.2,
            "repeats": 0.2,
        },
    ),
    Phase(
        share=4 / 19.5,
        mixture={
            "prose": 0.1,
            "english": 0.1,
            "varied gifts": 0.1,
            "varied lists": 0.1,
            "records": 0.1,
            "varied records": 0.35,
            "repeats": 0.15,
        },
        answer_weight=4.0,
    ),
    Phase(
        share=2.4 / 19.5,
        mixture={
            "prose": 0.1,
            "english": 0.1,
            "any gifts": 0.15,
            "varied lists": 0.1,
            "records": 0.1,
            "any records": 0.3,
            "repeats": 0.15,
        },
        answer_weight=4.0,
    ),
    Phase(
        share=1.1 / 19.5,
        mixture={
            "prose": 0.1,
            "english": 0.1,
            "any gifts": 0.05,
            "varied lists": 0.1,
            "records": 0.15,
            "any records": 0.2,
            "alike records": 0.2,
            "repeats": 0.1,
        },
        answer_weight=6.0,
    ),
    Phase(
        share=2 / 19.5,
        mixture={
            "prose": 0.1,
            "english": 0.1,
            "any gifts": 0.05,
            "varied lists": 0.05,
            "any lists": 0.1,
            "records": 0.1,
            "any records": 0.1,
            "alike records": 0.2,
            "worded records": 0.1,
            "repeats": 0.1,
        },
        answer_weight=6.0,
    ),
)
"""Short rows first, with prose from the first step: otherwise fixed-lag heads form instead."""


NUMBERS = ("year of incorporation", "employees")
"""Facts whose values take several tokens to copy."""


def phase_at(step: int, n_steps: int) -> Phase:
    """The phase that a step belongs to."""
    edge = 0.0
    for phase in PHASES[:-1]:
        edge += phase.share * n_steps
        if step < round(edge):
            return phase
    return PHASES[-1]


Row = list[tuple[int, bool]]
"""Tokens, and whether each answers something."""


@dataclass(frozen=True)
class Batch:
    """Rows to train on."""

    tokens: Int[Tensor, "batch pos"]
    weights: Float[Tensor, "batch pos_minus_1"]
    """How much the loss on each token but the first counts."""


@dataclass(frozen=True)
class Mixture:
    """Draws training batches; the same seed and step give the same batch."""

    tokenizer: Tokenizer
    prose: Sequence[int]
    """Token ids of the training share of the corpus."""
    seed: int
    n_steps: int

    def batch(self, step: int) -> Batch:
        """Rows of `<bos>` and `n_tokens` tokens, so that every row gives `n_tokens` losses."""
        phase = phase_at(step, self.n_steps)
        rng = Random(f"{self.seed}/{step}")
        draw: dict[str, Callable[[Random, int], Row]] = {
            "prose": self._prose,
            "english": self._english,
            "invented gifts": self._invented_gifts,
            "varied gifts": self._varied_gifts,
            "varied lists": self._varied_lists,
            "records": partial(self._records, variety=records.PLAIN),
            "invented records": partial(self._records, variety=records.INVENTED),
            "varied records": partial(self._records, variety=records.VARIED),
            "any gifts": self._any_gifts,
            "any lists": self._any_lists,
            "any records": partial(self._any_records, alike=0.0, wording=()),
            "alike records": partial(self._any_records, alike=1.0, wording=()),
            "worded records": partial(self._any_records, alike=0.5, wording=self._words),
            "repeats": self._repeats,
        }
        kinds = rng.choices(list(phase.mixture), list(phase.mixture.values()), k=phase.n_rows)
        rows = [draw[kind](rng, phase.n_tokens) for kind in kinds]
        tokens = torch.tensor([[0, *(token for token, _ in row)] for row in rows])
        answers = torch.tensor([[answer for _, answer in row] for row in rows])
        return Batch(tokens, 1 + (phase.answer_weight - 1) * answers)

    def _prose(self, rng: Random, length: int) -> Row:
        return self._plain(self._excerpt(rng, length))

    def _excerpt(self, rng: Random, length: int) -> list[int]:
        start = rng.randrange(len(self.prose) - length)
        return list(self.prose[start : start + length])

    def _plain(self, ids: Sequence[int]) -> Row:
        return [(token, False) for token in ids]

    def _encoded(self, pieces: Sequence[tuple[str, bool]]) -> Row:
        return [(token, is_answer) for text, is_answer in pieces for token in self._ids(text)]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).ids

    def _english(self, rng: Random, length: int) -> Row:
        return _filled(length, lambda: self._plain(self._ids(english.paragraph(rng))))

    def _invented_gifts(self, rng: Random, length: int) -> Row:
        return _filled(length, lambda: self._gift(_gift_among(rng, words.INVENTED)))

    def _varied_gifts(self, rng: Random, length: int) -> Row:
        return _filled(length, lambda: self._gift(english.varied_gift(rng, words.INVENTED)))

    def _any_gifts(self, rng: Random, length: int) -> Row:
        def gift() -> english.Gift:
            one_kind = _gift_among if rng.random() < 0.3 else english.varied_gift
            return one_kind(rng, self._words)

        return _filled(length, lambda: self._gift(gift()))

    def _any_records(self, rng: Random, length: int, alike: float, wording: Sequence[str]) -> Row:
        variety = replace(
            records.VARIED, states=self._words, always=NUMBERS, alike=alike, wording=wording
        )
        return self._records(rng, length, variety)

    def _any_lists(self, rng: Random, length: int) -> Row:
        def some() -> Row:
            said = rng.choices(self._words, k=rng.randrange(1, 7))
            first, *others = english.items(rng, *_sequence(rng))
            opening = " ".join(said) + rng.choice((": ", " ", ", ", ". ")) + first
            pieces = [(f", {item}", True) for item in others]
            return self._encoded([(opening, False), *pieces, (".\n", False)])

        return _filled(length, some)

    @cached_property
    def _words(self) -> tuple[str, ...]:
        """Every word that is one token, but for those that evaluations ask about."""
        vocabulary = sorted(self.tokenizer.get_vocab().values())
        decoded = [self.tokenizer.decode([token]) for token in vocabulary]
        kept = [text[1:] for text in decoded if re.fullmatch(r" [A-Za-z][a-z]{2,}", text)]
        held_out = {*words.HELD_OUT_NAMES, *words.HELD_OUT_STATES}
        return tuple(word for word in kept if word not in held_out)

    def _varied_lists(self, rng: Random, length: int) -> Row:
        def some() -> str:
            return english.varied_list(rng, *_sequence(rng)) + ".\n"

        return _filled(length, lambda: self._plain(self._ids(some())))

    def _gift(self, gift: english.Gift) -> Row:
        return self._encoded([(gift.prompt, False), (f" {gift.io}", True), (".\n", False)])

    def _records(self, rng: Random, length: int, variety: records.Variety) -> Row:
        row: Row = []
        while len(row) < length:
            room = length - len(row)
            n_records = min(rng.randrange(1, 6), 1 + room // 90)
            n_filler = rng.randrange(1 + max(0, room - 80 * n_records) // 20)
            n_questions = rng.randrange(2, 4 * n_records + 1)
            row += self._encoded(records.document(rng, n_records, n_filler, n_questions, variety))
        return row[:length]

    def _repeats(self, rng: Random, length: int) -> Row:
        n = log_uniform(rng, 8, max(30, length // 2))
        kind = rng.random()
        if kind < 0.25:
            block = [rng.randrange(1, self.tokenizer.get_vocab_size()) for _ in range(n)]
        elif kind < 0.75:
            block = rng.sample(self._excerpt(rng, n), n)
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
        return self._plain(shown_again(rng, block, length))


def _filled(length: int, some: Callable[[], Row]) -> Row:
    """A row of one thing after the other."""
    row: Row = []
    while len(row) < length:
        row += some()
    return row[:length]


def _gift_among(rng: Random, people: Sequence[str]) -> english.Gift:
    return english.gift_among(rng, english.Split.TRAIN, people)


def _sequence(rng: Random) -> tuple[str, int]:
    """A kind of list, and how many items it has."""
    kind = rng.choice(tuple(words.SEQUENCES))
    return kind, rng.randrange(3, 1 + min(len(words.SEQUENCES[kind]) + 3, 20))
