"""What questions about random tokens share: the pool that these are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.text.pool import Pool, token_pool

from .experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Drawing(Experiment):
    """A question about random tokens."""

    token_pool: str = "all"
    """What they are drawn from, as `token_pool` takes it."""
    text: str = "reference"
    """What `read_source` takes: whose tokens a pool is made of."""

    @cached_property
    def pool(self) -> Pool:
        """The ids that they are drawn from."""
        return token_pool(self.token_pool, self.text, self.vocabulary, self.seed)

    def question(self) -> dict[str, Any]:
        """As of every experiment, with the pool's ids."""
        asked = super().question()
        return asked | {"parameters": asked["parameters"] | {"token_pool": self.pool.key()}}
