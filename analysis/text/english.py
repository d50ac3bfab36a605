"""A seeded grammar of plain English: stories, gifts, ordered lists, phrases, code and HTML.

Every function takes the generator that it draws from, so the same seed gives the same text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

from . import words


class Split(Enum):
    """Which templates, names and values a text may use."""

    TRAIN = "train"
    """What the reference model is trained on."""

    TEST = "test"
    """Held out: templates, names and values that training never combines."""


@dataclass(frozen=True, kw_only=True)
class Gift:
    """An indirect-object sentence: two people meet and one gives the other something."""

    text: str
    io: str
    """The receiver, who is the last word of `text`."""
    s: str
    """The giver, named twice."""
    order: str
    """`ABBA` when the receiver is named first, `BABA` when the giver is."""
    template: int
    """Its place among `GIFT_TEMPLATES`; -1 if it was put together."""

    @property
    def prompt(self) -> str:
        """The sentence up to the receiver, without the space before the name."""
        return self.text[: self.text.rindex(f" {self.io}")]


GIFT_TEMPLATES = {
    Split.TRAIN: (
        "When {a} and {b} went to the {place}, {s} gave a {object} to {io}.",
        "After {a} and {b} left the {place}, {s} handed the {object} to {io}.",
        "While {a} and {b} were at the {place}, {s} passed a {adjective} {object} to {io}.",
        "Then {a} and {b} walked to the {place}, and {s} offered a {object} to {io}.",
        "On {day}, {a} and {b} met at the {place}. Then {s} sent the {object} to {io}.",
        "{a} and {b} had lunch at the {place}, and later {s} gave the {adjective} {object} "
        "to {io}.",
        "Because {a} and {b} worked at the {place}, {s} showed the {object} to {io}.",
        "Once {a} and {b} came back from the {place}, {s} returned the {object} to {io}.",
        "At the {place}, {a} and {b} were talking when {s} threw the {object} to {io}.",
        "{a} met {b} at the {place}, and {s} sold a {adjective} {object} to {io}.",
        "Yesterday {a} and {b} visited the {place}. In the end {s} left the {object} to {io}.",
        "{a} and {b} looked for the {object} in the {place} until {s} brought it to {io}.",
        "As soon as {a} and {b} reached the {place}, {s} lent the {adjective} {object} to {io}.",
        "Before {a} and {b} left for the {place}, {s} promised a {object} to {io}.",
        "On {day} {a} sat with {b} in the {place}; {s} read from the {object} to {io}.",
        "It was late, and {a} and {b} were still at the {place}. So {s} carried the {object} to "
        "{io}.",
        "{a} asked {b} to come to the {place}, where {s} pointed out the {object} to {io}.",
        "When the {place} closed, {a} and {b} went home, and {s} mailed a {object} to {io}.",
    ),
    Split.TEST: (
        "When {a} and {b} came to the {place}, {s} handed a {adjective} {object} to {io}.",
        "Then {a} and {b} sat in the {place}, and {s} gave the {object} to {io}.",
        "After {a} and {b} met at the {place} on {day}, {s} sent a {object} to {io}.",
        "While {a} and {b} worked at the {place}, {s} offered the {adjective} {object} to {io}.",
    ),
}

_OPENINGS = (
    "When {a} and {b} {went} the {place}, ",
    "After {a} and {b} {went} the {place}, ",
    "As {a} and {b} {went} the {place}, ",
    "While {a} and {b} {went} the {place}, ",
    "Once {a} and {b} {went} the {place}, ",
    "Because {a} and {b} {went} the {place}, ",
    "{a} and {b} {went} the {place}, and ",
    "{a} and {b} {went} the {place}. Then ",
    "Then {a} and {b} {went} the {place}, and ",
    "On {day} {a} and {b} {went} the {place}; ",
    "In {month}, {a} and {b} {went} the {place}. Later ",
    "One evening {a} and {b} {went} the {place}. There ",
    "It was cold when {a} and {b} {went} the {place}. So ",
    "Nobody knew that {a} and {b} {went} the {place} before ",
    "{a} told {b} about the {place}, and ",
    "{a} saw {b} near the {place} on {day}. ",
    "{a} waited for {b} by the {place} until ",
    "{a} is older than {b}, so ",
    "{a} had a friend, {b}. At the {place}, ",
    "{a}, who {went} the {place}, knew {b} well: ",
)
_WENT = (
    *("ran to", "drove to", "left", "reached", "returned to", "waited at", "stayed in", "ate at"),
    *("hid in", "cleaned", "painted", "walked around", "looked at", "passed", "opened", "found"),
)
_GAVE = (
    *("gave", "handed", "passed", "offered", "sent", "showed", "sold", "lent", "threw", "brought"),
    *("carried", "mailed", "took", "promised", "returned", "rolled", "pushed", "posted"),
)
_GIFTS = (
    *("a {object}", "the {object}", "a {adjective} {object}", "the {adjective} {object}"),
    *("one {object}", "that {object}", "two {object}s", "another {adjective} {object}"),
)

LIST_TEMPLATES = {
    Split.TRAIN: (
        "{items}",
        "The order is {items}",
        "Repeat after me: {items}",
        "She counted aloud: {items}",
        "First {items}",
    ),
    Split.TEST: ("They said them one by one: {items}", "Now listen: {items}", "Say it: {items}"),
}

_LISTS = ("wrote", "sang", "read", "called", "learned", "knew", "named", "drew", "typed", "saw")
_AFTER = (
    "{who} {does}: {items}",
    "{who} {does} {items}",
    "Then {who} {does} this: {items}",
    "What {who} {does} was {items}",
    "Look what {who} {does}! {items}",
    "In order, {who} {does} {items}",
)

SCENES = (
    "{x} went to the {place} on {day}.",
    "{x} found a {adjective} {object} near the {place}.",
    "In {month}, {x} and {y} visited the {place}.",
    "{y} said, \u201cWhere is the {object}?\u201d",
    '"I left it at the {place}," said {x}.',
    '"Do you like the {adjective} {object}?" asked {y}.',
    "The {object} was {adjective}, and {x} was happy to have it.",
    "{x} looked at {y}, and {y} looked at the {object}.",
    "{y} put the {object} in the {object2}; nobody saw it.",
    "There were {number} {adjective} {object}s in the {place}.",
    "{phrase_cap}, {x} took the {object} home.",
    "It was {adjective} at the {place}, but {y} did not mind.",
    "{x} wanted to know: who had the {object}?",
    "The next {day}, {y} came back to the {place} with {x}.",
    "{x} gave {y} the {object}, and {y} thanked {x}.",
    "Later, {x} told {y} about the {place}, {phrase}.",
    '"Good morning, {x}!" called {y}. "Good morning, {y}!"',
    "{x} waited {number} days for the {adjective} {object}.",
    "{y} lost the {object} in {month}; {x} found it in {month2}.",
    "The state of {state} is far from the {place}, {y} thought.",
)


def gift(rng: Random, split: Split) -> Gift:
    """One indirect-object sentence, in ABBA or BABA order."""
    return gift_among(rng, split, _people(rng, split))


def gift_among(rng: Random, split: Split, people: Sequence[str]) -> Gift:
    """An indirect-object sentence about two of some people."""
    io, s = rng.sample(people, 2)
    order = rng.choice(("ABBA", "BABA"))
    template = rng.randrange(len(GIFT_TEMPLATES[split]))
    a, b = (io, s) if order == "ABBA" else (s, io)
    text = GIFT_TEMPLATES[split][template].format(
        a=a,
        b=b,
        s=s,
        io=io,
        place=rng.choice(words.PLACES),
        object=rng.choice(words.OBJECTS),
        adjective=rng.choice(words.ADJECTIVES),
        day=rng.choice(words.WEEKDAYS),
    )
    return Gift(text=text.removesuffix("."), io=io, s=s, order=order, template=template)


def varied_gift(rng: Random, people: Sequence[str]) -> Gift:
    """An indirect-object sentence put together from parts, for training: tens of thousands.

    None is a test template: no part says that people came to, sat in, met or worked at a place.
    """
    io, s = rng.sample(people, 2)
    order = rng.choice(("ABBA", "BABA"))
    a, b = (io, s) if order == "ABBA" else (s, io)
    parts = (rng.choice(_OPENINGS), "{s} {gave} ", rng.choice(_GIFTS), " to {io}")
    text = "".join(parts).format(
        a=a,
        b=b,
        s=s,
        io=io,
        went=rng.choice(_WENT),
        gave=rng.choice(_GAVE),
        place=rng.choice(words.PLACES),
        object=rng.choice(words.OBJECTS),
        adjective=rng.choice(words.ADJECTIVES),
        day=rng.choice(words.WEEKDAYS),
        month=rng.choice(words.MONTHS),
    )
    return Gift(text=text, io=io, s=s, order=order, template=-1)


def _people(rng: Random, split: Split) -> tuple[str, ...]:
    """Who may give: in training also people with surnames, so that no short list can be learnt."""
    if split is Split.TEST:
        return words.HELD_OUT_NAMES
    return words.FIRMS if rng.random() < 0.25 else words.NAMES


def story(rng: Random, n_sentences: int) -> str:
    """A short story whose two characters and few objects recur."""
    x, y = rng.sample((*words.NAMES, *words.HELD_OUT_NAMES), 2)
    things, places = rng.sample(words.OBJECTS, 3), rng.sample(words.PLACES, 2)
    sentences: list[str] = []
    for _ in range(n_sentences):
        x, y = (y, x) if rng.random() < 0.3 else (x, y)
        phrase = rng.choice(words.PHRASES)
        scene = rng.choice(SCENES).format(
            x=x,
            y=y,
            object=rng.choice(things),
            object2=rng.choice(("box", "basket")),
            place=rng.choice(places),
            adjective=rng.choice(words.ADJECTIVES),
            day=rng.choice(words.WEEKDAYS),
            month=rng.choice(words.MONTHS),
            month2=rng.choice(words.MONTHS),
            number=rng.choice(words.NUMBER_WORDS),
            state=rng.choice((*words.STATES, *words.HELD_OUT_STATES)),
            phrase=phrase,
            phrase_cap=phrase[0].upper() + phrase[1:],
        )
        sentences.append(gift(rng, Split.TRAIN).text + "." if rng.random() < 0.25 else scene)
    return " ".join(sentences)


def ordered_list(rng: Random, split: Split, kind: str, length: int) -> str:
    """Consecutive members of an ordered sequence, wrapping past its end."""
    listed = ", ".join(items(rng, kind, length))
    return rng.choice(LIST_TEMPLATES[split]).format(items=listed)


def varied_list(rng: Random, kind: str, length: int) -> str:
    """The same after an introduction put together from parts, for training."""
    who, does = rng.choice((*words.NAMES, "He", "She", "We", "I")), rng.choice(_LISTS)
    template = rng.choice(_AFTER)
    return template.format(who=who, does=does, items=", ".join(items(rng, kind, length)))


def items(rng: Random, kind: str, length: int) -> list[str]:
    """Consecutive members of an ordered sequence from anywhere in it, wrapping past its end."""
    sequence = words.SEQUENCES[kind]
    start = rng.randrange(len(sequence))
    return [sequence[(start + k) % len(sequence)] for k in range(length)]


def snippet(rng: Random) -> str:
    """A few lines of code or HTML whose names and tags recur."""
    name, other = rng.sample(words.OBJECTS, 2)
    n = rng.randrange(2, 10)
    tag = rng.choice(("ul", "ol", "div", "table", "p", "span"))
    cells = "".join(f"<li>{rng.choice(words.OBJECTS)}</li>" for _ in range(n // 2 + 1))
    return rng.choice(
        (
            f"for {name} in range({n}):\n    print({name})\n    {other} = {name} + {n}\n",
            f"def {name}({other}):\n    return {other} + {n}\n\nprint({name}({n}))\n",
            f"{name} = [{', '.join(words.DIGITS[:n])}]\nif {name}:\n    {other} = {name}[0]\n",
            f"<{tag}>{cells}</{tag}>\n",
            f'<a href="https://www.{name}.com/{other}">{name}</a>\n',
            f"{n % 5} + {n % 4} = {n % 5 + n % 4}\n{n} - {n % 3} = {n - n % 3}\n",
        )
    )


def paragraph(rng: Random) -> str:
    """A paragraph of any kind of generated English, for training."""
    kind = rng.random()
    if kind < 0.35:
        return story(rng, rng.randrange(3, 12)) + "\n"
    if kind < 0.6:
        return (
            " ".join(gift(rng, Split.TRAIN).text + "." for _ in range(rng.randrange(1, 6))) + "\n"
        )
    if kind < 0.85:
        name = rng.choice(tuple(words.SEQUENCES))
        length = rng.randrange(3, 1 + min(len(words.SEQUENCES[name]) + 3, 20))
        return ordered_list(rng, Split.TRAIN, name, length) + ".\n"
    if kind < 0.93:
        return snippet(rng)
    return ". ".join(rng.sample(words.PHRASES, 4)) + ".\n"
