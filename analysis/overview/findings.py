"""All that the book says of a model: every experiment asked, and its claims."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

import polars as pl

from analysis.errors import UserError
from analysis.interventions import Head
from analysis.questions.experiment import Experiment, Question
from analysis.questions.judgement import Evidence
from analysis.studies.circuit.heads import circuit_heads, previous_token_head
from analysis.studies.kinds.claims import KindEvidence
from analysis.studies.lags.study import lag_findings
from analysis.studies.redundancy.claims import RedundancyEvidence
from analysis.studies.retrieval.study import retrieval_findings

from .decomposed_request import SWEPT_MODES, DecomposedRequest
from .request import VALUE_METHODS, Request

Recall = Callable[[Question], Evidence]
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
    judged = [answer for branch in BRANCHES for answer in branch(request, recall)]
    return pl.concat([answer["claims"] for answer in judged if "claims" in answer])


def wanted(request: Request, known: Callable[[Question], Evidence | None]) -> list[Experiment]:
    """What can be computed at once, side by side: all questions whose evidence is known.

    Args:
        request: Of which model, on what text, how much.
        known: An answer, or None where it has to be computed.

    Returns:
        Questions without an answer, in the order of `findings`; one may be there twice. Judgements
        are left out: they take no time, and nothing depends on them.
    """
    found: list[Experiment] = []

    def ask(question: Question) -> Evidence:
        with suppress(UnknownError):
            answer = known(question)
            if answer is not None:
                return answer
            if isinstance(question, Experiment):
                found.append(question)
        return Unknown()

    for branch in BRANCHES:
        with suppress(UnknownError):
            deque(branch(request, ask), maxlen=0)
    return found


class UnknownError(Exception):
    """What is asked next depends on an answer that is not there yet."""


class _UnknownRuns(tuple[str, ...]):
    """Runs that nobody can count up."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        raise UnknownError


class Unknown:
    """Stands for an answer that is not there yet; whoever looks into it gets `UnknownError`."""

    runs: tuple[str, ...] = _UnknownRuns()

    def __getitem__(self, table: str, /) -> pl.DataFrame:
        raise UnknownError

    def __contains__(self, table: object, /) -> bool:
        raise UnknownError


def _heads(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on single heads."""
    text, induction = recall(request.text_scores()), recall(request.induction_scores())
    recall(request.successor_scores())
    recall(request.s_inhibition_scores())
    yield recall(request.head_claims(text, induction))


def _circuit(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on the induction circuit, which takes two layers."""
    if request.card.n_layers == 1:
        return
    evidence = {
        "text": recall(request.text_scores()),
        "induction": recall(request.induction_scores()),
        "composition": recall(request.composition()),
        "second_copy": recall(request.second_copy()),
    }
    scores = evidence["text"], evidence["induction"]
    evidence["necessity"] = recall(request.circuit_necessity(*scores))
    evidence["paths"] = recall(request.path_patching(*scores))
    yield recall(request.circuit_claims(evidence))


def _sink(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on the sink at position 0."""
    if request.vocabulary.tokenizer is not None:
        yield recall(request.sink_claims(recall(request.bos_sink())))


def _kinds(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on kinds of ablation."""
    if request.vocabulary.tokenizer is not None:
        yield recall(request.kind_claims(kind_evidence(request, recall)))


def _redundancy(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on the redundancy of a previous-token head, and what chapters show beside them."""
    if request.vocabulary.tokenizer is None:
        return
    recall(request.direct_effects())
    previous = previous_token_head(recall(request.text_scores()))
    recall(request.query_offsets(previous))
    recall(request.prediction_tables(str(previous)))
    yield recall(request.redundancy_claims(redundancy_evidence(request, recall, previous)))


def _retrieval(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on retrieval; none in too short a context, as the chapter says."""
    if request.vocabulary.tokenizer is not None:
        with suppress(UserError):
            yield from retrieval_findings(request, recall)


def _lags(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on recall by lag; none with too few words, as the chapter says."""
    if request.vocabulary.tokenizer is not None:
        with suppress(UserError):
            yield from lag_findings(request, recall)


def kind_evidence(request: Request, recall: Recall) -> KindEvidence:
    """What the kinds of ablation are judged by."""
    kinds = {kind: recall(sweep) for kind, sweep in request.ablation_kinds().items()}
    estimates = {"one gradient": recall(request.gradient_estimates())}
    identities = recall(request.ablation_identities())
    sets = request.ablated_sets(kinds["zero"])
    return KindEvidence(
        kinds=kinds,
        estimates=estimates,
        sets={family: recall(sweep) for family, sweep in sets.items()},
        identities=identities,
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


def _components(request: Request, recall: Recall) -> Iterator[Evidence]:
    """No claims: how good a decomposition is, and what its components are."""
    asked = DecomposedRequest.of(request)
    if asked is not None:
        recall(asked.quality())
        recall(asked.component_harvest())
    yield from ()


def _component_effects(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on the components of an induction circuit; none where a head lacks them."""
    asked = DecomposedRequest.of(request)
    if asked is not None and request.card.n_layers > 1:
        with suppress(UserError):
            scores = recall(request.text_scores()), recall(request.induction_scores())
            heads = circuit_heads(*scores)
            effects = recall(asked.component_effects(heads))
            yield recall(asked.component_effect_claims(heads, effects))


def _component_redundancy(request: Request, recall: Recall) -> Iterator[Evidence]:
    """Claims on components and the value one back; none where queries are turned otherwise."""
    asked = DecomposedRequest.of(request)
    if asked is None:
        return
    with suppress(UserError):
        previous = previous_token_head(recall(request.text_scores()))
        evidence = asked.component_evidence(recall, previous)
        for mode in SWEPT_MODES:
            recall(asked.component_offsets(previous, evidence.pair, mode))
            recall(asked.component_predictions(previous, evidence.pair, mode))
        yield recall(asked.component_redundancy_claims(evidence))


Branch = Callable[[Request, Recall], Iterator[Evidence]]
"""Asks what belongs together, and yields answers with the table `claims`."""

BRANCHES: tuple[Branch, ...] = (
    _heads,
    _circuit,
    _sink,
    _kinds,
    _redundancy,
    _retrieval,
    _lags,
    _components,
    _component_effects,
    _component_redundancy,
)
"""Everything that is asked; none depends on another one's claims."""
