"""`python -m tests.overview.listed`: write the list of architectures in docs/ and README.md.

It says what the program finds of a tiny model of every kind that is tested, not what anybody knows.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import CONFIG_MAPPING, PreTrainedConfig

from analysis.overview.capabilities import ModelCheck
from analysis.questions.asked import Asked, Profile
from analysis.text import words
from tests.conftest import ROOT
from tests.models.architectures import OWN, SUPPORTED, build

DOCS, README = ROOT / "docs" / "architectures.md", ROOT / "README.md"
START, END = "<!-- architectures: python -m tests.overview.listed -->\n", "<!-- end -->\n"
WITHOUT = {
    "q_composition": "compositions of weights (02)",
    "ov_copy": "OV copy scores (01)",
    "direct_logit": "direct logits (02)",
    "path": "paths (02)",
    "carried_over_residual": "what a sink carries (03)",
    "direct_effect": "direct effects (05)",
}
"""What a kind may lack, by the first of its scores."""
INTRODUCTION = """# Architectures

Written by `python -m tests.overview.listed` from a tiny random model of every kind that is tested;
a test fails when it is out of date. Every kind is checked against transformers' own eager
attention: logits, patterns, what heads add up to, every intervention, and both ways to walk the
layers. Other architectures are measured in the same way when they are loaded, and refused in one
line where something does not hold; `headbook check MODEL` says what holds of one, and why not the
rest. Chapters without a number here are the same for all; what a model's tokenizer, context or
decomposition does not allow comes on top.

"""


@dataclass(frozen=True)
class Kind:
    """What was found of a kind."""

    name: str
    architecture: str
    example: str
    """The checkpoint that transformers documents its configuration with."""
    how: str
    """Who computes its attention."""
    differs: str
    """Parts that are not as in a plain model."""
    lacks: tuple[str, ...]
    """Values of `WITHOUT`."""


def kinds() -> list[Kind]:
    """Every kind that is tested, by its name."""
    with TemporaryDirectory() as folder:
        every = {**SUPPORTED, **OWN}
        return [_kind(name, every[name], Path(folder) / name) for name in sorted(every)]


def _kind(name: str, config: PreTrainedConfig, folder: Path) -> Kind:
    build(deepcopy(config)).save_pretrained(folder)
    names_tokenizer().save(str(folder / "tokenizer.json"))
    found = ModelCheck.of(Asked(model=str(folder), profile=Profile.TINY)).run(lambda *_: None)
    parts, chapters = found["model_parts"], found["model_chapters"]
    scores = dict.fromkeys(chapters.drop_nulls("score").filter(holds=False)["score"])
    lacks = [WITHOUT[score] for score in WITHOUT if score in scores]
    usual = {"nothing", "all, as it is", "what a whole pass does", "linear in what attention reads"}
    asked = parts.filter(
        pl.col("chapters").str.contains("02"), ~pl.col("answer").is_in(list(usual))
    ).filter(pl.col("part").str.contains("arrives|between|called|logits|queries"))
    plain = "the unembedding of the normed residual stream"
    said = [
        f"{part}: {answer}{f' (layers {layers})' if layers else ''}".replace(f"{plain}, ", "")
        for part, layers, answer in asked.select("part", "layers", "answer").iter_rows()
        if answer != plain
    ]
    (architecture,) = parts.filter(part="architecture")["answer"]
    (how,) = parts.filter(part="attention computed")["answer"]
    return Kind(name, architecture, _example(config), how, "; ".join(said), tuple(lacks))


def _example(config: PreTrainedConfig) -> str:
    source = inspect.getsource(type(config))
    found = re.search(r'checkpoint="([^"]+)"', source)
    return found[1] if found and type(config) in set(CONFIG_MAPPING.values()) else ""


def names_tokenizer() -> Tokenizer:
    """Names of prompts as one token each, and nothing else: it fits every vocabulary."""
    known = ["<bos>", "<unk>", "a", *(f" {name}" for name in words.HELD_OUT_NAMES)]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(known)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[A-Za-z]+|[^A-Za-z]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<bos>", "<unk>"])
    return tokenizer


def long_table(found: list[Kind]) -> str:
    """The page in docs/."""
    lines = [
        "| kind | class | such as | attention | where it differs | without |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.name} | `{one.architecture}` | {one.example or 'none'} | {one.how} | "
            f"{one.differs or 'nowhere'} | {'; '.join(one.lacks) or 'nothing'} |"
            for one in found
        ),
    ]
    return INTRODUCTION + "\n".join(lines) + "\n"


def short_table(found: list[Kind]) -> str:
    """The rows in README.md: classes by what they lack."""
    return "\n".join(
        ["| architectures | without | checked against |", "|---|---|---|", *_short(found)]
    )


def _short(found: list[Kind]) -> Iterator[str]:
    groups = sorted({one.lacks for one in found}, key=lambda lacks: (len(lacks), lacks))
    for lacks in groups:
        same = {
            one.architecture.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
            for one in found
            if one.lacks == lacks
        }
        yield f"| {', '.join(sorted(same))} | {'; '.join(lacks) or 'nothing'} | eager attention |"


def written(readme: str, found: list[Kind]) -> str:
    """README.md with the short table in its place."""
    before, rest = readme.split(START)
    return f"{before}{START}{short_table(found)}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    every_kind = kinds()
    DOCS.write_text(long_table(every_kind), encoding="utf-8")
    README.write_text(written(README.read_text("utf-8"), every_kind), encoding="utf-8")
