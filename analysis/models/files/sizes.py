"""Sizes of a model as its configuration says them, and values in it that cannot be."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.errors import UserError, reason
from analysis.settings import short

from .layout import heads_by_layer

_SIZES = {
    "n_layers": ("decoder_layers", "num_hidden_layers", "n_layer", "num_layers"),
    "n_heads": ("decoder_attention_heads", "num_attention_heads", "n_head", "num_heads"),
    "d_model": ("hidden_size", "n_embd"),
    "vocab": ("unpadded_vocab_size", "vocab_size"),
}
_STANDARD = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")
"""What classes of configurations answer to, whatever they call a size."""
_POSITIONS = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions"),
    "seq_length",
)
_NO_LIMIT = 2048
"""Context of a model that names none, since its positions are slopes."""
_SHORTEST = 2
"""Context in which anything can be predicted from a token before."""
BEHIND_PADDING = (
    *("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta"),
    *("xlm-roberta-xl", "xmod"),
)
"""Types whose first token has the position behind the padding token's id."""
_OF_HEADS = ("head_dim", "num_key_value_heads")
_DECODERS = ("text_config", "llm_config", "language_config", "decoder")
"""What configurations of several models in one call that of the text decoder."""
_WIDTHS = ("head_dim", "head_size", "d_kv", "kv_channels")
"""In names of widths of heads that are no share of the stream's."""
_LARGEST = 2**31 - 1
"""Of a size."""
_MOST_LABELS = 2**20
"""Of a classifier, each of which transformers gives a name."""
_SIZE = re.compile(
    r"(num|n|d)_.*|.*_(num|n|d)_.*|(.*_)?(size|dim|heads?|layers?|positions|embeddings|inner|window)"
)
_NUMBER = re.compile(
    r"(.*_)?(rank|eps|epsilon|theta|factor|scale|scalar|multiplier|softcapping|freq)"
)
_ROOTED = "query_pre_attn_scalar"
"""A number of which the root is taken."""
_OUTPUTS = ("return_dict", "use_return_dict")


def text_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a configuration says of the text decoder: the part for it, where it has parts."""
    nested = (config[name] for name in _DECODERS if isinstance(config.get(name), dict))
    return next(nested, config)


def sizes_of(config: Mapping[str, Any], folder: Path, n_params: int) -> dict[str, Any]:
    """Sizes of the text decoder.

    Args:
        config: As `config.json` has it.
        folder: Where it is, for messages.
        n_params: Elements of all weights, which no size exceeds.

    Returns:
        The fields of a card: `n_layers`, `n_heads`, `n_kv_heads`, `d_model`, `d_head`, `n_ctx`,
        `vocab` and `heads_by_layer`. Those that a part leaves out have the default of its class
        in transformers.

    Raises:
        UserError: A size is missing, or they do not fit each other or the weights.
    """
    text = text_settings(config)
    wanted = [
        *_SIZES.values(),
        _POSITIONS,
        *(() if text is config else ((name,) for name in _OF_HEADS)),
        *([("pad_token_id",)] if _is_behind_padding(text) else []),
    ]
    if not all(any(text.get(key) is not None for key in keys) for keys in wanted):
        text = _with_defaults(config, folder)
    sizes = {size: _first(text, keys, folder) for size, keys in _SIZES.items()}
    if max(sizes.values()) > n_params:
        raise UserError(
            f"expected sizes that fit the {n_params} weights in {folder}, config.json has {sizes}; "
            "copy the folder again"
        )
    n_heads, d_model = sizes["n_heads"], sizes["d_model"]
    told = {
        "head_dim": text.get("head_dim") or d_model // n_heads,
        "num_key_value_heads": _key_heads(text) or n_heads,
    }
    sizes |= {
        "d_head": _first(told, ("head_dim",), folder),
        "n_kv_heads": _first(told, ("num_key_value_heads",), folder),
        "n_ctx": _n_ctx(text, folder),
    }
    apart = any(text.get(name) and part in name for name in text for part in _WIDTHS)
    for whole, parts, divides in (
        ("hidden_size", d_model, apart or not d_model % n_heads),
        ("num_key_value_heads", sizes["n_kv_heads"], not n_heads % sizes["n_kv_heads"]),
    ):
        if not divides:
            raise UserError(
                f"expected sizes that divide, {_place(folder)} has {whole} {parts} and "
                f"num_attention_heads {n_heads}; copy the folder again"
            )
    by_layer = heads_by_layer(folder, text, sizes["n_layers"], n_heads)
    return {**sizes, "n_heads": max(by_layer), "heads_by_layer": by_layer}


def _key_heads(text: Mapping[str, Any]) -> Any:
    """Heads of keys and values, where a configuration has fewer of them than of queries."""
    if text.get("new_decoder_architecture"):
        return text.get("num_kv_heads")
    return 1 if text.get("multi_query") else text.get("num_key_value_heads")


def _n_ctx(text: Mapping[str, Any], folder: Path) -> int:
    """How many positions can be run: fewer than are named where those of padding come first."""
    key = next((key for key in _POSITIONS if _is_size(text.get(key))), None)
    named = _NO_LIMIT if key is None else text[key]
    pad = text.get("pad_token_id")
    before = pad + 1 if _is_behind_padding(text) and type(pad) is int else 0
    if named - before < _SHORTEST:
        raise UserError(
            f"expected at least {_SHORTEST} positions in {_place(folder)}, got {key} {named}"
            f"{f' and pad_token_id {pad}, behind which they begin' if before else ''}; "
            "copy the folder again"
        )
    return named - before


def _is_behind_padding(text: Mapping[str, Any]) -> bool:
    return text.get("model_type") in BEHIND_PADDING


def _with_defaults(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The text decoder's configuration with the defaults of its class."""
    from transformers import AutoConfig  # noqa: PLC0415 - slow to import, rarely needed

    rest = {name: value for name, value in config.items() if name != "model_type"}
    try:
        made: Any = (
            AutoConfig.from_pretrained(folder, trust_remote_code=False)
            if folder.is_dir()
            else AutoConfig.for_model(str(config.get("model_type")), **rest)
        )
        text = made.get_text_config(decoder=True)
        said = {name: getattr(text, name, None) for name in (*_STANDARD, *_OF_HEADS)}
        return {**text.to_dict(), **{n: value for n, value in said.items() if value is not None}}
    except Exception as error:  # what a config can say wrong raises errors of many kinds
        raise UserError(
            f"expected sizes of a causal language model in {_place(folder)}, or a model_type whose "
            f"defaults transformers has, found neither ({reason(error)}); copy the folder again"
        ) from None


