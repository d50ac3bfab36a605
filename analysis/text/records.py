"""Company filings with facts, and questions whose answers are copied from the right filing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from . import words
from .english import Split

FACTS = ("state of incorporation", "year of incorporation", "employees", "headquarters")
"""The four facts that an evaluation asks about."""
OTHER_FACTS = ("auditor", "main product", "home town")
"""Facts of training alone: what is copied must not be one short list of values."""
_NUMBERS = {"year of incorporation": range(1850, 2000), "employees": range(100, 10_000)}

STATEMENTS = {
    "state of incorporation": (
        "{firm} was incorporated in the state of {value}.",
        "State of incorporation of {firm}: {value}.",
    ),
    "year of incorporation": (
        "{firm} was incorporated in the year {value}.",
        "Year of incorporation of {firm}: {value}.",
    ),
    "employees": (
        "The number of employees of {firm} is {value}.",
        "Employees of {firm}: {value}.",
    ),
    "headquarters": (
        "{firm} has its headquarters in {value}.",
        "Headquarters of {firm}: {value}.",
    ),
    "auditor": ("The auditor of {firm} is {value}.", "Auditor of {firm}: {value}."),
    "main product": ("The main product of {firm} is {value}.", "Main product of {firm}: {value}."),
    "home town": ("The home town of {firm} is {value}.", "Home town of {firm}: {value}."),
}
QUESTIONS = {
    Split.TRAIN: {
        "state of incorporation": (
            "What is the state of incorporation of {firm}?",
            "In which state was {firm} incorporated?",
            "Which state was {firm} incorporated in?",
            "Name the state of incorporation of {firm}.",
            "{firm}: state of incorporation?",
        ),
        "year of incorporation": (
            "What is the year of incorporation of {firm}?",
            "In which year was {firm} incorporated?",
            "When was {firm} incorporated?",
            "Name the year of incorporation of {firm}.",
            "{firm}: year of incorporation?",
        ),
        "employees": (
            "What is the number of employees of {firm}?",
            "How many employees has {firm}?",
            "How many people work for {firm}?",
            "Name the number of employees of {firm}.",
            "{firm}: number of employees?",
        ),
        "headquarters": (
            "What is the headquarters state of {firm}?",
            "Where are the headquarters of {firm}?",
            "Which state does {firm} have its headquarters in?",
            "Name the headquarters state of {firm}.",
            "{firm}: headquarters state?",
        ),
        "auditor": (
            "What is the auditor of {firm}?",
            "Which auditor has {firm}?",
            "{firm}: auditor?",
        ),
        "main product": (
            "What is the main product of {firm}?",
            "Which main product has {firm}?",
            "{firm}: main product?",
        ),
        "home town": (
            "What is the home town of {firm}?",
            "Which home town has {firm}?",
            "{firm}: home town?",
        ),
    },
    Split.TEST: {
        "state of incorporation": ("Which state of incorporation has {firm}?",),
        "year of incorporation": ("Which year of incorporation has {firm}?",),
        "employees": ("Which number of employees has {firm}?",),
        "headquarters": ("Which headquarters state has {firm}?",),
    },
}
_ASKED = (
    "Give the {fact} of {{firm}}.",
    "Tell me the {fact} of {{firm}}.",
    "What {fact} does {{firm}} have?",
    "Of {{firm}}, what is the {fact}?",
    "Look up the {fact} of {{firm}}.",
    "The {fact} of {{firm}}, please.",
    "{{firm}} has what {fact}?",
    "For {{firm}}, name the {fact}.",
    "I want to know the {fact} of {{firm}}.",
    "Can you find the {fact} of {{firm}}?",
)
_CALLED = {
    **{fact: fact for fact in (*FACTS, *OTHER_FACTS)},
    "employees": "number of employees",
    "headquarters": "headquarters state",
}


@dataclass(frozen=True, kw_only=True)
class Variety:
    """What training filings say, and how they are asked about."""

    states: Sequence[str]
    questions: Mapping[str, Sequence[str]]
    """Templates by fact."""
    always: Sequence[str] = ()
    """Facts that every filing states, beside others at random."""
    alike: float = 0.0
    """Share of contexts whose firms begin with the same letters and have two trades among them, so
    that only whole names tell them apart."""
    wording: Sequence[str] = ()
    """Words that questions are made of, around fact and firm; without any, templates are used."""


PLAIN = Variety(states=words.STATES, questions=QUESTIONS[Split.TRAIN])
INVENTED = Variety(states=words.INVENTED, questions=QUESTIONS[Split.TRAIN])
VARIED = Variety(
    states=words.INVENTED,
    questions={
        fact: (*templates, *(asked.format(fact=_CALLED[fact]) for asked in _ASKED))
        for fact, templates in QUESTIONS[Split.TRAIN].items()
    },
)
"""Ten more ways to ask, none of them a test template."""

FILLER = (
    "The board met in {month} and approved the plan.",
    "The company sells {object}s and {object2}s.",
    "Sales were {adjective} in {month}.",
    "A new office near the {place} opened on {day}.",
    "The report was signed by {name}.",
    "No dividend was paid in {month}.",
    "Its main store is beside the {place}.",
    "{name} joined the board on {day}.",
    "The price of a {adjective} {object} rose in {month}.",
    "Visitors may see the {object} at the {place}.",
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about one filing of a context, with its answer's place in it."""

    context: str
    question: str
    """`Question: ... Answer:`, without the space before the answer."""
    answer: str
    answer_span: tuple[int, int]
    """Start and end of the answer's characters in `context`."""
    fact: str
    wrong: tuple[str, ...]
    """What the other filings of the context answer."""


