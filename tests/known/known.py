"""Models whose circuit is known, asked as a reader would ask them."""

from pathlib import Path

from analysis.overview.findings import findings
from analysis.questions.asked import Asked, Profile
from store import Store

CHAPTERS = ("02", "03", "05")
SIZES = {
    "n_sequences": 12,
    "n_tokens": 32,
    "block_len": 12,
    "n_blocks": 12,
    "n_ablated": 12,
    "ablated_tokens": 32,
    "n_draws": 40,
    "atlas.n_repeats": 12,
}
"""Enough for every verdict: six pairs of sequences, and as many random sets as a p takes."""


class Answered:
    """Claims on a model, and all that was stored on the way."""

    def __init__(self, model: str, text: str, folder: Path) -> None:
        """Ask everything that the chapters show."""
        own = tuple(sorted(SIZES.items()))
        asked = Asked(model=model, text=text, profile=Profile.TINY, own=own, chapters=CHAPTERS)
        self.model, self.asked, self.store = model, asked, Store.open(folder)
        self.claims = findings(asked, self.store.recall)

    @property
    def verdicts(self) -> dict[str, str]:
        """By claim."""
        return dict(self.claims.select("claim", "verdict").iter_rows())

    def recalled(self, question):
        """What was stored of a question."""
        return self.store.recall(question)
