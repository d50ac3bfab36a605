"""What is claimed of the sink before it is judged, and the bars that were set for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from analysis.interventions import Head, Method
from analysis.interventions.heads import in_words
from analysis.questions.verdicts.judgement import Bar

from .conditions import OTHER_HEADS, OTHER_VALUE
from .data import BOS_FIRST, BOS_MOVED, WORD_FIRST
from .evidence import Measured
from .measures import MAGNITUDE, MEDIANS

FIGURES = {
    "sink_attends": "03_bos_sink#sink_grid",
    "sink_is_token": "03_bos_sink#designs",
    "sink_is_position": "03_bos_sink#designs",
    "sink_needs_both": "03_bos_sink#designs",
    "sink_without_bos": "03_bos_sink#designs",
    "sink_on_second_text": "03_bos_sink#sink_on_texts",
    "sink_depends_on_text": "03_bos_sink#sink_on_texts",
    "sink_value_small": "03_bos_sink#carried",
    "sink_writes_little": "03_bos_sink#carried_table",
    "sink_value_unused": "03_bos_sink#value_effects",
    "sink_attention_needed": "03_bos_sink#key_effects",
    "sink_rests": "03_bos_sink#resting",
    "sink_rests_silently": "03_bos_sink#resting_outputs",
    "sink_massive": "03_bos_sink#massive_table",
    "no_op_sink": "03_bos_sink#claims_table",
}

SINK = 0.5
"""A sink takes more than this share of a head's attention."""

PUBLISHED_MASS = (0.22, 0.49)
"""Shares on position 0, without any BOS, that were published for the heads of a layer of sinks."""

APART = 0.25
"""How much more attention one design must give than another for the sink to belong to it."""

VALUE_SMALL = 0.25
"""A small value has less than this share of the mean norm of the head's other values.

The control is the same attention on another value: that of a random other position, whose share is
about 1. Norms enter what later layers read by their squares, so that a quarter of the norm is a
sixteenth of what the same attention would add from another value. A value near 0 passes however
much attention it gets, while it may be all that a resting head writes.
"""

PART_SMALL = 0.05
"""A small part has less than this share of the norm of the residual stream that it is added to.

A part of that size turns the stream by no more than 3 degrees: what reads it sees a cosine above
.998. The control is the same attention on the value at a random other position: it must give more,
or the part would be small for what the head does, and not for what it finds at the sink.
"""

NEGLIGIBLE_KL = 0.01
"""Predictions that differ by less, in nats per token, are taken to be the same.

The control has the same attention on another value: a head whose values never matter fails there.
"""

RESTING = 0.1
"""A head that rests on the sink puts at least this much more there when it has nothing to copy,
beyond what the place of its queries changes."""

SILENT = 0.5
"""A head that rests silently writes less than this share of the norm that it writes at work: a
quarter of the square. The control are queries at the same places that all have nothing to copy."""

COPIER = 0.4
"""Only heads with this induction score are at work where there is something to copy."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One claim before it is judged."""

    claim: str
    statement: str
    statistic: str
    values: np.ndarray
    """One a sequence, of the odd ones."""
    bar: Bar
    larger: bool = True
    """Whether the statistic must exceed threshold and control, or stay below both."""


def findings(measured: Measured, text: str) -> Iterator[Finding]:
    """Everything that can be tested, on a text that is said in words; without one, rest alone."""
    parts = (_mass_findings, _size_findings, _effect_findings) if measured.has_text else ()
    told = [(text, found) for part in parts for found in part(measured)]
    told += [("random blocks", found) for found in _resting_findings(measured)]
    for data, found in told:
        yield replace(found, statement=f"On {data}: {found.statement}")


def _mass_findings(measured: Measured) -> list[Finding]:
    """Is there a sink, and does it come with the token or with the position?"""
    head, main = measured.strongest("sink_mass", measured.main), measured.main
    bare = measured.strongest("sink_mass", WORD_FIRST)
    found = [
        Finding(
            claim="sink_attends",
            statement=f"{head}, the strongest on the even sequences, puts more than half of its "
            f"attention on {measured.place}",
            statistic=f"attention to {measured.place}",
            values=measured.odd("sink_mass", main, head),
            bar=Bar(
                threshold=SINK,
                control=measured.odd("sink_mass", main, head, "chance"),
                control_name="uniform attention",
            ),
        ),
        Finding(
            claim="sink_without_bos",
            statement=f"Without any BOS, {bare}, then the strongest on the even sequences, still "
            f"puts more than {PUBLISHED_MASS[0]} of its attention on position 0",
            statistic="attention to an ordinary word at position 0",
            values=measured.odd("sink_mass", WORD_FIRST, bare),
            bar=Bar(
                threshold=PUBLISHED_MASS[0],
                control=measured.odd("sink_mass", WORD_FIRST, bare, "chance"),
                control_name="uniform attention",
            ),
        ),
    ]
    return [*found, *_token_findings(measured, head)] if measured.has_bos else found


