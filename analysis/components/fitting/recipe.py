"""What a decomposition is trained by: its recipe, and the rows that it sees."""

import math
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.errors import UserError
from analysis.text.pool import token_pool
from analysis.text.repeats import log_uniform, shown_again
from analysis.text.sources import text_rows
from analysis.text.tokens import Vocabulary

LAYERS = r".*\.(q_proj|k_proj|v_proj|o_proj)"
"""Names of the layers that are decomposed by default."""

MAX_ROWS = 8192
"""Rows of text that are drawn from."""
N_EVALUATED = 64
"""Rows that a decomposition is judged on, and how many rows of text are kept for that."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a decomposition depends on, beside the model and the text."""

    seed: int
    n_steps: int
    layers: str = LAYERS
    """Regular expression that the names of decomposed layers match."""
    n_components: int = 160
    hidden: int = 128
    """Width of each layer's causal-importance function."""
    n_rows: int = 8
    n_tokens: int = 128
    repeats: float = 0.3
    """Share of rows that are random tokens shown again; the others are text."""
    token_pool: str = "all"
    """What these are drawn from, as `token_pool` takes it."""
    warm_up: int = 300
    """Steps on faithfulness alone, before the others."""
    warm_up_rate: float = 3e-3
    rate: float = 2e-3
    clip: float = 1.0
    stochastic: float = 0.5
    adversarial: float = 0.5
    importance: float = 3e-4
    beta: float = 0.2
    faithfulness: float = 1e5
    p_first: float = 2.0
    p_last: float = 0.4
    ascents: int = 2
    """Steps of the adversary before each step of the decomposition."""
    ascent: float = 0.1
    """Length of the adversary's steps."""
    fresh_every: int = 20
    """Steps after which the adversary starts from new random sources."""

    def learning_rate(self, step: int) -> float:
        """A cosine to a tenth."""
        return self.rate * (0.1 + 0.9 * (1 + math.cos(math.pi * step / self.n_steps)) / 2)

    def p(self, step: int) -> float:
        """Exponent of the minimality loss, falling evenly."""
        return self.p_first + (self.p_last - self.p_first) * step / self.n_steps


class Rows:
    """Rows of text, and of random tokens shown again; each batch is a function of its step."""

    def __init__(self, text: str, vocabulary: Vocabulary, recipe: Recipe, name: str) -> None:
        """Read the text.

        Args:
            text: What `read_source` takes.
            vocabulary: The model's tokenizer.
            recipe: How many rows of which length.
            name: `decompose`, or `evaluate` for the rows at the end, which the former never sees.

        Raises:
            UserError: The text cannot be read, or is too short to keep some of it for evaluation.
        """
        self.text, self.vocabulary, self.recipe, self.name = text, vocabulary, recipe, name
        n_wanted = min(recipe.n_steps * recipe.n_rows, MAX_ROWS) + N_EVALUATED
        seed = Random(f"decompose/{recipe.seed}").randrange(2**32)
        shape = n_wanted, recipe.n_tokens
        drawn = text_rows(text, vocabulary, shape, bos=bool(vocabulary.bos), seed=seed, room=1)
        n_kept = min(N_EVALUATED, len(drawn.ids) // 2)
        if n_kept == 0:
            raise UserError(
                f"expected at least 2 rows of {recipe.n_tokens} tokens in {text}, found 1, so that "
                "none is left to judge the decomposition on; give a longer text"
            )
        part = slice(-n_kept, None) if name == "evaluate" else slice(-n_kept)
        ids = np.random.default_rng(seed).permutation(drawn.ids[part])
        self.tokens = replace(drawn, ids=ids)
        self.pool = token_pool(recipe.token_pool, text, vocabulary, seed)

    def batch(self, step: int) -> Int[Tensor, "batch pos"]:
        """The rows of one step: the next ones of the text, and random tokens shown again."""
        recipe, ids = self.recipe, self.tokens.ids
        rng = Random(f"{self.name}/{recipe.seed}/{step}")
        n_repeats = round(recipe.n_rows * recipe.repeats)
        n_text = recipe.n_rows - n_repeats
        kept = ids[np.arange(step * n_text, (step + 1) * n_text) % len(ids)]
        repeats = [self._repeats(rng) for _ in range(n_repeats)]
        both = np.concatenate([kept, np.array(repeats).reshape(-1, recipe.n_tokens)])
        return torch.from_numpy(both.astype(np.int64))

    def _repeats(self, rng: Random) -> list[int]:
        bos = self.vocabulary.bos
        length = self.recipe.n_tokens - len(bos)
        block = rng.choices(self.pool.ids, k=log_uniform(rng, 8, length // 2))
        return [*bos, *shown_again(rng, block, length)]
