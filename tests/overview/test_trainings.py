"""When what appears in trainings, in which order; and what holds in each of them."""

from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from analysis.errors import UserError
from analysis.overview.trainings import formation, headlines, tables
from analysis.overview.trainings.formation import PHENOMENA
from analysis.overview.trainings.headlines import HEADLINES, SCHEMA
from analysis.plots.steps import formation as drawn
from analysis.questions.asked import Asked
from analysis.training import formation as measures
from analysis.training.measured import SHIPPED, Measured
from book.cli import cli
from store import Store
from tests.book.test_notebooks import NOTEBOOKS, cells

STEPS = (0, 32, 64, 128)


def measured(*seeds: dict[str, tuple[float, ...]]) -> pl.DataFrame:
    """Rows of kept models, a value at each of `STEPS`, all intervals .02 wide."""
    rows = [
        (seed, step, "w", statistic, "L1H2", value, value - 0.01, value + 0.01, 8)
        for seed, values in enumerate(seeds)
        for statistic, each in values.items()
        for step, value in zip(STEPS, each, strict=True)
    ]
    return pl.DataFrame(rows, schema=measures.SCHEMA, orient="row")


FIRST = {
    "previous_token": (0.0, 0.9, 0.9, 0.9),
    "bos": (0.0, 0.9, 0.1, 0.9),
    "induction": (0.0, 0.1, 0.9, 0.9),
    "copy_gain": (0.0, 0.1, 8.0, 8.0),
}
NEVER = dict.fromkeys(PHENOMENA, (0.0, 0.1, 0.2, 0.405))
"""The last interval holds the bar."""


def test_something_appears_where_its_interval_passes_the_bar_for_good():
    found = formation.appearances(measured(FIRST, NEVER))
    at = dict(found.filter(seed=0).select("statistic", "at").iter_rows())
    assert at == {"previous_token": 32, "bos": 128, "induction": 64, "copy_gain": 64}
    before = dict(found.filter(seed=0).select("statistic", "before").iter_rows())
    assert before == {"previous_token": 0, "bos": 64, "induction": 32, "copy_gain": 32}
    assert found.filter(seed=1)["at"].is_null().all()
    assert formation.order(found, 0)[1] == [PHENOMENA[n].name for n in ("induction", "copy_gain")]
    assert formation.order(found, 1) == []


def test_the_sentence_says_one_order_or_each_seeds_and_what_holds_in_all():
    same = formation.order_said(formation.appearances(measured(FIRST, FIRST)))
    assert same.startswith(
        "In each of 2 training seeds, first a previous-token head (by step 32), "
    )
    other = FIRST | {"bos": (0.0, 0.9, 0.9, 0.9)}
    told = formation.order_said(formation.appearances(measured(FIRST, other)))
    assert told.startswith("The order differs between training seeds: in seed 0 ")
    assert "a previous-token head comes before an induction head" in told
    assert "the sink comes before" not in told
    never = formation.order_said(formation.appearances(measured(NEVER)))
    assert never.startswith("Up to the last kept step, neither a previous-token head nor ")
    late = formation.order_said(formation.appearances(measured(FIRST, NEVER)))
    assert "in seed 1 nothing has appeared" in late
    assert "In every seed" not in late
    part = FIRST | {"induction": (0.0, 0.0, 0.0, 0.0)}
    left = formation.order_said(formation.appearances(measured(part)))
    assert left.endswith("; not yet an induction head.")


def test_what_appears_stands_in_a_table_and_a_figure_and_so_does_what_does_not():
    found = formation.appearances(measured(FIRST, NEVER))
    table = tables.appearance_table(found)
    assert table["seed 0"][0] == "after 0, by 32: L1H2 0.90 (0.89 to 0.91)"
    assert set(table["seed 1"]) == {"not by step 128"}
    stem, _, cell = table["what appears_link"][0].partition("#")
    assert cell in {c.name for path in NOTEBOOKS if path.stem == stem for c in cells(path)}
    for rows in (measured(FIRST, NEVER), measured(NEVER)):
        brackets = formation.bracket_rows(formation.appearances(rows))
        chart = drawn(formation.curve_rows(rows), brackets, "finding", "caption").to_dict()
        assert len(chart["concat"]) == len(PHENOMENA)


