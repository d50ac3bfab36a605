"""What a model answers under many conditions, mostly without decoding.

Greedy decoding follows the right answer as long as each of its tokens is the most probable one,
so that one pass over the prompt and its answer says how far it goes and what it says instead. Only
where that leaves open whether the answer is right is it decoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.attention import Taps
from analysis.batches import alike
from analysis.errors import UserError
from analysis.interventions import NOTHING, Condition, StandIns, check
from analysis.interventions.passes.layers import layer_calls
from analysis.interventions.passes.staircase import Staircase, joining_order, trace
from analysis.interventions.passes.sweep import chunks
from analysis.interventions.passes.tails import tails
from analysis.models.load import Model, hidden_states, unembed
from analysis.progress import Report

from .answers import correct, said_first, settled_ids, spoken
from .baseline import refuse_long
from .decoding import Applied, decode
from .growing import keys_stay
from .trials import Group, Trial, asked_alike


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What was answered under each condition."""

    correct: Bool[np.ndarray, "condition item"]
    """Whether the greedy answer is right."""
    log_p: Float[np.ndarray, "condition item"]
    """Log probability of all tokens of the right answer, nats."""
    logit_difference: Float[np.ndarray, "condition item"]
    """Logit of the right answer minus that of the named wrong one, at the first token where they
    differ; NaN without one."""
    answer_rank: Int[np.ndarray, "condition item"]
    """Rank of the right answer's first token, from 1."""
    decoded: Bool[np.ndarray, "condition item"]
    """Whether it took decoding to know."""


def outcomes(
    model: Model, trial: Trial, conditions: Sequence[Condition], report: Report
) -> Outcomes:
    """Ask every question under every condition.

    Args:
        model: The model.
        trial: The questions.
        conditions: What is replaced; one without heads asks the model as it is.
        report: Told how many answers are known.

    Returns:
        Answers in the order of conditions and prompts.

    Raises:
        UserError: A prompt leaves no room for an answer, a condition does not fit, a stand-in is
            missing, or logits are not finite.
    """
    refuse_long(trial.prompts, model)
    for condition in conditions:
        check(condition.interventions, model.card, min(len(p.ids) for p in trial.prompts))
    found = _Found(len(conditions), len(trial.prompts))
    done, total = 0, len(conditions) * len(trial.prompts)
    with torch.inference_mode():
        for places in alike(len(asked.ids) for asked in trial.prompts):
            group = asked_alike(model, trial, places, conditions)
            for rows in chunks(len(places), trial.max_rows):
                for part, logits in _passes(group, rows, conditions):
                    _note(group, (part, rows), logits, found)
                    done += len(part) * (rows.stop - rows.start)
                    report(done, total, "answers")
                _decode_open(group, rows, conditions, found)
    return found.outcomes()


class _Found:
    """Answers as they become known."""

    def __init__(self, n_conditions: int, n_items: int) -> None:
        shape = (n_conditions, n_items)
        self.log_p, self.difference = np.full(shape, np.nan), np.full(shape, np.nan)
        self.rank = np.zeros(shape, dtype=np.int64)
        self.right = np.zeros(shape, dtype=bool)
        self.open = np.zeros(shape, dtype=bool)
        """What only decoding can tell."""

    def outcomes(self) -> Outcomes:
        return Outcomes(
            correct=self.right,
            log_p=self.log_p,
            logit_difference=self.difference,
            answer_rank=self.rank,
            decoded=self.open,
        )


def _passes(
    group: Group, rows: slice, conditions: Sequence[Condition]
) -> Iterator[tuple[list[int], Float[Tensor, "condition row step d_vocab"]]]:
    """Logits that predict every token of the answers, for a few conditions at a time.

    One pass over prompt and answer has them all; where keys change as the sequence grows, each is
    read off a pass that ends before it.
    """
    n_prompt, (_, n_pos) = group.n_prompt, group.tokens.shape
    if keys_stay(group.model, group.tokens[0, :n_prompt], n_pos):
        yield from _pass(group, rows, conditions, range(n_prompt, n_pos + 1))
        return
    ends = [range(end, end + 1) for end in range(n_prompt, n_pos + 1)]
    for steps in zip(*(_pass(group, rows, conditions, end) for end in ends), strict=True):
        yield steps[0][0], torch.cat([logits for _, logits in steps], dim=2)