def check_values(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse values that cannot be, before any weight is read.

    Args:
        config: As `config.json` has it.
        folder: Where it is, for messages.

    Raises:
        UserError: Text or more than 2^31 where a size belongs, nothing to take a root of, outputs
            that are switched off, weights elsewhere, or in a format of integers.
    """
    if config.get("quantization_config"):
        said = config["quantization_config"]
        method = said.get("quant_method") if isinstance(said, dict) else said
        raise UserError(
            f"expected float weights, {_place(folder)} has a quantization_config "
            f"({short(method)}); use the model's weights in bfloat16 or a GGUF file"
        )
    for name, value in config.items():
        off = name in _OUTPUTS and not value
        if off or (name == "transformers_weights" and value):
            raise UserError(
                f"expected a configuration without {name}, {_place(folder)} has it as "
                f"{short(value)}; remove it there"
            )
    for name, value in _numbers(config):
        is_size = _SIZE.fullmatch(name) is not None
        if name == _ROOTED and isinstance(value, (int, float)) and value <= 0:
            raise UserError(
                f"expected a number above 0 as {name} in {_place(folder)}, got {short(value)}; "
                "correct it there"
            )
        most = _MOST_LABELS if name == "num_labels" else _LARGEST
        too_large = is_size and isinstance(value, (int, float)) and value > most
        if too_large or (isinstance(value, str) and value != "auto"):
            raise UserError(
                f"expected a number of up to {most} as {name} in {_place(folder)}, got "
                f"{short(value)}; copy the folder again"
            )


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What should be a number, in every part of a configuration."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif _SIZE.fullmatch(name) or _NUMBER.fullmatch(name):
            yield name, value


def _place(folder: Path) -> Path:
    return folder / "config.json" if folder.is_dir() else folder


def _first(config: Mapping[str, Any], keys: tuple[str, ...], folder: Path) -> int:
    for key in keys:
        if _is_size(config.get(key)):
            return config[key]
    got = next((f"{short(config[key])} as {key}" for key in keys if key in config), "none")
    raise UserError(
        f"expected one of {', '.join(keys)} in {_place(folder)}, a whole number of at "
        f"least 1, found {got}; only causal language models with attention heads can be read"
    )


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST
