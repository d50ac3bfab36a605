"""Along which path does the previous-token head serve an induction head: keys, queries, values?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attention import Edit, Site, Taps, Where
from analysis.errors import UserError
from analysis.interventions import (
    Condition,
    Head,
    Intervention,
    Method,
    Pooling,
    StandIns,
    stand_in_source,
    taps,
)
from analysis.interventions.heads import heads_of
from analysis.models.load import Model
from analysis.progress import Report, stage
from analysis.questions.effect_rows import condition_rows, head_effects, loss_effects
from analysis.questions.rows import Labels, absence, joined
from analysis.questions.work import PARTLY, Work, predicted
from analysis.text.tokens import Tokens

from .heads import SCOPES, CircuitExperiment
from .passes import Start, batches, check_adds, put_heads

METHODS = (Method.ZERO, Method.RESAMPLE)
"""What the sender writes into the receiver's input: nothing, or what it writes on another row."""

INPUTS = {"k": (Site.K,), "q": (Site.Q,), "v": (Site.V,), "qkv": (Site.Q, Site.K, Site.V)}
"""Which inputs of the receiver see the change."""

_SCORED = ("k", "q", "qkv")
"""Values cannot change a pattern, so that an induction score through them alone cannot change."""


THROUGH = "path_through"
"""Paths on which the MLPs and heads between sender and receiver carry on what the sender changes.
All others are direct: what lies between sees nothing."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """One sender's contribution, changed in some inputs of one receiver and nowhere behind it."""

    method: Method
    sender: Head
    receiver: Head
    into: str
    """A key of `INPUTS`."""
    family: str
    """`THROUGH`, or one of the direct paths."""

    @property
    def name(self) -> str:
        """As a condition is called."""
        told = {"shuffled": ", shuffled", THROUGH: ", through all between"}.get(self.family, "")
        return f"path {self.method.value} {self.sender} -> {self.receiver}.{self.into}{told}"

    def condition(self) -> Condition:
        """Its entry among the conditions."""
        one = Intervention(method=self.method, heads=(self.sender,), positions=None)
        return Condition(name=self.name, family=self.family, interventions=(one,))