def _pass(
    group: Group, rows: slice, conditions: Sequence[Condition], ends: range
) -> Iterator[tuple[list[int], Float[Tensor, "condition row end d_vocab"]]]:
    """Logits behind some ends of the sequences, which are read up to the last of them."""
    model, tokens, begin = group.model, group.tokens[rows, : ends[-1]], ends[0] - 1
    n_layers, edits_of = model.card.n_layers, group.trial.edits_of
    if edits_of is not None:
        for i, condition in enumerate(conditions):
            hidden = hidden_states(model, tokens, Taps(edits=edits_of(condition)))
            yield [i], unembed(model, hidden[None, :, begin:])
        return
    idle = [i for i, c in enumerate(conditions) if c.first_layer >= n_layers]
    ordered = [i for i in range(len(conditions)) if i not in set(idle)]
    acting = {i: group.acting(conditions[i]) for i in ordered}
    ordered.sort(key=lambda i: joining_order(acting[i]))
    joints = {conditions[i].first_layer for i in ordered} | {n_layers - 1}
    base = trace(model, tokens, joints)
    for i in idle:
        yield [i], unembed(model, base.hidden[None, :, begin:])
    if not ordered:
        return
    whole = Applied((), group.donors(rows)).until(tokens.shape[1])
    stairs = Staircase(model, layer_calls(model, tokens[:1]), base, whole.stand_ins)
    for part in chunks(len(ordered), max(1, group.trial.max_rows // len(tokens))):
        here = [_until(acting[i], tokens.shape[1]) for i in ordered[part]]
        yield ordered[part], unembed(model, tails(stairs, here, begin))


def _until(condition: Condition, end: int) -> Condition:
    """The condition on sequences of a length."""
    cut = Applied(condition.interventions, NOTHING).until(end)
    return replace(condition, interventions=cut.interventions)


def _note(
    group: Group,
    where: tuple[list[int], slice],
    logits: Float[Tensor, "condition row step d_vocab"],
    found: _Found,
) -> None:
    """Read answers off the logits; what stays open is marked."""
    part, rows = where
    log_p, best = logits.double().log_softmax(-1), logits.argmax(-1).tolist()
    for at, (asked, given) in enumerate(zip(group.prompts[rows], group.given[rows], strict=True)):
        place, n = group.places[rows.start + at], len(asked.answer)
        steps = torch.arange(n, device=logits.device)
        gold = torch.tensor(asked.answer, device=logits.device)
        found.log_p[part, place] = log_p[:, at, steps, gold].sum(-1).cpu().numpy()
        first = logits[:, at, 0]
        found.rank[part, place] = 1 + (first > first[:, gold[:1]]).sum(-1).cpu().numpy()
        if asked.fork is not None:
            step, right, wrong = asked.fork
            gap = logits[:, at, step, right] - logits[:, at, step, wrong]
            found.difference[part, place] = gap.double().cpu().numpy()
        for row, i in enumerate(part):
            said, trial = said_first(best[row][at], given), group.trial
            verdict = settled_ids(said, asked.item.answer, trial.vocabulary, trial.limit)
            found.open[i, place], found.right[i, place] = verdict is None, bool(verdict)
        if not np.isfinite(found.log_p[part, place]).all():
            raise UserError(
                f"expected finite logits, got others on {asked.item.id}; ablate less, or check "
                "the weights"
            )


def _decode_open(group: Group, rows: slice, conditions: Sequence[Condition], found: _Found) -> None:
    """Decode what one pass leaves open."""
    trial, stand_ins = group.trial, group.donors(rows)
    for i, condition in enumerate(conditions):
        places = group.places[rows]
        at = [row for row, place in enumerate(places) if found.open[i, place]]
        if not at:
            continue
        some = [group.prompts[rows][row] for row in at]
        donors = None if stand_ins.donors is None else stand_ins.donors[:, at]
        here = StandIns(means=stand_ins.means, donors=donors)
        applied = Applied(group.acting(condition).interventions, here)
        if trial.edits_of is not None:
            applied = Applied((), stand_ins, trial.edits_of(condition))
        ids = torch.tensor([asked.ids for asked in some], device=group.model.device)
        for row, asked, new in zip(
            at, some, decode(group.model, ids, applied, trial.limit), strict=True
        ):
            text = spoken(new, trial.vocabulary)
            found.right[i, places[row]] = correct(text, asked.item.answer)
