"""Labels are earned by whole intervals."""

import polars as pl
import pytest

from analysis.scores.registry import HeadScore
from analysis.studies.atlas.views import (
    LABELS,
    LEADERS,
    atlas,
    bars,
    label_counts,
    leaders,
    measured_labels,
    pictured_menu,
)
from analysis.tables import beside, named, strongest


def row(label: HeadScore | tuple[str, str], value: float, **changes) -> dict[str, object]:
    """An aggregate row of a label's score, with an interval of .02 around the value."""
    score, data = label if isinstance(label, tuple) else (label.name, label.data)
    place = {"score": score, "data": data, "layer": 1, "head": 4, "sequence": None, "n": 64}
    ends = {"value": value, "lower": value - 0.01, "upper": value + 0.01, "chance": 0.0}
    return {**place, **ends, **changes}


def rows(*found: dict[str, object]) -> pl.DataFrame:
    types = {"sequence": pl.Int32, "chance": pl.Float64, "lower": pl.Float64, "upper": pl.Float64}
    return pl.DataFrame(list(found), schema_overrides=types)


def with_control(label: HeadScore, value: float, bar: float, **changes) -> pl.DataFrame:
    """A head's score, and a control or a chance level whose upper end is the bar."""
    if label.control is None:
        return rows(row(label, value, chance=bar, **changes))
    return rows(row(label, value, **changes), row(label.control, bar - 0.01))


def labels_of(frame: pl.DataFrame) -> list[str]:
    (found,) = atlas(frame)["labels"].to_list()
    return found.split(", ") if found else []


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.label)
@pytest.mark.parametrize(
    ("above_bar", "above_control", "earned"),
    [(True, True, True), (False, True, False), (True, False, False), (False, False, False)],
)
def test_a_label_needs_its_lower_end_above_the_bar_and_the_control(
    label, above_bar, above_control, earned
):
    value = label.threshold + (0.02 if above_bar else 0.005)
    lower = value - 0.01
    control = lower - 0.005 if above_control else lower + 0.005
    assert labels_of(with_control(label, value, control)) == ([label.label] if earned else [])


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.label)
def test_a_bar_must_be_exceeded_not_met(label):
    frame = with_control(label, label.threshold + 1, 0.0, lower=label.threshold)
    assert labels_of(frame) == []


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.label)
def test_one_sequence_earns_no_label(label):
    """A head without an interval has no lower end."""
    frame = with_control(label, label.threshold + 5, 0.0, lower=None, upper=None)
    assert labels_of(frame) == []


@pytest.mark.parametrize("label", [label for label in LABELS if label.control is not None])
def test_without_its_control_a_label_cannot_be_earned(label):
    other = row(label.control, 0.0, head=5)
    frame = rows(row(label, label.threshold + 0.5), other)
    found = dict(atlas(frame).select("head", "labels").iter_rows())
    assert found == {"L1H4": "", "L1H5": ""}


def test_every_head_has_one_row_in_order_with_its_scores():
    previous, induction = LABELS[:2]
    frame = rows(
        *(
            row(previous, 0.1 * head, layer=layer, head=head, chance=0.05)
            for layer in (1, 0)
            for head in (10, 2, 0)
        ),
        row(previous, 0.9, layer=0, head=0, sequence=3),
        row(induction, 0.9, layer=0, head=2),
        row(induction.control, 0.1, layer=0, head=2),
    )
    found = atlas(frame)
    assert found["head"].to_list() == ["L0H0", "L0H2", "L0H10", "L1H0", "L1H2", "L1H10"]
    assert found.columns == ["head", "labels", *(label.label for label in LABELS)]
    assert found["previous token"].to_list() == pytest.approx([0.0, 0.2, 1.0] * 2)
    assert found["induction"].to_list() == [None, 0.9, None, None, None, None]
    assert found["labels"].to_list() == [
        "",
        "induction",
        "previous token",
        "",
        "",
        "previous token",
    ]
    counts = dict(label_counts(found).iter_rows())
    assert counts == dict.fromkeys(counts, 0) | {"previous token": 2, "induction": 1}


def test_a_head_can_earn_every_label():
    pairs = [(label, label.control) for label in LABELS]
    found = [row(label, label.threshold + 0.5) for label, _ in pairs]
    found += [row(control, 0.0) for _, control in pairs if control is not None]
    assert labels_of(rows(*found)) == [label.label for label in LABELS]


def test_no_labels_name_is_part_of_anothers():
    """Counting looks for names in joined text."""
    names = [label.label for label in LABELS]
    assert not [(a, b) for a in names for b in names if a != b and a in b]


def test_the_bars_are_told():
    told = bars()
    assert told["label"].to_list() == [label.label for label in LABELS]
    assert told["interval above"].to_list() == [label.threshold for label in LABELS]
    assert dict(zip(told["label"], told["and above"], strict=True))["induction"] == (
        "induction on shuffled"
    )


def test_rows_beside_their_control():
    label = LABELS[1]
    frame = rows(
        row(label, 0.9),
        row(label, 0.2, head=5),
        row(label.control, 0.1),
        row(label, 0.4, sequence=0),
    )
    found = beside(frame, "induction", "repeated", "shuffled")
    assert found["name"].to_list() == ["L1H4", "L1H5"]
    assert found["control"].to_list() == [0.1, None]
    assert found["control_upper"][0] == pytest.approx(0.11)
    assert strongest(found)["name"] == "L1H4"
    assert named(frame)["name"].to_list() == ["L1H4", "L1H5", "L1H4", "L1H4"]


def test_the_strongest_heads_of_each_label_lead_whether_they_earn_it_or_not():
    first, second = LABELS[:2]
    found = rows(
        *(row(first, 0.01 * head, head=head) for head in range(10)),
        *(row(second, 0.01 * (10 - head), head=head) for head in range(8)),
        row(first, 0.9, head=4, sequence=0),
        row((first.name, "another text"), 0.9, head=5),
    )
    told = dict(leaders(found).select("name", "leads").iter_rows())
    assert told == {
        **{f"L1H{9 - i}": f"{first.label} {i + 1}" for i in range(LEADERS)},
        **{f"L1H{i}": f"{second.label} {i + 1}" for i in range(LEADERS)},
    }
    assert measured_labels(found) == [first.label, second.label]
    heads = pl.DataFrame({"layer": [1, 1], "head": [5, 9]})
    menu = pictured_menu(named(heads), found)
    assert menu == {"L1H5": "L1H5", f"L1H9 ({first.label} 1)": "L1H9"}


def test_a_head_leads_in_several_scores_and_ties_go_to_the_lower_one():
    found = rows(*(row(label, 0.5, head=head) for label in LABELS[:2] for head in (3, 1, 2, 0)))
    assert leaders(found)["name"].to_list() == ["L1H0", "L1H1", "L1H2"]
    assert leaders(found)["leads"][0] == f"{LABELS[0].label} 1, {LABELS[1].label} 1"
    assert leaders(rows(row(LABELS[0], float("nan")))).is_empty()
