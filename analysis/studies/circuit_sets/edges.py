"""By which of its inputs does each head of a circuit need each earlier one?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch

from analysis.errors import UserError
from analysis.interventions import Head, Method, Pooling, stand_in_source
from analysis.interventions.heads import heads_of, parse_heads
from analysis.models.load import Model
from analysis.progress import Report
from analysis.questions.effect_rows import condition_rows, loss_effects
from analysis.questions.rows import Labels, absence
from analysis.questions.work import PARTLY, Work, predicted
from analysis.studies.circuit.heads import SCOPES, BlockExperiment
from analysis.studies.circuit.passes import batches
from analysis.studies.circuit.path_patching import Patched, Path, check_adds

INPUTS = ("q", "k", "v")
EDGE, BESIDE = "edge", "beside"
"""Families: a path between two heads of the circuit, and one into it from a head outside."""

MAX_HEADS = 12
"""Heads between which paths are followed, at most: those that add most to the circuit."""


@dataclass(frozen=True, kw_only=True)
class CircuitEdges(BlockExperiment):
    """What is a direct path between two heads of a circuit worth to copying?

    The sender's contribution to the residual stream is that of another random block where one input
    of the receiver is computed, and nowhere else; what lies between them (MLPs, other heads) reads
    what it read. Beside these paths stand those from every earlier head outside the circuit, into
    all three inputs together. The circuit was chosen on even sequences; these are the odd ones.

    Source:
        Wang et al. 2022, "Interpretability in the Wild".
    """

    version: ClassVar[int] = 1

    circuit: tuple[str, ...]
    """Heads, as `L0H3`."""

    def work(self) -> Work:
        """Half of the sequences: a path is run from the receiver's layer on."""
        n_layers, paths = self.card.n_layers, list(self.paths())
        layers = sum(n_layers - path.receiver.layer + PARTLY for path in paths)
        each = Work(layers=self.repeated.ids.size * (2 * n_layers + layers))
        return (each + predicted(self.repeated) * (1 + len(paths))) * 0.5

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Patch.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means` (loss); or `absences` where layers
            norm what attention writes, or where no head of the circuit lies above another.
        """
        model, paths = self.loaded_model(), sorted(self.paths(), key=_order)
        if gap := self._gap(model, paths):
            return {"absences": absence(self.card, "path", "repeated", gap)}
        labels = Labels(card=self.card, tokens=self.repeated, data="repeated", seed=self.seed)
        conditions = tuple(path.condition() for path in paths)
        rows = condition_rows(conditions, labels).with_columns(
            site=pl.Series([path.into for path in paths]),
            receiver=pl.Series([f"{path.receiver}.{path.into}" for path in paths]),
        )
        losses = self._losses(model, paths, report)
        return {**loss_effects(losses, conditions, SCOPES, labels), "ablations": rows}

    def _gap(self, model: Model, paths: Sequence[Path]) -> str:
        if not paths:
            return "the circuit has no head that lies above another of its heads"
        try:
            check_adds(model)
        except UserError as error:
            return str(error)
        return ""

    def paths(self) -> Iterator[Path]:
        """Every path into a head of the circuit that is measured."""
        circuit = parse_heads(self.circuit, self.card)
        for receiver in circuit:
            for sender in heads_of(self.card):
                if sender.layer >= receiver.layer:
                    continue
                if sender in circuit:
                    yield from (_path(sender, receiver, into, EDGE) for into in INPUTS)
                else:
                    yield _path(sender, receiver, "qkv", BESIDE)

    def _losses(self, model: Model, paths: Sequence[Path], report: Report) -> np.ndarray:
        """Changes of the loss (path, scope, sequence), NaN on even sequences."""
        ids, n_sequences = self.repeated.ids, len(self.repeated.ids)
        methods = [Method.RESAMPLE]
        source = stand_in_source(model, methods, ids, Pooling.PER_POSITION, n_sequences, self.seed)
        found = np.full((len(paths), len(SCOPES), n_sequences), np.nan)
        for batch in batches(n_sequences, ids.shape[1]):
            rows = slice(batch.start + 1 - batch.start % 2, batch.stop, 2)
            if rows.start >= rows.stop:
                continue
            with torch.inference_mode():
                stand_ins = source.stand_ins(model, ids, rows)
                patched = Patched(self.start(model, self.repeated, rows), stand_ins)
                for i, path in enumerate(paths):
                    found[i, :, rows] = self.by_scope(patched.loss_change(path)).T
                    done = batch.start * len(paths) + (i + 1) * (batch.stop - batch.start)
                    report(done, n_sequences * len(paths), "")
        return found


def _path(sender: Head, receiver: Head, into: str, family: str) -> Path:
    return Path(method=Method.RESAMPLE, sender=sender, receiver=receiver, into=into, family=family)


def _order(path: Path) -> tuple[int, Head, Head]:
    """Paths that share a stream come side by side."""
    return path.receiver.layer, path.sender, path.receiver
