"""All that the book says of a model: every experiment asked, and its claims."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import polars as pl

from analysis.errors import UserError
from analysis.interventions import Head

from .decomposed_request import SWEPT_MODES, DecomposedRequest
from .experiment import Experiment
from .induction_circuit import circuit_heads, previous_token_head
from .judgement import Evidence
from .kind_claims import KindEvidence
from .lag_request import lag_findings
from .redundancy_claims import RedundancyEvidence
from .request import VALUE_METHODS, Request
from .retrieval_request import retrieval_findings

Recall = Callable[[Experiment], Evidence]
"""Answers a question, from a store or by computing it."""


def findings(request: Request, recall: Recall) -> pl.DataFrame:
    """Ask everything, and judge it.

    Args:
        request: Of which model, on what text, how much.
        recall: Answers a question.

    Returns:
        Rows of `claims`: heads, induction circuit, BOS sink, kinds of ablation, redundancy,
        retrieval, recall of lists, components. What the model's tokenizer, depth or
        decomposition does not allow to be asked has none.
    """
    text, induction = recall(request.text_scores()), recall(request.induction_scores())
    recall(request.successor_scores())
    recall(request.s_inhibition_scores())
    judged = [recall(request.head_claims(text, induction))]
    if request.card.n_layers > 1:
        judged.append(_circuit(request, recall, text, induction))
    if request.vocabulary.tokenizer is not None:
        judged.append(recall(request.sink_claims(recall(request.bos_sink()))))
        judged.append(recall(request.kind_claims(kind_evidence(request, recall))))
        previous = previous_token_head(text)
        redundant = redundancy_evidence(request, recall, previous)
        judged.append(recall(request.redundancy_claims(redundant)))
        recall(request.query_offsets(previous))
        recall(request.prediction_tables(str(previous)))
        recall(request.direct_effects())
        for asked in (retrieval_findings, lag_findings):
            with suppress(UserError):  # too short a context, too few words: the chapters say so
                judged += asked(request, recall)
    decomposed = DecomposedRequest.of(request)
    if decomposed is not None:
        judged += _components(decomposed, recall, text, induction)
    return pl.concat([answer["claims"] for answer in judged if "claims" in answer])


def kind_evidence(request: Request, recall: Recall) -> KindEvidence:
    """What the kinds of ablation are judged by."""
    kinds = {kind: recall(sweep) for kind, sweep in request.ablation_kinds().items()}
    sets = request.ablated_sets(kinds["zero"])
    return KindEvidence(
        kinds=kinds,
        estimates={"one gradient": recall(request.gradient_estimates())},
        sets={family: recall(sweep) for family, sweep in sets.items()},
        identities=recall(request.ablation_identities()),
    )


def redundancy_evidence(request: Request, recall: Recall, head: Head) -> RedundancyEvidence:
    """What the redundancy of a previous-token head is judged by."""
    return RedundancyEvidence(
        head=str(head),
        methods={m: recall(request.value_redundancy(head, m)) for m in VALUE_METHODS},
        others={
            str(other): recall(request.value_redundancy(other, "zero_value"))
            for other in request.others_of_layer(head)
        },
    )


def _circuit(request: Request, recall: Recall, text: Evidence, induction: Evidence) -> Evidence:
    """Claims on the induction circuit."""
    evidence = {
        "text": text,
        "induction": induction,
        "composition": recall(request.composition()),
        "necessity": recall(request.circuit_necessity(text, induction)),
        "paths": recall(request.path_patching(text, induction)),
        "second_copy": recall(request.second_copy()),
    }
    return recall(request.circuit_claims(evidence))


def _components(
    asked: DecomposedRequest, recall: Recall, text: Evidence, induction: Evidence
) -> Iterator[Evidence]:
    """Claims on parameter components.

    A decomposition of some layers, or of a model that turns its queries otherwise, leaves some of
    it undefined: the chapters say why.
    """
    recall(asked.quality())
    recall(asked.component_harvest())
    if asked.request.card.n_layers > 1:
        with suppress(UserError):
            heads = circuit_heads(text, induction)
            effects = recall(asked.component_effects(heads))
            yield recall(asked.component_effect_claims(heads, effects))
    with suppress(UserError):
        previous = previous_token_head(text)
        evidence = asked.component_evidence(recall, previous)
        yield recall(asked.component_redundancy_claims(evidence))
        for mode in SWEPT_MODES:
            recall(asked.component_offsets(previous, evidence.pair, mode))
            recall(asked.component_predictions(previous, evidence.pair, mode))
