"""The hand-made induction circuit of `circuit_model`, with words for its tokens."""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from tests.studies.circuit.circuit_model import N, circuit_model

WORDS = [f"{a}{b}{c}" for a in "bdf" for b in "aeiou" for c in "klmn"][: N - 2]


def listed_model(folder: Path) -> str:
    """Save the model and a tokenizer of `WORDS`; BOS is 0, and 1 stands for all else."""
    name = circuit_model(folder)
    ids = {"<bos>": 0, "<unk>": 1, **{f" {word}": i + 2 for i, word in enumerate(WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[A-Za-z]+"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    return name