class Patched:
    """Sequences, and what a receiver's layer reads when a sender's contribution is changed."""

    def __init__(self, start: Start, stand_ins: StandIns) -> None:
        """Keep what all paths share.

        Args:
            start: The sequences.
            stand_ins: What may take the place of what heads read on them.
        """
        self._start = start
        self._stand_ins = stand_ins
        self._streams: dict[tuple[int, Head, Method, bool], Tensor] = {}
        self._changes: dict[str, Tensor] = {}
        self._inputs: dict[int, dict[Site, Tensor]] = {}
        self._scores: dict[int, Tensor] = {}
        self._losses = start.losses(start.base.hidden)

    def stream(self, path: Path) -> Float[Tensor, "row pos d_model"]:
        """The changed residual stream that enters the receiver's layer."""
        through = path.family == THROUGH
        key = path.receiver.layer, path.sender, path.method, through
        if key not in self._streams:
            # Paths with one stream come side by side: one is enough to keep.
            self._streams = {key: self._carried(path) if through else self._added(path)}
            self._changes = {}
        return self._streams[key]

    def _added(self, path: Path) -> Float[Tensor, "row pos d_model"]:
        """The base's stream with the change of what the sender itself adds to it."""
        (layer, head), base = path.sender, self._start.base
        z = base.z[layer]
        edit: Edit = self._taps(path).edits[Site.Z]
        changed = edit(Where(layer, slice(0, len(z))), z)[:, head] - z[:, head]
        change = changed @ self._start.model.W_O(layer)[head]
        return base.resid_pre[path.receiver.layer] + change

    def _carried(self, path: Path) -> Float[Tensor, "row pos d_model"]:
        """What the layers from the sender to the receiver make of the change."""
        between = range(path.sender.layer, path.receiver.layer)
        return self._start.walked(between, self._taps(path))

    def _taps(self, path: Path) -> Taps:
        return taps(path.condition().interventions, self._stand_ins, len(self._start.tokens))

    def score_change(self, path: Path) -> Float[np.ndarray, " row"]:
        """Change of the receiver's induction score."""
        layer, start = path.receiver.layer, self._start
        if layer not in self._inputs:
            entering = start.base.resid_pre[layer]
            self._inputs[layer] = start.read(layer, entering)
            self._scores[layer] = start.induction_scores(layer, entering, {})
        stream = self.stream(path)
        if path.into not in self._changes:  # a pattern knows nothing of other heads: all at once
            own = {s: t for s, t in self._inputs[layer].items() if s not in INPUTS[path.into]}
            found = start.induction_scores(layer, stream, own)
            self._changes[path.into] = found - self._scores[layer]
        return self._changes[path.into][:, path.receiver.head].double().cpu().numpy()

    def loss_change(self, path: Path) -> Float[np.ndarray, "row position"]:
        """Change of the losses when only the receiver sees the change."""
        layer, head = path.receiver
        changed = self._start.read(layer, self.stream(path))
        given = {site: changed[site] for site in INPUTS[path.into]}
        found = self._start.reading(layer, put_heads(layer, [head], given), [])
        return (found.losses - self._losses).double().cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class PathPatching(CircuitExperiment):
    """Into which input of an induction head does an earlier head's contribution matter?

    A sender's contribution z W_O is subtracted from the residual stream that enters a receiver's
    layer (`zero`), or exchanged for its contribution on another random block (`resample`), only
    where the receiver's keys, or queries, or values are computed. Every head below a receiver is
    a sender for the induction score; the loss is measured for the previous-token head and, into
    the first receiver, for the other heads of its layer (keys, and all three). These paths are
    direct. Beside those of the previous-token head stand the same through all that lies between:
    what the layers from its own to the receiver's make of the change, MLPs and heads alike.

    Source:
        Wang et al. 2022, "Interpretability in the Wild".
    """

    version: ClassVar[int] = 3

    def work(self) -> Work:
        """Scores along paths take part of the receiver's layer, losses all that lies behind it."""
        return self._work(self.repeated, control=False) + self._work(self.shuffled, control=True)

    def _work(self, tokens: Tokens, *, control: bool) -> Work:
        """That of the paths on one of the blocks."""
        card, paths = self.card, self.paths(control=control)
        carried = {(p.receiver.layer, p.sender, p.method) for p in paths if p.family == THROUGH}
        read = {(p.receiver.layer, p.sender, p.method, p.family == THROUGH, p.into) for p in paths}
        losing = [path for path in paths if self._loses(path)]
        layers = 4 * card.n_layers + PARTLY * (len(read) + len(losing))
        layers += sum(receiver - sender.layer for receiver, sender, _ in carried)
        layers += sum(card.n_layers - path.receiver.layer for path in losing)
        return Work(layers=layers * tokens.ids.size) + predicted(tokens) * (1 + len(losing))

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Patch.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means` (loss) and `head_effects` (change
            of the receiver's score); or `absences` where layers norm what attention writes.
        """
        model = self.loaded_model()
        if gaps := self.gaps(model):
            return {"absences": pl.concat(gaps)}
        both = ((self.repeated, False), (self.shuffled, True))
        frames: list[dict[str, pl.DataFrame]] = []
        for i, (tokens, control) in enumerate(both):
            paths = self.paths(control=control)
            told = stage(report, "shuffled" if control else "repeated", i, len(both))
            scores, losses = self._measure(model, tokens, paths, told)
            frames.append(self._frames(paths, tokens, scores, losses))
        return joined(frames)

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Everything, where heads add nothing of their own to what later layers read."""
        try:
            check_adds(model)
        except UserError as error:
            return [absence(self.card, "path", "repeated", str(error))]
        return []

    def paths(self, *, control: bool) -> list[Path]:
        """What is patched.

        Args:
            control: On the shuffled block, where the previous-token head alone is a sender.

        Returns:
            Paths, those of one receiver's layer, sender and method side by side.
        """
        previous = self.heads.previous
        found: list[Path] = []
        for layer in sorted({receiver.layer for receiver in self.heads.copiers}):
            below = [head for head in heads_of(self.card) if head.layer < layer]
            senders = [previous] if control else below
            receivers = [head for head in self.heads.copiers if head.layer == layer]
            for sender, method, receiver, into in product(senders, METHODS, receivers, INPUTS):
                family = "path" if sender == previous else "other_path"
                if sender.layer == previous.layer and sender != previous:
                    family = "layer_matched"
                path = Path(
                    method=method,
                    sender=sender,
                    receiver=receiver,
                    into=into,
                    family="shuffled" if control else family,
                )
                if into in _SCORED or self._loses(path):
                    found.append(path)
            if not control:
                found += [
                    replace(path, family=THROUGH)
                    for path in found
                    if path.family == "path" and path.receiver.layer == layer
                ]
        return found

    def _loses(self, path: Path) -> bool:
        """Whether the loss is measured along a path."""
        if path.family == "layer_matched":
            return path.receiver == self.heads.copiers[0] and path.into in {"k", "qkv"}
        return path.family in {"path", THROUGH}

    def _measure(
        self, model: Model, tokens: Tokens, paths: Sequence[Path], report: Report
    ) -> tuple[np.ndarray, np.ndarray]:
        """Changes of scores (path, sequence) and of losses (path, scope, sequence); NaN if none."""
        n_sequences, n_pos = tokens.ids.shape
        source = stand_in_source(
            model, METHODS, tokens.ids, Pooling.PER_POSITION, n_sequences, self.seed
        )
        scores = np.full((len(paths), n_sequences), np.nan)
        losses = np.full((len(paths), len(SCOPES), n_sequences), np.nan)
        for rows in batches(n_sequences, n_pos):
            with torch.inference_mode():
                stand_ins = source.stand_ins(model, tokens.ids, rows)
                patched = Patched(self.start(model, tokens, rows), stand_ins)
                for i, path in enumerate(paths):
                    if path.into in _SCORED:
                        scores[i, rows] = patched.score_change(path)
                    if self._loses(path):
                        losses[i, :, rows] = self.by_scope(patched.loss_change(path)).T
                    done = rows.start * len(paths) + (i + 1) * (rows.stop - rows.start)
                    report(done, n_sequences * len(paths), "")
        return scores, losses

    def _frames(
        self, paths: Sequence[Path], tokens: Tokens, scores: np.ndarray, losses: np.ndarray
    ) -> dict[str, pl.DataFrame]:
        labels = Labels(card=self.card, tokens=tokens, data="repeated", seed=self.seed)
        conditions = tuple(path.condition() for path in paths)
        rows = condition_rows(conditions, labels).with_columns(
            site=pl.Series([path.into for path in paths]),
            receiver=pl.Series([f"{path.receiver}.{path.into}" for path in paths]),
        )
        scored: list[pl.DataFrame] = []
        for receiver in self.heads.copiers:
            of = [i for i, p in enumerate(paths) if p.receiver == receiver and p.into in _SCORED]
            names = [paths[i].name for i in of]
            scored.append(
                head_effects(scores[of][..., None], names, [receiver], "induction", labels)
            )
        effects = loss_effects(losses, conditions, SCOPES, labels)
        return {**effects, "ablations": rows, "head_effects": pl.concat(scored)}
