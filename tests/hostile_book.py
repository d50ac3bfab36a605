"""A model of which every name is an attack: folder, file of text, tokens; and a book about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders

from analysis.models.llama_simple_mlp import LlamaSimpleMLPConfig
from analysis.text import english

from .architectures import GQA, build

ELSEWHERE = "evil.example"
"""A host that nobody may ask for anything."""
SUNG = "globalThis.sung=1"
"""What code does that was run in a page."""
LONG = 5_000
ATTACKS = (
    f"<script>{SUNG}</script>",
    f"<img src=x onerror={SUNG}>",
    f"</script><script>{SUNG}</script>",
    f'"><svg/onload={SUNG}>',
    f"' onmouseover='{SUNG}' autofocus onfocus='{SUNG}",
    f"</textarea></template></td></pre></title><iframe src=//{ELSEWHERE}/f>",
    f"<link rel=stylesheet href=//{ELSEWHERE}/s.css>",
    "<!--",
    "-->",
    "]]>",
    f"[x](javascript:{SUNG})",
    f"![x](//{ELSEWHERE}/i.png)",
    f"```{{raw}} html\n<script>{SUNG}</script>\n```",
    "{eval-rst}`x`",
    "{ref}`runs`",
    ":::{note}\nx\n:::",
    "{{ 7 * 7 }}",
    "{% include 'x' %}",
    f"$\\href{{javascript:{SUNG}}}{{x}}$",
    "\\(\\require{html}x\\)",
    "`x``",
    "\x1b]0;sung\x07\x1b[31m",
    "\u202egnus\u2066",
    f'=HYPERLINK("http://{ELSEWHERE}/h")',
    "@SUM(1)",
    "&lt;u&gt;&#60;s&#62;",
    f"<b>{'x' * (LONG - 3)}",
)
"""Beginnings of tokens, a letter each; the last for digits and all other characters."""
PLAIN = 90
"""How many words stay words: chapter 09 makes lists of them, and of nothing else."""
DELIMITERS = ".,;:!?\n"


def hostile_tokenizer(plain: Tokenizer) -> Tokenizer:
    """A tokenizer that reads as another does, and shows nearly every token as an attack."""
    words = sorted(w.strip() for w in plain.get_vocab() if len(w.strip()) >= 3 and w.strip().isalpha())
    kept = "|".join(Random(0).sample(words, PLAIN))
    shown = json.loads(plain.to_str())
    first = [f"[{letter}{letter.upper()}]" for letter in "abcdefghijklmnopqrstuvwxyz"]
    rules = [decoders.Replace(Regex(rf"\A ?(?!(?:{kept})\Z){letter}"), f" {attack}") for letter, attack in zip(first, ATTACKS, strict=False)]
    others = {r"\A[0-9]": ATTACKS[-1], r"\A[^ .,;:!?\n]\Z": ATTACKS[1]}
    rules = [*(decoders.Replace(Regex(kind), attack) for kind, attack in others.items()), *rules]
    made = Tokenizer.from_str(json.dumps(shown))
    made.decoder = decoders.Sequence([*rules, decoders.Fuse()])
    return made