@cache
def _numbers(fact: str, train: bool) -> list[int]:
    """What training draws from, or testing: multiples of 7."""
    return [number for number in _NUMBERS[fact] if (number % 7 != 0) == train]


def value(rng: Random, split: Split, fact: str, states: Sequence[str] = words.STATES) -> str:
    """A value for a fact; training, with the states given, and test values differ."""
    train = split is Split.TRAIN
    if fact in _NUMBERS:
        return str(rng.choice(_numbers(fact, train)))
    if fact in OTHER_FACTS:
        pool = {"auditor": words.NAMES, "main product": words.OBJECTS, "home town": words.FIRMS}
        return rng.choice(pool[fact])
    return rng.choice(states if train else words.HELD_OUT_STATES)


def filler(rng: Random) -> str:
    """A sentence that no question asks about."""
    thing, other = rng.sample(words.OBJECTS, 2)
    return rng.choice(FILLER).format(
        month=rng.choice(words.MONTHS),
        day=rng.choice(words.WEEKDAYS),
        place=rng.choice(words.PLACES),
        name=rng.choice(words.NAMES),
        adjective=rng.choice(words.ADJECTIVES),
        object=thing,
        object2=other,
    )


def questions(
    rng: Random,
    split: Split,
    n_records: int,
    n_filler: int,
    facts: Sequence[str] = FACTS,
    variety: Variety = PLAIN,
) -> list[Question]:
    """One context of filings in filler, and every question that it answers, shuffled.

    Args:
        rng: Where every choice is drawn from.
        split: Which firms, values and question templates may be used.
        n_records: Filings in the context; their firms differ.
        n_filler: Sentences of filler, spread over the context.
        facts: What every filing states.
        variety: Of what is said in training.

    Returns:
        `len(facts) * n_records` questions about the same context, with exact answer spans.
    """
    train = split is Split.TRAIN
    templates = variety.questions if train else QUESTIONS[split]
    firms = _firms(rng, split, n_records, variety.alike)

    def asked(fact: str) -> str:
        if variety.wording:
            return _worded(rng, fact, variety.wording)
        return rng.choice(templates[fact])

    stated = [
        (firm, fact, value(rng, split, fact, variety.states)) for firm in firms for fact in facts
    ]
    if rng.random() < 0.5:
        rng.shuffle(stated)
    slots = [[filler(rng)] for _ in range(n_filler)]
    pieces: list[list[str]] = [list(fact) for fact in stated]
    for slot in slots:
        pieces.insert(rng.randrange(len(pieces) + 1), slot)
    context = ""
    spans: dict[tuple[str, str], tuple[int, int]] = {}
    for piece in pieces:
        context += " " if context else ""
        if len(piece) == 1:
            context += piece[0]
            continue
        firm, fact, answer = piece
        sentence = rng.choice(STATEMENTS[fact]).format(firm=firm, value=answer)
        start = len(context) + sentence.rindex(answer)
        spans[firm, fact] = (start, start + len(answer))
        context += sentence
    found = [
        Question(
            context=context,
            question=f"Question: {asked(fact).format(firm=firm)} Answer:",
            answer=answer,
            answer_span=spans[firm, fact],
            fact=fact,
            wrong=tuple(v for f, k, v in stated if k == fact and f != firm),
        )
        for firm, fact, answer in stated
    ]
    rng.shuffle(found)
    return found


def _worded(rng: Random, fact: str, wording: Sequence[str]) -> str:
    """A template that names fact and firm among any words, at least two before the first."""
    before, between, after = (
        " ".join(rng.choices(wording, k=rng.randrange(low, low + 3))) for low in (2, 1, 0)
    )
    named = (_CALLED[fact], "{firm}") if rng.random() < 0.5 else ("{firm}", _CALLED[fact])
    return f"{before} {named[0]} {between} {named[1]} {after}".rstrip() + rng.choice("?.")


def _firms(rng: Random, split: Split, n: int, alike: float) -> list[str]:
    """Names of different firms."""
    pool: Sequence[str] = words.FIRMS if split is Split.TRAIN else words.HELD_OUT_FIRMS
    trades: Sequence[str] = words.TRADES
    if alike and rng.random() < alike:
        start = rng.choice(pool)[:2]
        pool = [firm for firm in pool if firm.startswith(start)]
        trades = rng.sample(words.TRADES, 2)
    return [f"{first} {rng.choice(trades)}" for first in rng.sample(pool, n)]


def document(
    rng: Random,
    n_records: int,
    n_filler: int,
    n_questions: int,
    variety: Variety = PLAIN,
) -> list[tuple[str, bool]]:
    """A context with several questions and answers after it, for training.

    Returns:
        Its text in pieces, and whether each is an answer.
    """
    drawn = rng.sample((*FACTS, *OTHER_FACTS), k=rng.randrange(2, 7))
    facts = tuple(dict.fromkeys((*variety.always, *drawn)))
    asked = questions(rng, Split.TRAIN, n_records, n_filler, facts, variety)[:n_questions]
    pieces = [(asked[0].context + "\n", False)]
    for item in asked:
        pieces += [(item.question, False), (f" {item.answer}.", True), ("\n", False)]
    return pieces
