"""The hand-built induction circuit with a tokenizer of words, and questions that it can answer.

A record is a key and its value of two words, `w3 w7 w12 .`; the question is the key.
"""

from pathlib import Path
from random import Random

from tokenizers import Tokenizer, models, pre_tokenizers

from analysis.studies.retrieval.answering.items import Item
from tests.studies.circuit.circuit_model import N, circuit_model

WORDS = tuple(f"w{i}" for i in range(3, N))
N_RECORDS = 5


def worded_circuit(folder: Path) -> str:
    """Save the model with a token for each word, full stop and `<unk>`.

    Args:
        folder: Where to.

    Returns:
        The folder.
    """
    vocab = {token: i for i, token in enumerate(("<bos>", "<unk>", ".", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = circuit_model(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return path


def word_items(n_items: int, seed: int) -> list[Item]:
    """Questions about records of words that are all different."""
    return [_item(Random(f"{seed}/{i}"), f"words/{i}") for i in range(n_items)]


def _item(rng: Random, name: str) -> Item:
    drawn = rng.sample(WORDS, 3 * N_RECORDS)
    records = [drawn[i : i + 3] for i in range(0, len(drawn), 3)]
    gold = rng.randrange(N_RECORDS)
    context, documents = "", []
    for key, *value in records:
        start = len(context)
        context += f"{key} {value[0]} {value[1]} . "
        documents.append((start, len(context) - 1))
    key, *value = records[gold]
    answer = " ".join(value)
    begin = context.index(f"{key} {answer}") + len(key) + 1
    return Item(
        id=name,
        context=context.rstrip(),
        question=key,
        answer=answer,
        answer_span=(begin, begin + len(answer)),
        sentence_span=documents[gold],
        documents=tuple(documents),
        wrong=tuple(" ".join(v) for i, (_, *v) in enumerate(records) if i != gold),
        fact="",
        depth=begin / (len(context.rstrip()) - len(answer)),
    )
