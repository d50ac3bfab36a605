"""One kind of model at a time, in a process of its own: built, loaded, and looked at."""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import transformers as tf

from analysis.errors import UserError
from analysis.models.load import load_model

from . import beside_effects, beside_passes, beside_stock, beside_weights
from .beside_stock import BAR, Check, Gaps, Pair, logits_of, off, tokens
from .build import build, save
from .kinds import every_kind

CHECKS: dict[str, Check] = {
    **beside_stock.CHECKS,
    **beside_weights.CHECKS,
    **beside_passes.CHECKS,
    **beside_effects.CHECKS,
}
LIMIT_S, LIMIT_BYTES = 120, 8 * 2**30
LARGEST = 10**8
"""Parameters; sizes of a part of such a model are not those that were asked for."""


@dataclass
class Row:
    """What was found of a kind."""

    name: str
    not_built: str = ""
    """Why not; empty if it was."""
    refused: str = ""
    """What the program said; empty if it loaded it."""
    gaps: dict[str, Gaps] = field(default_factory=dict[str, Gaps])
    """By check."""
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """By check, why the model has no such answer."""
    broke: dict[str, str] = field(default_factory=dict[str, str])
    """By check, any other error."""
    theirs: str = ""
    """How far logits of TransformerLens' bridge are off, or why there are none."""

    @property
    def loaded(self) -> bool:
        """Whether the program took it."""
        return not self.not_built and not self.refused

    @property
    def wrong(self) -> list[str]:
        """What is off, or broke, a phrase each."""
        found = [f"{name}: {error}" for name, error in self.broke.items()]
        for name, gaps in self.gaps.items():
            beyond = {at: gap for at, gap in gaps.items() if not gap <= BAR}
            if beyond:
                worst = max(beyond, key=lambda at: beyond[at])
                found.append(f"{name}: {worst} off by {beyond[worst]:.2g}")
        return found

    def __str__(self) -> str:
        """A line of the table."""
        if self.not_built:
            return f"{self.name:36} not built  {self.not_built[:110]}"
        beside = f"  bridge {self.theirs[:14]:14}" if self.theirs else ""
        if self.refused:
            return f"{self.name:36} refused  {beside}  {self.refused}"
        told = "; ".join(self.wrong) or f"{len(self.gaps)} right, {len(self.absent)} absent"
        return f"{self.name:36} loaded   {beside}  {told}"


def looked_at(pair: Pair, row: Row) -> Row:
    """Run every check, and note what it says."""
    for name, check in CHECKS.items():
        try:
            row.gaps[name] = check(pair)
        except UserError as error:
            row.absent[name] = str(error)
        except Exception as error:
            row.broke[name] = told(error)
    return row


def told(error: BaseException) -> str:
    """An error in one line, with the last line of ours that it came through."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "/analysis/" in f.filename]
    at = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{at}"


def row_of(name: str, *, beside: bool) -> Row:
    """All that there is to say of a kind; a process of its own says it, within limits."""
    parent, child = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(child, name, beside), daemon=True
    )
    process.start()
    child.close()
    row = Row(name, not_built="ended without an answer")
    try:
        while parent.poll(LIMIT_S):
            row = parent.recv()
    except EOFError:
        pass
    else:
        row.broke["time"] = f"took longer than {LIMIT_S} s"
        process.kill()
    process.join()
    return row


def _work(answer: Connection, name: str, beside: bool) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    row = Row(name)
    try:
        model_type, changes, pictures = every_kind()[name]
        net = build(model_type, changes, with_pictures=pictures)
        if (n_params := sum(weight.numel() for weight in net.parameters())) > LARGEST:
            raise ValueError(f"{n_params} parameters are too many")
        if not logits_of(net, tokens(13)).isfinite().all():
            raise ValueError("logits are not finite")
    except BaseException as error:
        row.not_built = told(error)
        answer.send(row)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            pair = Pair(load_model(str(save(net, Path(folder)))), net)
            looked_at(pair, row)
        except UserError as error:
            row.refused = str(error)
        except BaseException as error:
            row.broke["load"] = told(error)
    answer.send(row)
    if beside:
        row.theirs = theirs(net)
        answer.send(row)


def theirs(net: tf.PreTrainedModel) -> str:
    """How far logits of TransformerLens' bridge around the same weights are off."""
    from transformer_lens.model_bridge.sources import (  # noqa: PLC0415 - slow
        build_bridge_from_module,
    )

    ids = tokens(13)
    expected = logits_of(net, ids)
    try:
        own: Any = deepcopy(net)
        bridge: Callable[..., Any] = build_bridge_from_module(
            own, type(own).__name__, hf_config=own.config
        )
        return f"{off(bridge(ids, return_type='logits').detach(), expected):.2g}"
    except Exception as error:
        return f"none ({told(error)})"
