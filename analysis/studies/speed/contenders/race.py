"""Contenders side by side: each warmed up once, then lap by lap in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
import torch

from analysis.interventions import Draws
from analysis.models.load import Model
from analysis.progress import Report
from analysis.statistics.comparisons import spearman

from .models import SEED
from .peers import PEERS, UnavailableError
from .tasks import DRAWN_TOKENS, Answer, Run, Task, Work, our_scores, our_sweep
from .timing import Lap, matmul_rate, timed
from .variants import Compiler, compiled, in_bfloat16, relative_errors

EXACT = "ours, float32"
"""What every other contender's seconds are divided by."""
PLAIN = "plain hooks"
"""What every other contender's answer is compared with, where it takes part."""
_PREVIEW = "ours, bfloat16"
_DRAWN = f"ours, {DRAWN_TOKENS} drawn tokens"
_COMPILED = ", compiled"


@dataclass(frozen=True)
class Contender:
    """One way to do a task."""

    name: str
    prepare: Callable[[], Run]
    """Raises `UnavailableError` where it cannot take part."""
    preview: bool = False
    """Whether it need not agree, so that its error is what is reported."""


@dataclass
class Entry:
    """A contender's laps, and its answer or why it has none."""

    contender: Contender
    run: Run | None = None
    reason: str = ""
    laps: list[Lap] = field(default_factory=list[Lap])
    idle: list[Lap] = field(default_factory=list[Lap])
    """The same without any head, where heads are sampled: what is not to be scaled."""
    answer: Answer = field(default_factory=dict[str, np.ndarray])


@dataclass(frozen=True)
class Race:
    """What was measured of a task on a model."""

    entries: tuple[Entry, ...]
    rates: dict[str, float]
    """Operations a second of a matrix product: the median over rounds, by type."""


@dataclass(frozen=True)
class Errors:
    """How far a contender's answer is from another's."""

    largest: float
    """Largest difference: of KL in nats for A, of any score for S."""
    relative: tuple[float, float] | None
    """Largest and median relative error of KL, for a preview."""
    rank_correlation: float | None
    """Spearman's, of KL over heads, for a preview of several heads."""


def contenders(task: Task, model: Model, compiler: Compiler | None) -> list[Contender]:
    """Who does a task, ours in float32 first.

    Args:
        task: Which.
        model: On which model.
        compiler: What compiles a module in place for further variants of ours; None for none.

    Returns:
        Contenders; nothing is prepared yet.
    """
    peers = [
        Contender(name, lambda prepare=prepare: prepare(task, model))
        for name, (prepare, _) in PEERS.items()
    ]
    if task is Task.S:
        return [Contender(EXACT, lambda: our_scores(model)), *peers]
    ours = [
        Contender(EXACT, lambda: our_sweep(model)),
        Contender(_PREVIEW, lambda: our_sweep(in_bfloat16(model)), preview=True),
    ]
    if compiler is not None:
        exact = Contender(EXACT + _COMPILED, lambda: our_sweep(compiled(model, compiler)))
        preview = Contender(
            _PREVIEW + _COMPILED,
            lambda: our_sweep(compiled(in_bfloat16(model), compiler)),
            preview=True,
        )
        ours = [ours[0], exact, ours[1], preview]
    draws = Draws(DRAWN_TOKENS, SEED)
    drawn = Contender(_DRAWN, lambda: our_sweep(model, draws), preview=True)
    return [*ours, drawn, *peers]


def contender_names(task: Task, with_compiled: bool) -> tuple[str, ...]:
    """Who does a task, by name, in the order of `contenders`."""
    if task is Task.S:
        return (EXACT, *PEERS)
    ends = ("", _COMPILED) if with_compiled else ("",)
    return (*(name + end for name in (EXACT, _PREVIEW) for end in ends), _DRAWN, *PEERS)


def raced(
    who: Sequence[Contender], work: Work, device: torch.device, repeats: int, report: Report
) -> Race:
    """Measure contenders in turn, a lap each a round, so that a machine's drift hits all alike.

    Args:
        who: The contenders, ours in float32 first.
        work: The question.
        device: Where they compute.
        repeats: Rounds.
        report: Told how many laps are done.

    Returns:
        Laps and answers; a contender that cannot take part says why.
    """
    total, entries = len(who) * (repeats + 1), [Entry(contender) for contender in who]
    for done, entry in enumerate(entries):
        report(done, total, f"{entry.contender.name}, warming up")
        _warm_up(entry, work)
    rates: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for lap in range(repeats):
        for name, found in rates.items():
            found.append(matmul_rate(getattr(torch, name), device))
        turn = lap % len(who)
        for place, entry in enumerate([*entries[turn:], *entries[:turn]]):
            report((lap + 1) * len(who) + place, total, entry.contender.name)
            _lap(entry, work, device)
    report(total, total, "")
    return Race(tuple(entries), {name: median(found) for name, found in rates.items()})


def _warm_up(entry: Entry, work: Work) -> None:
    """Prepare a contender, and run it once on one sequence and the first head of every layer."""
    first = {head.layer: head for head in reversed(work.heads)}
    small = replace(work, ids=work.ids[:1], heads=tuple(sorted(first.values())))
    try:
        run = entry.contender.prepare()
        run(small)
    except UnavailableError as error:
        entry.reason = str(error)
    except Exception as error:  # a peer or a compiler that fails must not end the others' race
        if entry.contender.name == EXACT:
            raise
        what = (str(error).splitlines() or [""])[0][:80]
        entry.reason = f"failed: {type(error).__name__}: {what}"
    else:
        entry.run = run


def _lap(entry: Entry, work: Work, device: torch.device) -> None:
    run = entry.run
    if run is None:
        return
    entry.answer, lap = timed(lambda: run(work), device)
    entry.laps.append(lap)
    if work.scale != 1:
        entry.idle.append(timed(lambda: run(replace(work, heads=())), device)[1])


def seconds(entry: Entry, scale: float) -> list[float]:
    """Seconds of each lap for all heads.

    Args:
        entry: A contender's laps.
        scale: All heads over the ablated ones; what is needed without any head is not scaled.

    Returns:
        One a round.
    """
    laps = [lap.seconds for lap in entry.laps]
    if scale == 1:
        return laps
    idle = [lap.seconds for lap in entry.idle]
    return [i + scale * max(0.0, lap - i) for lap, i in zip(laps, idle, strict=True)]


def errors(task: Task, entry: Entry, exact: Answer) -> Errors:
    """Compare a contender's answer with another one.

    Args:
        task: Which.
        entry: The contender.
        exact: The other answer, in float32.

    Returns:
        How far they are apart.
    """
    if task is Task.S:
        gaps = [np.abs(values - exact[name]).max() for name, values in entry.answer.items()]
        return Errors(float(max(gaps)), None, None)
    found, expected = entry.answer["kl_base_ablated"], exact["kl_base_ablated"]
    largest = float(np.abs(found - expected).max())
    if not entry.contender.preview:
        return Errors(largest, None, None)
    rank = float(spearman(found, expected)) if len(found) > 2 else None
    return Errors(largest, relative_errors(found, expected), rank)
