"""`headbook run --chapters NN` computes what the page of NN shows, for every chapter."""

import json

import polars as pl
import pytest

from analysis.overview.findings import findings
from analysis.questions.asked import Asked, Profile
from analysis.studies import CHAPTERS
from store import Store


def answered(book, chapters: tuple[str, ...]) -> tuple[pl.DataFrame, set[str]]:
    """Claims on the reference model, and the runs of all that was asked for them."""
    store, asked = Store.open(book.store), set[str]()

    def recall(question):
        answer = store.recall(question)
        asked.update(answer.runs)
        return answer

    about = Asked(model="reference", profile=Profile.TINY, chapters=chapters)
    return findings(about, recall), asked


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_page_recalls_nothing_that_its_run_did_not_ask(real_book, chapter):
    kept = real_book.out.with_name(f"{real_book.out.name}.work") / "chapters" / f"{chapter}.json"
    shown = set(json.loads(kept.read_text())["runs"])
    assert shown, "the page shows nothing"
    assert shown <= answered(real_book, (chapter[:2],))[1]


def test_a_claim_that_two_rooms_ask_for_is_told_once_and_with_either(real_book):
    """Whether a model copies at all is told with its heads, and with the circuit of these."""
    whole, heads, circuit = (answered(real_book, named)[0] for named in ((), ("01",), ("02",)))
    assert whole["claim"].is_unique().all()
    assert "model_copies" in set(heads["claim"]) & set(circuit["claim"])
