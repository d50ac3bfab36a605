"""What models hand to the attention function: every keyword is used, or nothing is lost with it."""

import ast
import re
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from analysis.attention import attention
from analysis.models.network import causal_classes

USED = {
    *("attention_mask", "scaling", "softcap", "s_aux", "sinks"),
    *("position_bias", "indices", "block_indices"),
}
NOTHING_LOST = {
    "dropout": "0 in evaluation mode",
    "is_causal": "the mask says the same",
    "sliding_window": "the mask hides what lies before it",
    "output_attentions": "asks for patterns, which are watched instead",
    "position_ids": "queries and keys are turned already, and the mask is made",
    **dict.fromkeys(
        ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"),
        "of many pictures in one row; text is not packed",
    ),
}
ELSEWHERE = {
    "deterministic": "ModernBERT, which is no causal model",
    **dict.fromkeys(("query", "key", "value"), "the arguments themselves, by name, in encoders"),
}
"""Keywords that no causal model hands over."""
_REGISTRY = "ALL_ATTENTION_FUNCTIONS"
_PART = re.compile(r"^(?=class |def |@|from |import )", re.MULTILINE)


def handed_over(source: str) -> set[str]:
    """Keywords of calls of what was taken from the registry of attention functions."""
    found: set[str] = set()
    asking = [part for part in _PART.split(source) if _REGISTRY in part]  # to parse all takes long
    parsed = (node for part in asking for node in ast.walk(ast.parse(part)))
    for function in (node for node in parsed if isinstance(node, ast.FunctionDef)):
        nodes = list(ast.walk(function))
        values = [node for node in nodes if isinstance(node, (ast.Assign, ast.AnnAssign))]
        taken = {
            target.id
            for node in values
            if _asks_registry(node.value)
            for target in getattr(node, "targets", [getattr(node, "target", None)])
            if isinstance(target, ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.Call) and _is_taken(node.func, taken):
                found |= {keyword.arg for keyword in node.keywords if keyword.arg is not None}
    return found


def _asks_registry(value: ast.expr | None) -> bool:
    nodes = [] if value is None else ast.walk(value)
    return any(isinstance(node, ast.Name) and node.id == _REGISTRY for node in nodes)


def _is_taken(called: ast.expr, names: set[str]) -> bool:
    by_name = isinstance(called, ast.Name) and called.id in names
    return by_name or (isinstance(called, ast.Subscript) and _asks_registry(called))


@pytest.fixture(scope="module")
def keywords() -> dict[str, set[str]]:
    """By modelling file."""
    found = {path.stem: handed_over(text) for path, text in sources().items()}
    assert len(found) > 100, "found no sources; a check of nothing must not pass"
    return found


def sources() -> dict[Path, str]:
    """Of the modelling files that ask the registry."""
    root = Path(transformers.__file__).parent / "models"
    found = {path: path.read_text("utf-8") for path in sorted(root.glob("*/modeling_*.py"))}
    return {path: text for path, text in found.items() if _REGISTRY in text}


def test_every_keyword_of_the_installed_models_is_known(keywords):
    every = set[str]().union(*keywords.values())
    assert every == USED | NOTHING_LOST.keys() | ELSEWHERE.keys()


def test_what_we_leave_out_no_causal_model_hands_over(keywords):
    for path, text in sources().items():
        if keywords[path.stem] & ELSEWHERE.keys():
            defined = {n.name for n in ast.parse(text).body if isinstance(n, ast.ClassDef)}
            assert not defined & causal_classes(), path.stem


def test_a_keyword_that_is_new_is_found():
    source = """
class Attention:
    def forward(self, x, **kwargs):
        function: Callable = ALL_ATTENTION_FUNCTIONS.get_interface("eager", eager)
        function(self, x, x, x, None, scaling=1.0, brand_new=x, **kwargs)
        other(x, unrelated=x)
        ALL_ATTENTION_FUNCTIONS["eager"](self, x, x, x, newer=x)
"""
    assert handed_over(source) == {"scaling", "brand_new", "newer"}


HEADS, N_POS = 2, 5
MASK = torch.full((1, 1, N_POS, N_POS), torch.finfo(torch.float32).min).triu(1)
TERMS = {
    "attention_mask": torch.zeros(1, 1, N_POS, N_POS),
    "scaling": 2.0,
    "softcap": 0.1,
    "s_aux": torch.ones(HEADS),
    "sinks": torch.ones(1, HEADS, N_POS, 1),
    "position_bias": torch.arange(float(N_POS)).expand(1, HEADS, N_POS, N_POS),
    "indices": torch.zeros(1, N_POS, 1, dtype=torch.long),
}


def z_of(**terms) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, HEADS, N_POS, 4, generator=generator) for _ in range(3))
    module = nn.Module()
    module.layer_idx = 0
    return attention(module, q, k, v, **{"attention_mask": MASK, **terms})[0]


@pytest.mark.parametrize("name", TERMS)
def test_what_is_used_changes_what_heads_read(name):
    assert (z_of(**{name: TERMS[name]}) - z_of()).abs().max() > 0.01


@pytest.mark.parametrize("name", ["brand_new", "cu_seq_lens_q"])
def test_any_other_tensor_is_refused(name):
    with pytest.raises(ValueError, match=f"got {name}"):
        z_of(**{name: torch.ones(2)})


def test_position_ids_lose_nothing():
    assert torch.equal(z_of(position_ids=torch.arange(N_POS)[None]), z_of())
