"""Forced choice: the probability of every record's answer, and an example before the context."""

import polars as pl
import pytest
import torch

from analysis.attention import Taps
from analysis.models.load import hidden_states, load_model, unembed
from analysis.studies.retrieval.answering.items import Example, record_items, with_example
from analysis.studies.retrieval.answering.prompts import continuation
from analysis.studies.retrieval.choices import FileChoices, RecordChoices, preferred
from analysis.text.english import Split
from analysis.text.records import FACTS
from store.schema import conformed
from tests.questions.test_experiments import silent
from tests.studies.atlas.test_claims import Stored

SIZES = {"n_tokens": 96, "n_records": 3, "n_items": 2, "bos": True, "seed": 0}


def asked(example: Example) -> RecordChoices:
    return RecordChoices(model="reference", **SIZES, begins_with=example.value)


@pytest.fixture(scope="module", params=Example)
def answered(request):
    question = asked(request.param)
    return question, Stored(question.run(silent))


# oracle: a whole pass over each prompt with each answer behind it
def test_every_candidate_has_the_probability_of_a_whole_pass(answered):
    question, answer = answered
    model, rows = load_model("reference"), answer["retrieval_choices"]
    for sequence in (0, 5):
        one = question.prompts[sequence]
        own = rows.filter(sequence=sequence).sort("candidate")
        assert own["answer"].to_list() == [one.item.answer, *one.item.wrong]
        for text, log_p in own.select("answer", "log_p").rows():
            ids = continuation(one.item, text, question.vocabulary)
            tokens = torch.tensor([[*one.ids, *ids]])
            with torch.inference_mode():
                logits = unembed(model, hidden_states(model, tokens, Taps()))[0].double()
            steps = logits.log_softmax(-1)[len(one.ids) - 1 : -1]
            expected = steps.gather(1, torch.tensor(ids)[:, None]).sum().item()
            assert log_p == pytest.approx(expected, abs=1e-3)


def test_rows_fit_the_store_and_say_both(answered):
    question, answer = answered
    for table, frame in answer.items():
        conformed(table, frame.with_columns(run=pl.lit("run")))
    n = len(FACTS) * SIZES["n_items"]
    assert answer["retrieval_items"].height == n
    assert answer["retrieval_choices"].height == n * SIZES["n_records"]
    assert set(answer["retrieval_choices"]["example"]) == {question.begins_with}
    found = preferred(answer)
    assert found["chance"].to_list() == [1 / 3] * n
    assert found["right"].mean() > 0.5, "the reference model was made for these questions"


# identity: nothing but the place of the spans changes
def test_an_example_stands_before_the_context_and_moves_its_spans():
    plain, shown = asked(Example.NONE), asked(Example.WORKED)
    lengths = set[tuple[str, int]]()
    for one, other in zip(plain.prompts, shown.prompts, strict=True):
        begin = len(other.item.context) - len(one.item.context)
        before = other.item.context[:begin]
        assert other.item.context[begin:] == one.item.context
        assert before.count("Question: ") == before.count(" Answer: ") == 1
        assert before.endswith("\n\n")
        start, end = other.item.answer_span
        assert other.item.context[start:end] == one.item.answer
        assert one.item.answer not in before
        assert len(other.documents) == len(one.documents)
        ids = [other.ids[place] for place in other.needle]
        assert ids == [one.ids[place] for place in one.needle]
        lengths.add((one.item.fact, len(other.ids)))
    assert len(lengths) == len(FACTS), "the same example for all questions about a fact"
    assert plain.question() != shown.question(), "it is part of the key"


def test_examples_are_apart_from_what_is_asked():
    vocabulary = asked(Example.NONE).vocabulary
    sizes = {"n_tokens": 96, "n_records": 3, "n_items": 20, "seed": 0, "bos": True}
    items = record_items(vocabulary, split=Split.TEST, fact="headquarters", **sizes)
    for item in items:
        before = with_example(item, Example.WORKED).context.removesuffix(item.context)
        assert not any(value in before for value in (item.answer, *item.wrong))
        assert with_example(item, Example.NONE) is item


def test_a_tie_is_no_preference_and_one_answer_no_choice():
    rows = {"sequence": [0, 0, 1, 1, 2], "candidate": [0, 1, 0, 1, 0]}
    rows["log_p"] = [-1.0, -1.0, -1.0, -2.0, -1.0]
    found = preferred(Stored(retrieval_choices=pl.DataFrame(rows)))
    assert found.rows() == [(0, False, 0.5), (1, True, 0.5)]


def test_a_file_without_wrong_answers_is_asked_all_the_same(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"id": 1, "context": "Ada lives in Utah.", "question": "Question: Where? Answer:",'
        ' "answer": "Utah", "answer_span": [13, 17]}\n'
    )
    question = FileChoices(model="reference", seed=0, bos=True, file=str(path))
    answer = Stored(question.run(silent))
    assert answer["retrieval_choices"]["candidate"].to_list() == [0]
    assert preferred(answer).is_empty()
