"""Retrieval items: records in filler, and a question that one of them answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property, lru_cache
from random import Random

from analysis.errors import UserError
from analysis.text import records, words
from analysis.text.english import Split
from analysis.text.tokens import Vocabulary

MAX_NEW = 10
"""Tokens that a model may answer with, at most."""
N_DRAWN = 400
"""Draws that the values of a fact are collected from: every state, hundreds of numbers."""
MAX_TRIES = 100
"""How often a context is drawn again until it has exactly the tokens asked for."""


class Example(Enum):
    """What stands before a context, to show what kind of answer is asked for."""

    NONE = "none"
    """Nothing."""

    WORKED = "worked"
    """A statement of the same fact about another firm, the question about it, and its answer."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question about a context, with its answer's place in it."""

    id: str
    context: str
    question: str
    """`Question: ... Answer:`, without the space before the answer."""
    answer: str
    answer_span: tuple[int, int]
    """Start and end of the answer's characters in `context`."""
    sentence_span: tuple[int, int]
    """The characters of the sentence that holds it."""
    documents: tuple[tuple[int, int], ...]
    """The characters of all records' statements of the same fact, as they stand in the context;
    the sentence that holds the answer is one of them."""
    wrong: tuple[str, ...]
    """What the other records answer; all differ from the answer."""
    fact: str
    """One of `analysis.text.records.FACTS`; empty for a user's item."""
    depth: float
    """Where the answer stands in the context, 0 at its start, 1 at its end."""

    @property
    def text(self) -> str:
        """The prompt before tokenising."""
        return f"{self.context}\n{self.question}"


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Everything that the items of one call depend on."""

    vocabulary: Vocabulary
    tokenizer: str
    """Its hash: a folder may get another one."""
    split: Split
    fact: str
    n_tokens: int
    """Of the prompt, without BOS."""
    n_records: int
    n_items: int
    seed: int
    name: str

    @cached_property
    def values(self) -> tuple[str, ...]:
        return _values(self.vocabulary, self.split, self.fact, self.n_records)

    def count(self, text: str) -> int:
        return len(self.vocabulary.encode(text))


@dataclass(frozen=True)
class _Sentence:
    """A sentence of a context; a statement of the fact asked about has an answer."""

    text: str
    answer: str = ""


def record_items(  # noqa: PLR0913 - every choice is the caller's
    vocabulary: Vocabulary,
    *,
    split: Split,
    fact: str,
    n_tokens: int,
    n_records: int,
    n_items: int,
    seed: int,
    bos: bool,
) -> list[Item]:
    """Draw questions about records whose prompts all have exactly the same length.

    Every record states the fact that is asked about, each with a value of its own, and as many
    other facts as fit; filler fills the rest, and the first filler loses words at its beginning
    until the length is right. Records are never cut. Answers have at least 2 tokens where the
    tokenizer splits enough of the values.

    Args:
        vocabulary: The model's tokenizer.
        split: Names of firms, values and templates: train to detect heads on, test to test them.
        fact: One of `analysis.text.records.FACTS`.
        n_tokens: Length of every prompt, BOS included, up to and with `Answer:`.
        n_records: Records in a context, at least 1; chance is 1 / n_records.
        n_items: How many; their depths are spread evenly, in random order.
        seed: Of every draw.
        bos: Whether a BOS will stand before the context.

    Returns:
        Items of different contexts, the same for the same arguments.

    Raises:
        UserError: The records do not fit, or there are not as many different values.
    """
    return list(
        _items(
            _Task(
                vocabulary=vocabulary,
                tokenizer=vocabulary.hash,
                split=split,
                fact=fact,
                n_tokens=n_tokens - (len(vocabulary.bos) if bos else 0),
                n_records=n_records,
                n_items=n_items,
                seed=seed,
                name=f"{split.value}/{fact}/{n_tokens}",
            )
        )
    )


def with_example(item: Item, example: Example) -> Item:
    """An item of generated records with an example before its context.

    Args:
        item: About one of `analysis.text.records.FACTS`.
        example: Which; its firm and value are those of training, the same for every item.

    Returns:
        The item, its spans where they are now; its depth stays that in its own context.
    """
    if example is Example.NONE:
        return item
    rng = Random(f"example/{item.fact}")
    firm = f"{words.FIRMS[0]} {words.TRADES[0]}"
    value = records.value(rng, Split.TRAIN, item.fact)
    stated = records.STATEMENTS[item.fact][0].format(firm=firm, value=value)
    asked = records.QUESTIONS[Split.TEST][item.fact][0].format(firm=firm)
    before = f"{stated}\nQuestion: {asked} Answer: {value}\n\n"

    def moved(span: tuple[int, int]) -> tuple[int, int]:
        return span[0] + len(before), span[1] + len(before)

    return replace(
        item,
        context=before + item.context,
        answer_span=moved(item.answer_span),
        sentence_span=moved(item.sentence_span),
        documents=tuple(moved(span) for span in item.documents),
    )


@lru_cache(maxsize=64)
def _items(task: _Task) -> tuple[Item, ...]:
    """The items; many experiments ask the same ones."""
    _ = task.values  # refused before anything is drawn
    name = f"retrieval {task.name}/{task.seed}"
    depths = [(i + 0.5) / task.n_items for i in range(task.n_items)]
    Random(name).shuffle(depths)
    return tuple(
        _item(Random(f"{name}/{i}"), task, depth, f"{task.name}/{i}")
        for i, depth in enumerate(depths)
    )


def _values(vocabulary: Vocabulary, split: Split, fact: str, n_records: int) -> tuple[str, ...]:
    """Values of a fact that can be answered; of several tokens if there are enough of those."""
    if fact not in records.FACTS:
        raise UserError(f"expected one of {', '.join(records.FACTS)}, got {fact!r}; choose one")
    rng = Random(f"values {split.value}/{fact}")
    every = sorted({records.value(rng, split, fact) for _ in range(N_DRAWN)})
    stem = len(vocabulary.encode("a"))
    split_up = {value: vocabulary.encode(f"a {value}")[stem:] for value in every}
    fits = {value: ids for value, ids in split_up.items() if len(ids) <= MAX_NEW}
    drawn = [value for value, ids in fits.items() if vocabulary.says(ids, value)]
    single = vocabulary.single(drawn)
    several = [value for value in drawn if value not in single]
    pool = several if len(several) > n_records else drawn
    if not 1 <= n_records < len(pool):
        raise UserError(
            f"expected from 1 to {max(0, len(pool) - 1)} records, got {n_records}: each has a "
            f"value of its own of {fact} that the tokenizer knows; choose fewer"
        )
    return tuple(pool)


def _item(rng: Random, task: _Task, depth: float, name: str) -> Item:
    """An item with as many other facts as fit."""
    others = [fact for fact in records.FACTS if fact != task.fact]
    for n_others in range(len(others), -1, -1):
        for _ in range(MAX_TRIES):
            firms, statements = _statements(rng, task, others[:n_others])
            template = rng.choice(records.QUESTIONS[task.split][task.fact])
            question = f"Question: {template.format(firm=firms[0])} Answer:"
            sentences = _filled(rng, task, statements, question, depth)
            if sentences is not None:
                return _located(name, sentences, question, statements, task.fact)
            if _too_long(task, statements, question):
                break
    raise UserError(
        f"expected prompts long enough for {task.n_records} records, got {task.n_tokens} tokens "
        "beside the BOS; choose fewer records or longer prompts"
    )


def _statements(
    rng: Random, task: _Task, others: Sequence[str]
) -> tuple[list[str], list[_Sentence]]:
    """Names of firms, and what they state: first the answer, then what the others answer."""
    train = task.split is Split.TRAIN
    names = rng.sample(words.FIRMS if train else words.HELD_OUT_FIRMS, task.n_records)
    firms = [f"{name} {rng.choice(words.TRADES)}" for name in names]
    answers = rng.sample(task.values, task.n_records)
    stated = [
        _Sentence(rng.choice(records.STATEMENTS[task.fact]).format(firm=firm, value=answer), answer)
        for firm, answer in zip(firms, answers, strict=True)
    ]
    for firm in firms:
        for fact in others:
            value = answers[0]
            while value in answers:
                value = records.value(rng, task.split, fact)
            sentence = rng.choice(records.STATEMENTS[fact]).format(firm=firm, value=value)
            stated.append(_Sentence(sentence))
    return firms, stated


def _too_long(task: _Task, statements: Sequence[_Sentence], question: str) -> bool:
    """Whether the statements leave no room for any filler."""
    context = " ".join(sentence.text for sentence in statements)
    return task.count(f"{context}\n{question}") >= task.n_tokens


def _filled(
    rng: Random, task: _Task, statements: Sequence[_Sentence], question: str, depth: float
) -> list[_Sentence] | None:
    """The sentences of a context of the right length in their order; None if it was missed."""
    gold, *rest = statements
    filler: list[_Sentence] = []
    stem = task.count("a")
    n_known = task.count(f"{' '.join(s.text for s in statements)}\n{question}")
    while n_known < task.n_tokens:
        filler.append(_Sentence(records.filler(rng)))
        n_known += task.count(f"a {filler[-1].text}") - stem
    if not filler:
        return None
    first = filler.pop()
    rest += filler
    rng.shuffle(rest)
    sentences = _with_gold(gold, [first, *rest], depth)
    spoken = first.text.split(" ")
    for start in range(len(spoken)):
        sentences[0] = _Sentence(" ".join(spoken[start:]))
        context = " ".join(sentence.text for sentence in sentences)
        n_tokens = task.count(f"{context}\n{question}")
        if n_tokens <= task.n_tokens:
            return sentences if n_tokens == task.n_tokens else None
    return None


def _with_gold(gold: _Sentence, others: list[_Sentence], depth: float) -> list[_Sentence]:
    """The sentences with one more behind the first, where its middle comes nearest to a depth."""
    ends = [0]
    for sentence in others:
        ends.append(ends[-1] + len(sentence.text) + 1)
    wanted = depth * ends[-1]
    place = min(range(1, len(ends)), key=lambda i: abs(ends[i] - wanted))
    return [*others[:place], gold, *others[place:]]


def _located(
    name: str,
    sentences: Sequence[_Sentence],
    question: str,
    statements: Sequence[_Sentence],
    fact: str,
) -> Item:
    """The item, with the spans that its construction knows."""
    gold = statements[0]
    spans: list[tuple[int, int]] = []
    at, end = (0, 0), 0
    for sentence in sentences:
        start, end = end, end + len(sentence.text)
        if sentence is gold:
            at = (start, end)
        if sentence.answer:
            spans.append((start, end))
        end += 1
    context = " ".join(sentence.text for sentence in sentences)
    begin = at[0] + gold.text.rindex(gold.answer)
    return Item(
        id=name,
        context=context,
        question=question,
        answer=gold.answer,
        answer_span=(begin, begin + len(gold.answer)),
        sentence_span=at,
        documents=tuple(spans),
        wrong=tuple(s.answer for s in statements[1:] if s.answer),
        fact=fact,
        depth=begin / (len(context) - len(gold.answer)),
    )