def test_the_shipped_measurements_can_be_shown():
    shipped = Measured.read(SHIPPED)
    every = tables.finished_table(shipped.rows)
    assert every.width == 1 + shipped.rows["seed"].n_unique() + len(tables._CARDS)
    assert "trained" in formation.trained_said(shipped.rows, shipped.recipe["n_steps"])
    one = tables.step_table(shipped.rows, "seed 0")
    assert one.height == shipped.rows.filter(seed=0)["step"].n_unique()


# headline claims


def column(seed: int, text: str, verdicts: dict[str, str], **other: Any) -> pl.DataFrame:
    rows = [
        {
            **{"seed": seed, "step": 10, "n_steps": 10, "text": text, "sizes": "quick"},
            **{"weights": f"w{seed}", "claim": claim, "heads": f"L1H{seed}", "estimate": 0.5},
            **{"lower": 0.25, "upper": 0.75, "threshold": 0.5, "verdict": verdict},
            **other,
        }
        for claim, verdict in verdicts.items()
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


BOTH = {"induction_head": "supported", "model_copies": "supported"}


def test_every_headline_is_a_claim_that_a_room_shows():
    assert all("#" in headlines.figure_of(claim, "") for claim in HEADLINES)


def test_heads_are_those_that_a_claim_names():
    assert headlines.heads_in("L2H3 needs L1H7: L2H3 looks") == "L2H3, L1H7"
    assert headlines.heads_in("The model copies") == ""


def test_a_file_keeps_other_columns_and_the_store_that_is_here_wins(tmp_path):
    path = tmp_path / "headlines.json"
    assert headlines.read(path).is_empty()
    for seed in (0, 1):
        headlines.write(path, column(seed, "reference", BOTH))
    headlines.write(path, column(1, "reference", BOTH | {"model_copies": "refuted"}))
    stored = headlines.read(path)
    assert stored.height == 4
    here = column(0, "reference", {"induction_head": "undecided"})
    both = headlines.beside(here, stored)
    assert both["seed"].to_list() == [0, 1, 1]
    prose = headlines.beside(here, column(0, "prose", BOTH))
    assert prose["text"].to_list() == ["reference", "prose", "prose"], "one text hides no other"
    table = headlines.side_by_side(both)
    assert table["seed 0, reference"].to_list() == ["undecided: 0.5 (0.25 to 0.75); L1H0", None]
    assert table["seed 1, reference"][1] == "refuted: 0.5 (0.25 to 0.75); L1H1"
    assert table["claim_link"].str.contains("#").all()


def test_verdicts_that_agree_are_counted_among_claims_that_all_could_be_asked():
    one = column(0, "reference", BOTH)
    assert "not known yet" in headlines.agreement_said(one)
    other = column(1, "reference", {"model_copies": "supported"}, step=5)
    told = headlines.agreement_said(headlines.beside(one, other))
    assert told.startswith("Of 1 headline claims")
    assert "**1 have the same verdict in all**" in told
    assert "1 of the columns are of trainings that are not finished" in told
    assert "seed 1 at step 5, reference" in headlines.side_by_side(other).columns


@pytest.mark.parametrize(
    "text", ["[", "{}", '{"rows": [{"seed": "x"}]}', '{"rows": [{"seed": 1, "verdict": "true"}]}']
)
def test_a_damaged_file_is_refused(text, tmp_path):
    path = tmp_path / "headlines.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"expected .*; "):
        headlines.read(path)


@dataclass
class Nothing:
    """A store that holds no answer."""

    def recall(self, question: object) -> Any:
        raise AssertionError(question)

    def missing(self, question: object) -> list[object]:
        return [question]


def test_what_is_not_stored_is_not_computed(tmp_path):
    empty = Nothing()
    asked = Asked(model="reference")
    assert headlines.known(asked, empty.recall, empty.missing).is_empty()
    Store.open(tmp_path / "store")
    words = ("export-headlines", "--model", "reference", "--store", str(tmp_path / "store"))
    done = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "out.json")])
    assert done.exit_code == 2
    assert "compute them by `headbook run`" in done.output
    assert not (tmp_path / "out.json").exists()


def test_a_small_number_keeps_its_digits():
    row = {"verdict": "supported", "heads": "", "estimate": 0.000341}
    assert headlines._cell({**row, "lower": 0.0002, "upper": 0.0004}) == (
        "supported: 0.000341 (0.0002 to 0.0004)"
    )
    assert headlines._cell({**row, "estimate": -0.0, "lower": -0.5, "upper": 11.884}) == (
        "supported: 0 (-0.5 to 11.9)"
    )
