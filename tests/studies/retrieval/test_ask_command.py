"""`headbook ask`: a user's own questions, from the file to the curves."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from analysis.errors import UserError
from analysis.questions.asked import Asked, Profile
from analysis.studies.retrieval import study as module
from analysis.studies.retrieval.answering.items import record_items
from analysis.text.english import Split
from book.ask_command import ask_file
from store import Store

N_ITEMS = 12


@pytest.fixture
def lines(monkeypatch):
    """Questions of the records task as a user would write them; two levels, two draws."""
    sizes = replace(module.SIZES[Profile.QUICK], n_draws=2, levels=(1, 4))
    monkeypatch.setitem(module.SIZES, Profile.QUICK, sizes)
    vocabulary = Asked(model="reference").vocabulary
    items = record_items(
        vocabulary,
        split=Split.TEST,
        fact="employees",
        n_tokens=96,
        n_records=3,
        n_items=N_ITEMS,
        seed=0,
        bos=True,
    )
    fields = ("id", "context", "question", "answer", "answer_span", "wrong")
    return [json.dumps({field: getattr(item, field) for field in fields}) for item in items]


def asked(path, tmp_path):
    options = [str(path), "--store", str(tmp_path / "store")]
    return CliRunner().invoke(ask_file, options, catch_exceptions=False)


def test_questions_of_a_file_are_asked_and_heads_replaced(lines, tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(lines))
    done = asked(path, tmp_path)
    assert done.exit_code == 0
    first, *rest = done.stdout.splitlines()
    assert first == f"{N_ITEMS} asked, 0 refused, {N_ITEMS} answered correctly"
    preferred = f"{N_ITEMS} of {N_ITEMS} preferred to the wrong answers that are named"
    assert f"{preferred} (by chance {N_ITEMS / 3:.1f})" in rest
    (ranked,) = [line for line in rest if line.startswith("  retrieval_score   L")]
    assert {name[:2] for name in ranked.split() if name[0] == "L"} >= {"L2"}
    (curve,) = [line for line in rest if line.startswith("  retrieval_score   0:")]
    assert curve.split()[1:3] == ["0:", "1.00"]
    rows = Store.open(tmp_path / "store").sql("FROM retrieval_outcomes WHERE condition = 'base'")
    assert rows["item"].to_list() == [json.loads(line)["id"] for line in lines[1::2]]
    assert asked(path, tmp_path).stdout == done.stdout


def test_what_cannot_be_asked_is_named_and_the_rest_is_kept(lines, tmp_path):
    wrong = {**json.loads(lines[1]), "id": "elsewhere", "answer_span": [0, 3]}
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join([*lines[:4], "{", json.dumps(wrong)]))
    done = asked(path, tmp_path)
    assert done.exit_code == 2
    assert done.stdout.startswith("4 asked, 2 refused, 4 answered correctly")
    assert "line 5: expected JSON" in done.stderr
    assert "line 6, item elsewhere: expected" in done.stderr


def test_one_question_cannot_both_rank_and_test(lines, tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(lines[0])
    with pytest.raises(UserError, match=r"expected at least 2 items in .* got 1 that can be"):
        asked(path, tmp_path)
