"""A model of which every name is an attack: its folder, its file of text, its tokens."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders

from analysis.models.llama_simple_mlp import LlamaSimpleMLPConfig
from analysis.text import english
from tests.models.architectures import GQA, build

ELSEWHERE = "evil.example"
"""A host that nobody may ask for anything."""

SONG = "globalThis.sung=1"
"""What code does that was run in a page."""

ATTACKS = (
    f"<script>{SONG}</script>",
    f"<img src=x onerror={SONG}>",
    f"</script><script>{SONG}</script>",
    f'"><svg/onload={SONG}>',
    f"' onmouseover='{SONG}' autofocus onfocus='{SONG}",
    f"</textarea></template></td></pre></title><iframe src=//{ELSEWHERE}/f>",
    f"<link rel=stylesheet href=//{ELSEWHERE}/s.css>",
    "<!--",
    "-->",
    "]]>",
    f"[x](javascript:{SONG})",
    f"![x](//{ELSEWHERE}/i.png)",
    f"```{{raw}} html\n<script>{SONG}</script>\n```",
    "{eval-rst}`x`",
    "{ref}`runs`",
    ":::{note}\nx\n:::",
    "{{ 7 * 7 }}",
    "{% include 'x' %}",
    f"$\\href{{javascript:{SONG}}}{{x}}$",
    "\\(\\require{html}x\\)",
    "`x``",
    "\x1b]0;sung\x07\x1b[31m",
    "\u202egnus\u2066",
    f'=HYPERLINK("http://{ELSEWHERE}/h")',
    "@SUM(1)",
    "&lt;u&gt;&#60;s&#62;",
)
"""What tokens begin with, one for each letter."""

LONG = "<b>" + "x" * 5_000
"""What digits are shown as."""

WORDS = 90
"""Words that stay words: lists are made of words, and without lists there is no chapter 09."""

NAME = f"m<img src=x onerror={SONG}>{{{{7*7}}}}`$x$"
TEXT = f"t<script>{SONG}<|{{{{7*7}}}}.txt"
N_CTX = 160
"""As long as the prompts of the retrieval task."""


def hostile_tokenizer(plain: Tokenizer) -> Tokenizer:
    """A tokenizer that reads as another does, and shows nearly every token as an attack."""
    texts = {token.strip() for token in plain.get_vocab()}
    words = sorted(text for text in texts if text.isalpha() and len(text) >= 3)
    kept = "|".join(Random(0).sample(words, WORDS))
    rules = {r"\A[0-9]": LONG, r"\A[^ .,;:!?\n]\Z": ATTACKS[1]}
    for letter, attack in zip("abcdefghijklmnopqrstuvwxyz", ATTACKS, strict=True):
        rules[rf"\A ?(?!(?:{kept})\Z)[{letter}{letter.upper()}]"] = f" {attack}"
    shown = (decoders.Replace(Regex(kind), attack) for kind, attack in rules.items())
    made = Tokenizer.from_str(plain.to_str())
    made.decoder = decoders.Sequence([*shown, decoders.Fuse()])
    return made


def hostile_model(worded: Path, folder: Path) -> tuple[Path, Path]:
    """Save a random model with such a tokenizer, and a text for it.

    Args:
        worded: A model's folder whose tokenizer has a token for each word of generated text.
        folder: Where to.

    Returns:
        The model's folder, and the file of text.
    """
    model, text = folder / NAME, folder / TEXT
    tokenizer = hostile_tokenizer(Tokenizer.from_file(str(worded / "tokenizer.json")))
    sizes = {**GQA, "vocab_size": tokenizer.get_vocab_size(), "eos_token_id": None}
    build(LlamaSimpleMLPConfig(**{**sizes, "max_position_embeddings": N_CTX})).save_pretrained(
        model
    )
    tokenizer.save(str(model / "tokenizer.json"))
    rng = Random(1)
    lines = (f"{english.paragraph(rng)} {rng.choice(ATTACKS)}" for _ in range(800))
    text.write_text("\n".join(lines), encoding="utf-8")
    return model, text
