"""The reference model's tokenizer: byte-level BPE whose score words are single tokens."""

from collections.abc import Iterator, Sequence
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from analysis.text import english, records, words

BOS = "<bos>"
VOCAB_SIZE = 3072
_WORD_WEIGHT = 20_000
_PIECE = 2_000


def train_tokenizer(texts: Sequence[str], seed: int) -> Tokenizer:
    """Learn the merges on prose and generated text.

    Args:
        texts: Prose, whole files.
        seed: Of the generated text.

    Returns:
        A tokenizer with `<bos>` as id 0 and every digit a token of its own.

    Raises:
        ValueError: A word that the scores need did not become a single token.
    """
    tokenizer = Tokenizer(models.BPE())
    split = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_text(texts, seed), trainer)
    broken = [
        word
        for word in words.single_token_words()
        if not word.isdigit() and len(tokenizer.encode(f" {word}").ids) != 1
    ]
    if broken:
        raise ValueError(f"expected single tokens, got several for {broken}; raise _WORD_WEIGHT")
    return tokenizer


def _training_text(texts: Sequence[str], seed: int) -> Iterator[str]:
    rng = Random(seed)
    for text in texts:
        yield from (text[i : i + _PIECE] for i in range(0, len(text), 4 * _PIECE))
    for _ in range(2_000):
        yield english.paragraph(rng)
        pieces = records.document(rng, n_records=2, n_filler=4, n_questions=2)
        yield "".join(text for text, _ in pieces)
    line = "".join(f" {word}" for word in words.single_token_words())
    yield from (line for _ in range(_WORD_WEIGHT))
