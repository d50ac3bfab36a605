"""Every question about the parameter components of a model, at a reader's sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analysis.components.folder import default_folder

from .request import Request


@dataclass(frozen=True, kw_only=True)
class DecomposedRequest:
    """A request, and a decomposition of its model."""

    request: Request
    decomposition: str
    """Its folder."""

    @classmethod
    def of(cls, request: Request) -> DecomposedRequest | None:
        """With the model's own decomposition, if it has one and a tokenizer."""
        folder = default_folder(request.card)
        if folder is None or request.vocabulary.tokenizer is None:
            return None
        return cls(request=request, decomposition=str(folder))

    def _text(self, n_sequences: int, n_tokens: int) -> dict[str, Any]:
        """Text to ask about."""
        asked = self.request
        return {
            "model": asked.model,
            "decomposition": self.decomposition,
            "text": asked.text,
            "bos": asked.bos and bool(asked.vocabulary.bos),
            "n_sequences": n_sequences,
            "n_tokens": min(n_tokens, asked.card.n_ctx),
            "seed": asked.seed,
            "device": asked.device,
        }
