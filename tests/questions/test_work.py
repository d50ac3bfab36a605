"""What a question says that it runs of a model is what it runs: layers are counted, not timed."""

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from analysis.components.ablation import Mode
from analysis.interventions.passes.endings import continues
from analysis.models.load import load_model
from analysis.overview.findings import findings
from analysis.overview.forecast import everything, forecast
from analysis.progress import silent
from analysis.questions.asked import Asked, Profile
from analysis.questions.cost import in_words
from analysis.questions.experiment import Experiment
from analysis.questions.work import Work, total
from analysis.studies.circuit.heads import usual_circuit
from analysis.studies.component_redundancy.study import ComponentRedundancyStudy

ANSWERS_SAY = {
    "InductionScores",
    "BosSink",
    "CircuitSets",
    "CircuitEdges",
    "PathPatching",
    "AblationIdentities",
}
"""Of these some heads are usual ones, which a random model lacks, or parts of layers count."""
UNCOUNTED = {"ModelCheck", "Composition"}
"""Of these what little is run goes over no data."""


class Stored(dict):
    """Frames by table, as the store answers them."""

    runs = ("0123456789abcdef",)


def counted(model, run) -> tuple[int, object]:
    """Tokens that go through a layer while something runs, and what it answers.

    What is measured once of each model, to see how it can be walked, is measured before.
    """
    continues(model)
    found = [0]

    def count(_module, _args, output) -> None:
        first = output[0] if isinstance(output, tuple) else output
        found[0] += first.shape[0] * first.shape[1]

    with ExitStack() as hooks:
        for layer in model.layers:
            hooks.callback(layer.register_forward_hook(count).remove)
        answer = run()
    return found[0], answer


@pytest.fixture(scope="module")
def asked(worded, tmp_path_factory) -> Asked:
    path = tmp_path_factory.mktemp("work") / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 60)
    chapters = ("01", "02", "03", "04", "05", "09", "10")
    return Asked(model=str(worded), text=str(path), profile=Profile.TINY, chapters=chapters)


@pytest.fixture(scope="module")
def answered(asked):
    """Every question of most of the tiny book with its answer, and layers run for it by kind."""
    model, answers = load_model(asked.model), {}
    layers, said = defaultdict(int), defaultdict(Work)

    def recall(question):
        if not isinstance(question, Experiment):
            return Stored(question.run(silent))
        if question not in answers:
            n, frames = counted(model, lambda: question.run(silent))
            answers[question] = Stored(frames)
            layers[type(question).__name__] += n
            said[type(question).__name__] += question.work()
        return answers[question]

    with np.errstate(all="ignore"):
        findings(asked, recall)
    return answers, layers, said


def test_every_kind_of_question_says_what_it_runs(answered):
    _, layers, said = answered
    assert len(layers) > 18
    shares = {
        n: (said[n].layers + said[n].gradients) / layers[n] for n in layers.keys() - UNCOUNTED
    }
    room = {name: 3.0 if name in ANSWERS_SAY else 1.15 for name in shares}
    assert {n: share for n, share in shares.items() if not 1 / room[n] < share < room[n]} == {}
    exact = {"AblationSweep", "LagProfiles", "CopyLags", "QueryOffsets", "TextScores"}
    assert exact < layers.keys()
    for name in exact:
        assert said[name].layers == layers[name], name


def test_what_depends_on_answers_is_told_before_they_are_there(asked, answered):
    answers, _, _ = answered
    told = total(unit.work() for one in everything(asked) for unit in one.units())
    done = total(unit.work() for one in answers for unit in one.units())
    assert 1 / 1.5 < told.layers / done.layers < 1.5
    assert forecast(asked, answers.get) == []
    assert len(forecast(asked, {}.get)) > 10


@pytest.mark.parametrize("mode", [Mode.DETERMINISTIC, Mode.STOCHASTIC])
def test_components_say_what_they_run(mode):
    asked = Asked(model="reference", profile=Profile.TINY)
    study, head = ComponentRedundancyStudy.of(asked), usual_circuit(asked.card).previous
    names = study.pair_choice(head).layers
    pair = ",".join(f"{name}:0" for name in names)
    for question in (study.redundancy(head, pair, mode, None), study.offsets(head, pair, mode)):
        fresh = replace(question)
        n, _ = counted(load_model("reference"), lambda one=fresh: one.run(silent))
        assert 1 / 1.15 < question.work().layers / n < 1.15


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(40.0, "40 s"), (90.0, "90 s"), (150.0, "2.5 min"), (3e3, "50 min"), (72e3, "20 h")],
)
def test_times_are_told_to_two_digits(seconds, said):
    assert in_words(seconds) == said
