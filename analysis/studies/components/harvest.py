"""What the components of a decomposition are, what they fire on, and how pairs of them act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.components.decomposed import Decomposition, weight
from analysis.components.geometry import (
    PROJECTIONS,
    Rotation,
    head_norms,
    head_spread,
    head_vectors,
    projections,
    weight_norms,
)
from analysis.components.harvest import WINDOW, Harvest, harvest
from analysis.errors import UserError
from analysis.models.load import Model
from analysis.progress import Report
from analysis.questions.decomposed import DecomposedText
from analysis.questions.rows import absence, literals
from analysis.statistics.resampling import ratio_of_sums
from analysis.text.tokens import Tokens, Vocabulary

from .pairs import LayerPairs, pairings

N_INPUTS = 8
"""Tokens that a component fires on more than chance, at most."""
MIN_MET = 5
"""Times that a component fires at a token before the two count as going together."""


@dataclass(frozen=True, kw_only=True)
class ComponentHarvest(DecomposedText):
    """What are the components of attention, what do they fire on, and how do they work together?

    Importances are those of the decomposition's own function on the target's activations; the
    metric `sees_future` of its quality says whether they depend on later tokens.
    """

    version: ClassVar[int] = 2

    def data(self) -> list[Tokens]:
        """The rows that components are watched on."""
        return [self.tokens]

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Contributions to scores, where they are not defined."""
        del model
        try:
            Rotation.of(self.loaded()[0])
        except UserError as error:
            return [self._without(str(error))]
        return []

    def _without(self, reason: str) -> pl.DataFrame:
        return absence(self.card, "contribution", "text", reason)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Watch all components, and keep what is shown.

        Returns:
            `components`, `component_scores`, `component_pairs`, `component_tokens`; `head_scores`,
            the norm of the target's weight, of its reconstruction and of the remainder by head;
            `absences` where contributions to scores are not defined.
        """
        decomposition, function = self.loaded()
        paired = pairings(decomposition)
        found = harvest(
            decomposition, function, self.tokens.ids, paired, seed=self.seed, report=report
        )
        frames = {"head_scores": weight_rows(decomposition)}
        try:
            rotation = Rotation.of(decomposition)
        except UserError as error:
            rotation = None
            frames["absences"] = self._without(str(error))
        layers = [
            LayerPairs(decomposition, found, layer, rotation, self.seed)
            for layer in dict.fromkeys(layer for layer, _ in projections(decomposition))
        ]
        pairs = [frame for each in layers for frame in each.rows()]
        made = {
            "components": [component_rows(decomposition, found)],
            "component_scores": [score_rows(decomposition, found, self.seed)],
            "component_pairs": pairs,
            "component_tokens": [token_rows(each, self.vocabulary) for each in layers],
        }
        about = {
            "model": self.card.model,
            "text": self.tokens.text,
            "decomposition": self.decomposition_id,
        }
        kept = {table: [f for f in each if len(f)] for table, each in made.items()}
        return frames | {
            table: pl.concat(each, how="diagonal").with_columns(**literals(about))
            for table, each in kept.items()
            if each
        }


def token_rows(layer: LayerPairs, vocabulary: Vocabulary) -> pl.DataFrame:
    """Rows of `component_tokens`: what shown components and their partners fire on.

    Args:
        layer: Which components, and a pass over text.
        vocabulary: The model's tokenizer.

    Returns:
        Examples, and the tokens of largest pointwise mutual information.
    """
    found = layer.found
    words = {int(i): vocabulary.display(int(i)) for i in found.distinct}
    values = [*layer.shown("v"), *(value for _, value in layer.value_partners)]
    shown = {"q": layer.shown("q"), "k": layer.keys, "v": values, "o": layer.shown("o")}
    rows: list[dict[str, Any]] = []
    for letter, name in layer.names.items():
        pmi = found.pmi(name).where(found.firing[name].by_token >= MIN_MET, -np.inf)
        for component in dict.fromkeys(shown[letter]):
            about = {"layer": layer.layer, "projection": letter, "component": component}
            examples = found.examples(name, component)
            rows += [
                {**about, "kind": "example", "rank": rank, "value": value}
                | _window([words[i] for i in found.tokens[row].tolist()], t)
                for rank, (row, t, value) in enumerate(examples, start=1)
            ]
            best = pmi[:, component].topk(min(N_INPUTS, len(pmi)))
            inputs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            rows += [
                {**about, "kind": "input", "rank": rank, "value": value}
                | {"token": words[int(found.distinct[place])]}
                for rank, (place, value) in enumerate(inputs, start=1)
                if value > 0
            ]
    text: dict[str, pl.DataType] = {name: pl.String() for name in ("before", "token", "after")}
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides=text)


def _window(words: list[str], t: int) -> dict[str, str]:
    return {
        "before": "".join(words[max(0, t - WINDOW) : t]),
        "token": words[t],
        "after": "".join(words[t + 1 : t + 1 + WINDOW]),
    }


def component_rows(decomposition: Decomposition, found: Harvest) -> pl.DataFrame:
    """Rows of `components`: how often each fires, how large it is, and over how many heads.

    Args:
        decomposition: The decomposed model.
        found: A pass over text.

    Returns:
        All components of attention.
    """
    frames: list[pl.DataFrame] = []
    for (layer, letter), name in projections(decomposition).items():
        parts = decomposition.components[name]
        norms = head_norms(parts, PROJECTIONS[letter], decomposition.model.card).double().cpu()
        frame = pl.DataFrame(
            {
                "component": np.arange(parts.n),
                "mean_importance": found.mean_importance(name).numpy(),
                "density": found.density(name).numpy(),
                "mean_activation": found.mean_activation(name).numpy(),
                "mean_magnitude": found.mean_magnitude(name).numpy(),
                "norm": norms.norm(dim=1).numpy(),
                "spread": head_spread(norms).numpy(),
            }
        )
        frames.append(frame.with_columns(layer=pl.lit(layer), projection=pl.lit(letter)))
    return pl.concat(frames)


def score_rows(decomposition: Decomposition, found: Harvest, seed: int) -> pl.DataFrame:
    """Rows of `component_scores`: norms by head, and how much is written to each head.

    Args:
        decomposition: The decomposed model.
        found: A pass over text.
        seed: Of the bootstrap over rows of text.

    Returns:
        `head_norm` of every component of attention; `head_activation` of those of q, k and v that
        fire, with its interval.
    """
    frames: list[pl.DataFrame] = []
    card = decomposition.model.card
    for (layer, letter), name in projections(decomposition).items():
        parts, site = decomposition.components[name], PROJECTIONS[letter]
        norms = head_norms(parts, site, card).double().cpu().numpy()
        nothing = np.full_like(norms, np.nan)
        scores = {"head_norm": [norms, nothing, nothing, nothing]}
        if letter != "o":
            firing = found.firing[name]
            size = ratio_of_sums(firing.magnitude.numpy(), firing.count.numpy(), seed)
            written = head_vectors(parts, site, card).norm(dim=-1).double().cpu().numpy()
            sizes = [each[:, None] * written for each in (size.mean, size.lower, size.upper)]
            scores["head_activation"] = [*sizes, np.broadcast_to(size.n[:, None], norms.shape)]
        kind = "KV" if letter in "kv" else "H"
        component, head = np.indices(norms.shape).reshape(2, -1)
        names = pl.Series([f"L{layer}{kind}{i}" for i in range(norms.shape[1])]).gather(head)
        for score, columns in scores.items():
            flat = (column.astype(float).reshape(-1) for column in columns)
            values = dict(zip(("value", "lower", "upper", "n"), flat, strict=True))
            frame = pl.DataFrame({"component": component, "head": names, **values})
            told = {"projection": letter, "score": score}
            frames.append(frame.with_columns(**literals(told), layer=pl.lit(layer)))
    rows = pl.concat(frames).with_columns(pl.col("value", "lower", "upper", "n").fill_nan(None))
    return rows.drop_nulls("value").with_columns(pl.col("n").cast(pl.Int32))


def weight_rows(decomposition: Decomposition) -> pl.DataFrame:
    """Rows of `head_scores`: `norm_q` and so on, the norm of a weight in the rows of each head.

    Args:
        decomposition: The decomposed model.

    Returns:
        Of the target's weight, of the sum of its components, and of the remainder, as `data`; of
        k and v by key-value head, of o in the columns.
    """
    card = decomposition.model.card
    frames: list[pl.DataFrame] = []
    for (layer, letter), name in projections(decomposition).items():
        weights = {
            "target": weight(decomposition.model, name),
            "reconstruction": decomposition.components[name].reconstruction().detach(),
            "remainder": decomposition.delta(name).detach(),
        }
        for data, W in weights.items():
            norms = weight_norms(W, PROJECTIONS[letter], card).double().cpu().numpy()
            rows = pl.DataFrame({"head": np.arange(len(norms)), "value": norms})
            told = literals({"score": f"norm_{letter}", "data": data})
            frames.append(rows.with_columns(**told, layer=pl.lit(layer)))
    absent = ("text", "sequence", "lower", "upper", "n", "chance")
    constants = {"model": pl.lit(card.model), **dict.fromkeys(absent, pl.lit(None))}
    return pl.concat(frames).with_columns(**constants)