def _token_findings(measured: Measured, head: Head) -> list[Finding]:
    first = measured.odd("attention_to_0", BOS_FIRST, head)
    word = measured.odd("attention_to_0", WORD_FIRST, head)
    moved = measured.odd("attention_to_middle", BOS_MOVED, head)
    by_chance = measured.odd("attention_to_0", BOS_FIRST, head, "chance")
    return [
        Finding(
            claim="sink_is_token",
            statement=f"The sink of {head} is the token, not the position: moved to the middle, "
            f"BOS gets at least {APART} more attention than the word at position 0",
            statistic="attention to BOS in the middle minus attention to the word at position 0",
            values=moved - measured.odd("attention_to_0", BOS_MOVED, head),
            bar=Bar(
                threshold=APART,
                control=measured.odd("attention_to_middle", WORD_FIRST, head) - word,
                control_name="words at both",
            ),
        ),
        Finding(
            claim="sink_is_position",
            statement=f"The sink of {head} is the position, not the token: with BOS in the middle, "
            f"the word at position 0 gets at least {APART} more attention than BOS",
            statistic="attention to the word at position 0 minus attention to BOS in the middle",
            values=measured.odd("attention_to_0", BOS_MOVED, head) - moved,
            bar=Bar(
                threshold=APART,
                control=by_chance - measured.odd("attention_to_middle", BOS_MOVED, head, "chance"),
                control_name="uniform attention",
            ),
        ),
        Finding(
            claim="sink_needs_both",
            statement=f"The sink of {head} needs BOS and position 0 together: BOS at position 0 "
            f"gets at least {APART} more attention than BOS in the middle and a word "
            "at position 0 taken together",
            statistic="attention to BOS at position 0, minus BOS in the middle, minus a word at "
            "position 0",
            values=first - moved - word,
            bar=Bar(threshold=APART, control=-by_chance, control_name="uniform attention"),
        ),
    ]


def _size_findings(measured: Measured) -> list[Finding]:
    """Is what lies at the sink large: its value, the part that is read, its activations?"""
    head, layer = measured.strongest("sink_mass", measured.main), measured.massive_layer()
    main, place = measured.main, measured.place
    return [
        Finding(
            claim="sink_value_small",
            statement=f"The value that {head} finds at {place} has less than {VALUE_SMALL} of the "
            "norm of its other values",
            statistic="norm of the value at position 0 over the mean norm of the others",
            values=measured.odd("value_norm_ratio", main, head),
            bar=Bar(
                threshold=VALUE_SMALL,
                control=measured.odd("value_norm_ratio_elsewhere", main, head),
                control_name="values at random other positions",
            ),
            larger=False,
        ),
        Finding(
            claim="sink_writes_little",
            statement=f"What {head} reads from {place} has less than {PART_SMALL} of the norm of "
            "the residual stream that it is added to",
            statistic="mean norm of what position 0 adds to the head's output over that of the "
            "stream entering its layer",
            values=measured.odd("carried_over_residual", main, head),
            bar=Bar(
                threshold=PART_SMALL,
                control=measured.odd("carried_over_residual_elsewhere", main, head),
                control_name="the same attention on values at random other positions",
            ),
            larger=False,
        ),
        Finding(
            claim="sink_massive",
            statement=f"Entering layer {layer}, the residual stream at {place} has a massive "
            f"activation: above {MAGNITUDE:.0f}, and above {MEDIANS:,.0f} times the median",
            statistic=f"the smaller of the largest magnitude over {MAGNITUDE:.0f} and over "
            f"{MEDIANS:,.0f} medians of the hidden state",
            values=measured.of_layer("massive", layer),
            bar=Bar(
                threshold=1.0,
                control=measured.of_layer("massive_elsewhere", layer),
                control_name="random other positions",
            ),
        ),
    ]


def _effect_findings(measured: Measured) -> list[Finding]:
    """Is the value at the sink used, and is the attention to it needed?"""
    place, top = measured.place, measured.top
    found = [
        Finding(
            claim="sink_value_unused",
            statement=f"Without the value of {place}, {top} leave the predictions as they are",
            statistic="KL(base || value zeroed) after position 0, nats",
            values=measured.effect("top", Method.ZERO_VALUE.value),
            bar=Bar(
                threshold=NEGLIGIBLE_KL,
                control=measured.effect(f"top_{OTHER_VALUE}", OTHER_VALUE),
                control_name="the same attention on random other values",
            ),
            larger=False,
        ),
    ]
    if (others := measured.other_heads) is None:
        return found
    key = Method.MASK_KEY.value
    needed = Finding(
        claim="sink_attention_needed",
        statement=f"With {place} hidden from {top}, so that their attention goes elsewhere, "
        "the predictions change",
        statistic="KL(base || key masked) after position 0, nats",
        values=measured.effect("top", key),
        bar=Bar(
            threshold=NEGLIGIBLE_KL,
            control=measured.effect(others, key),
            control_name=f"the key hidden from {OTHER_HEADS[others]}, mean over the draws",
        ),
    )
    return [*found, needed]


def _resting_findings(measured: Measured) -> list[Finding]:
    """Do copying heads look at the sink when they have nothing to copy, and then do nothing?"""
    heads = measured.copiers(COPIER)
    names = in_words(heads)
    if (strongest := measured.ranked[0])[1] < COPIER:
        names = f"there are none: {strongest[0]} has the largest, {strongest[1]:.2f}"
    who = f"Heads with an induction score of at least {COPIER} on the even sequences ({names})"
    return [
        Finding(
            claim="sink_rests",
            statement=f"{who} rest on position 0: tokens without an earlier copy put at least "
            f"{RESTING} more of their attention there, beyond what their place changes",
            statistic="attention to position 0 from new tokens of the first block minus from "
            "copied ones of the second, minus the same with new tokens in both, mean over heads",
            values=measured.beyond_position("resting", heads),
            bar=Bar(
                threshold=RESTING,
                control=measured.beyond_position("resting", heads, "chance"),
                control_name="uniform attention",
            ),
        ),
        Finding(
            claim="sink_rests_silently",
            statement=f"{who} write less than {SILENT} of the norm that they write while they "
            "copy, when they have nothing to copy",
            statistic="mean norm of the output from new tokens of the first block over that from "
            "copied ones of the second, mean over heads",
            values=measured.mean_odd("resting_output", "repeated", heads),
            bar=Bar(
                threshold=SILENT,
                control=measured.mean_odd("resting_output", "fresh", heads),
                control_name="new tokens in both blocks",
            ),
            larger=False,
        ),
    ]
