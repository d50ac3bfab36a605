"""How many heads each layer of a model has, before any weights are read."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.errors import UserError, reason
from analysis.settings import short

_VARIES = re.compile(
    r"layers?_block|block_type|attn_layer|full_attn|full_attention|hybrid|mamba|ssm|conv|linear_"
    r"|per_layer|swa_num|recurrent|lightning|lru|kda|delta"
)
"""Keys of a configuration that speak of layers which do not attend, or of other heads in some."""
_ATTENDS = {"full_attention", "sliding_attention", "chunked_attention"}


def heads_by_layer(
    folder: Path, config: Mapping[str, Any], n_layers: int, n_heads: int
) -> tuple[int, ...]:
    """How many heads each layer has; 0 for one that does not attend.

    Where the configuration may mean layers of several kinds, the model is built without memory
    for its weights and looked at; that takes seconds. Loading compares the answer with what runs.

    Args:
        folder: Of the model.
        config: Of its text decoder.
        n_layers: How many layers it has.
        n_heads: How many heads one has that attends.

    Raises:
        UserError: Its kinds are no names, or no model can be built as the configuration says.
    """
    kinds = config.get("layer_types")
    if kinds is not None and not _are_names(kinds):
        raise UserError(
            f"expected a list of names as layer_types in the configuration in {folder}, got "
            f"{short(kinds)}; copy the folder again"
        )
    plain = kinds is None or set(kinds) <= _ATTENDS
    if plain and not any(map(_VARIES.search, config)):
        return (n_heads,) * n_layers
    from analysis.models.network import built_heads  # noqa: PLC0415 - imports transformers

    try:
        return built_heads(folder, n_layers, n_heads)
    except Exception as error:  # what a config can say wrong raises errors of many kinds
        raise UserError(
            f"expected a model that can be built as the configuration in {folder} says, "
            f"transformers cannot: {reason(error)}; correct it or copy the folder again"
        ) from None


def _are_names(kinds: object) -> bool:
    return isinstance(kinds, (list, tuple)) and all(isinstance(kind, str) for kind in kinds)
