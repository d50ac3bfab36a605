"""Every claim leads to a cell that is there, and the choices show what they say."""

import polars as pl
import pytest

from analysis.overview import claims as views
from analysis.plots.bars import verdict_bars
from analysis.plots.intervals import claim_intervals
from analysis.studies import studies
from tests.book.test_notebooks import NOTEBOOKS, cells

FIGURES = {name: cell for study in studies() for name, cell in study.FIGURES.items()}
CELLS = {path.stem: {cell.name for cell in cells(path)} for path in NOTEBOOKS}


def claims() -> pl.DataFrame:
    """Four claims of two chapters."""
    verdicts = ["supported", "undecided", "supported", "refuted"]
    return pl.DataFrame(
        {
            "run": [f"{place:032x}" for place in range(4)],
            "claim": ["induction_head", "model_copies", "sink_attends", "of_its_own"],
            "statement": ["`zero` leads", "it copies", "it attends", "it is new"],
            "statistic": "mean of `z`",
            "estimate": [0.9, 1.0, 0.8, None],
            "lower": [0.85, 0.5, 0.7, None],
            "upper": [0.95, 1.5, 0.9, None],
            "control": [0.1, 0.2, 0.3, 0.4],
            "control_lower": [0.0, 0.1, 0.2, 0.3],
            "control_upper": [0.2, 0.3, 0.4, 0.5],
            "threshold": 0.5,
            "verdict": verdicts,
            "p": [0.001, 0.2, 0.02, None],
            "n_null": [999, 999, 99, None],
            "beyond_lower": [0.6, -0.1, 0.3, None],
            "beyond_upper": [0.8, 0.5, 0.6, None],
            "chapter": ["02_induction_circuit", "02_induction_circuit"] + 2 * ["03_bos_sink"],
        }
    )


@pytest.mark.parametrize("target", sorted(set(FIGURES.values())))
def test_a_claim_leads_to_a_cell_that_is_there(target):
    stem, _, cell = target.partition("#")
    assert cell in CELLS[stem]


def test_the_first_pattern_that_fits_decides_and_an_unknown_claim_leads_to_its_chapter():
    assert views.figure_of("key_path_loss", "x") == "02_induction_circuit#path_loss"
    assert views.figure_of("key_path", "x") == "02_induction_circuit#path_effects"
    assert views.figure_of("of_its_own", "03_bos_sink") == "03_bos_sink"


def test_no_pattern_is_out_of_reach():
    """A name made of a pattern's own letters must find that pattern, not an earlier one."""
    names = {pattern.replace("*", "x"): target for pattern, target in FIGURES.items()}
    assert {name: views.figure_of(name, "") for name in names} == names


def test_a_row_holds_all_that_decides_a_claim():
    table = views.claim_table(claims())
    first, last = table.row(0, named=True), table.row(-1, named=True)
    assert first["claim"] == "zero leads" and first["statistic"] == "mean of z"
    assert first["claim_link"] == "02_induction_circuit#induction_against_shuffled"
    assert (first["95 %"], first["control 95 %"]) == ("0.850 to 0.950", "0.000 to 0.200")
    assert (first["p"], first["null"], last["p"]) == (0.001, 999, None)
    assert first["beyond control 95 %"] == "0.600 to 0.800"
    assert first["run_link"] == "run:" + "0" * 32
    assert (last["estimate"], last["95 %"]) == (None, None)


def test_the_choices_filter_and_all_filters_nothing():
    choices = views.chapter_choices(claims())
    assert list(choices) == ["all", "02 induction circuit", "03 bos sink"]
    chosen = views.chosen_claims(claims(), "supported", "03_bos_sink")
    assert chosen["claim"].to_list() == ["sink_attends"]
    everything = views.chosen_claims(claims(), views.EVERY, views.EVERY)
    assert sorted(everything["claim"]) == sorted(claims()["claim"])
    split = [
        views.chosen_claims(claims(), verdict, chapter).height
        for verdict in views.VERDICTS
        for chapter in list(choices.values())[1:]
    ]
    assert sum(split) == claims().height


def test_counts_add_up_to_the_claims():
    counts = views.verdict_counts(claims())
    assert counts["n"].sum() == claims().height
    assert counts["chapter"].unique().sort().to_list() == ["02 induction circuit", "03 bos sink"]
    spec = verdict_bars(counts, "3 of 4", "Bars.").to_dict()
    domain = spec["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert domain == ["supported", "refuted", "undecided"]


def test_only_claims_that_could_have_failed_are_counted():
    told = views.counted(claims())
    assert told == "4 claims could have failed: **2 supported**, **1 refuted**, **1 undecided**."
    row = claims()[:1].with_columns(verdict=pl.lit("not testable"))
    told = views.counted(pl.concat([claims(), row]))
    assert told.startswith("4 claims") and told.endswith("; 1 more could not be tested on it.")


def test_discoveries_are_counted_among_all_claims_with_a_p():
    """Adjusted, .02 of three is .03; beside twenty that found nothing it is too much."""
    told = views.false_discoveries(claims())
    assert told.startswith("Of the 2 supported claims that have a p, 2 are discoveries")
    assert told.endswith("among all 3 with one.")
    nothing = [claims()[1:2].with_columns(p=pl.lit(0.9))] * 20
    told = views.false_discoveries(pl.concat([claims(), *nothing]))
    assert "have a p, 1 are discoveries" in told and "all 23" in told
    without = claims().with_columns(p=pl.lit(None), n_null=pl.lit(None))
    assert views.false_discoveries(without).startswith("Of the 0 supported")


def test_verdicts_of_older_runs_come_last():
    older = claims().with_columns(verdict=pl.lit("not supported"))
    counts = views.verdict_counts(pl.concat([claims(), older]))
    assert counts.filter(verdict="not supported")["order"].unique().to_list() == [5]


def test_a_verdict_has_a_shape_of_its_own():
    """Colour alone would tell some readers nothing."""
    spec = claim_intervals(claims()[:3], "t", "d").to_dict()
    shapes = spec["vconcat"][0]["layer"][-1]["encoding"]["shape"]["scale"]["range"]
    assert len(set(shapes)) == len(views.VERDICTS)


def test_a_claim_without_an_interval_draws_none():
    """Of a column without any number an axis would have no ends."""
    one = claims()[:1]
    drawn = {
        known: [
            layer["encoding"]["x"]["field"]
            for layer in claim_intervals(rows, "t", "d").to_dict()["vconcat"][0]["layer"]
        ]
        for known, rows in (
            (True, one),
            (
                False,
                one.with_columns(pl.lit(None, pl.Float64).alias(n) for n in ("lower", "upper")),
            ),
        )
    }
    assert "lower" in drawn[True]
    assert drawn[False] == [field for field in drawn[True] if field != "lower"]
