"""Claims on retrieval heads: planted answers that must support them, and others that must not."""

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from zlib import crc32

import numpy as np
import polars as pl
import pytest

from analysis.interventions import Head, HeadSet
from analysis.models.files.card import read_card
from analysis.statistics.comparisons import permutation_p
from analysis.studies.published import NO_FILES
from analysis.studies.published import views as published_views
from analysis.studies.retrieval import choice_views, views
from analysis.studies.retrieval.claims import RetrievalClaims, RetrievalEvidence
from analysis.studies.retrieval.measures import ALL, area, joined
from analysis.studies.retrieval.ranking.grid import RetrievalCell
from analysis.studies.retrieval.ranking.sets import LAYER_MATCHED, RANDOM, SINGLE, UPSTREAM, SetPlan
from tests.questions.test_experiments import silent
from tests.studies.atlas.test_claims import Stored

N_ITEMS = 40
HEADS = tuple(Head(layer, head) for layer in range(2) for head in range(16))
"""Beside two of them stand 435 sets of as many, and 91 in the layer of the two."""
NOTHING = MappingProxyType({})
GOOD = (Head(1, 3), Head(1, 1))
RANKED = (*GOOD, *(head for head in HEADS if head not in GOOD))
FACTS = ("employees", "headquarters")
RANKINGS = ("summed_attention", "retrieval_score", "qr_score")

Share = Callable[[HeadSet], float]


def needed(heads: HeadSet) -> float:
    """Either of two heads is nearly enough, as redundant ones are; without both little is left.

    All others matter a little, each less than the one before it.
    """
    left = 1 - 0.002 * sum(len(HEADS) - RANKED.index(head) for head in heads)
    return left * {0: 1.0, 1: 0.7, 2: 0.1}[len(set(heads) & set(GOOD))]


def indifferent(heads: HeadSet) -> float:
    """No head matters more than another."""
    return 0.8 if heads else 1.0


def unable(_heads: HeadSet) -> float:
    return 0.3


def hopeless(_heads: HeadSet) -> float:
    return 0.0


def plan(ranked: tuple[Head, ...] = RANKED, upstream=NOTHING) -> SetPlan:
    return SetPlan(
        rankings=dict.fromkeys(RANKINGS, ranked),
        heads=HEADS,
        levels=(1, 2),
        upstream=upstream,
        n_draws=60,
        seed=0,
    )


def answered(fact: str, sets: list[HeadSet], share: Share, shift: float = 0.0) -> Stored:
    """Outcomes as the store answers them; log p follows the share."""
    frames: list[pl.DataFrame] = []
    for heads in sets:
        rng = np.random.default_rng(crc32(f"{fact}{joined(heads)}".encode()))
        frames.append(
            pl.DataFrame(
                {
                    "condition": joined(heads) or "base",
                    "sequence": np.arange(N_ITEMS),
                    "correct": rng.random(N_ITEMS) < share(heads),
                    "log_p": np.log(share(heads) + 0.01) + rng.normal(0, 0.01, N_ITEMS) + shift,
                    "n_records": 4,
                    "n_tokens": 128,
                    "depth": np.linspace(0, 1, N_ITEMS),
                    "fact": fact,
                }
            )
        )
    names = [joined(heads) for heads in sets]
    conditions = pl.DataFrame({"condition": [n or "base" for n in names], "heads": names})
    return Stored(ablations=conditions, retrieval_outcomes=pl.concat(frames))


def scored(ranked: tuple[Head, ...]) -> Stored:
    """Scores of single items that rank the heads."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "score": score,
            "data": "all",
            "sequence": sequence,
            "layer": head.layer,
            "head": head.head,
            "value": (len(ranked) - place) / 10 + rng.normal(0, 0.01),
        }
        for score in RANKINGS
        for sequence in range(20)
        for place, head in enumerate(ranked)
    ]
    return Stored(head_scores=pl.DataFrame(rows))


def text(sets: list[HeadSet], cost: float) -> Stored:
    names = [joined(heads) for heads in sets]
    rng = np.random.default_rng(1)
    losses = [cost + rng.normal(0, 0.005, 12) for _ in names]
    return Stored(
        ablations=pl.DataFrame({"condition": names, "heads": names}),
        ablation_effects=pl.DataFrame(
            {
                "condition": np.repeat(names, 12),
                "scope": "all",
                "sequence": np.tile(np.arange(12), len(names)),
                "loss_change": np.concatenate(losses),
            }
        ),
    )


def chosen(share: float, n_candidates: int = 4) -> Stored:
    """The right candidate is the most probable in a share of questions."""
    rng = np.random.default_rng(5)
    rows = [
        {"sequence": i, "candidate": k, "log_p": -1.0 if (k == 0) == good else -2.0}
        for i, good in enumerate(rng.random(N_ITEMS) < share)
        for k in range(n_candidates)
    ]
    items = pl.DataFrame({"correct": [False] * N_ITEMS})
    return Stored(retrieval_choices=pl.DataFrame(rows), retrieval_items=items)


def evidence(
    share: Share,
    cost: float = 0.01,
    ranked: tuple[Head, ...] = RANKED,
    upstream=NOTHING,
    random_cost: float = 0.05,
) -> RetrievalEvidence:
    made = plan(ranked, upstream)
    base = {fact: answered(fact, [()], share) for fact in FACTS}
    families = {"top": made.tops(), **{f: made.drawn(f) for f in (RANDOM, LAYER_MATCHED)}}
    families[SINGLE] = made.singles()
    families[UPSTREAM] = made.mixed(RANKINGS[0])
    only = made.only(RANKINGS[0]).tops()
    shifts = {"uniform": -1.0, "zero_query": -1.0}
    return RetrievalEvidence(
        plan=made,
        method="zero",
        scope="prefill+decode",
        scores=scored(ranked),
        base=base,
        choices={"none": chosen(0.9), "worked": chosen(1.0)},
        curves={
            family: {fact: answered(fact, sets, share) for fact in FACTS}
            for family, sets in families.items()
            if sets
        },
        kinds={
            method: {fact: answered(fact, only, share, shift) for fact in FACTS}
            for method, shift in shifts.items()
        },
        text={"top": text(made.tops(), cost), RANDOM: text(made.judging(), random_cost)},
    )


@pytest.fixture
def judged(worded):
    def judge(found: RetrievalEvidence) -> dict[str, pl.DataFrame]:
        return RetrievalClaims(card=read_card(str(worded)), seed=0, evidence=found).run(silent)

    return judge


def verdicts(frames: dict[str, pl.DataFrame]) -> dict[str, str]:
    return dict(frames["claims"].select("claim", "verdict").iter_rows())


def test_heads_that_are_needed_are_found(judged):
    found = verdicts(judged(evidence(needed)))
    assert set(found.values()) == {"supported"}
    assert set(found) == {
        "retrieval_baseline",
        "retrieval_prefers",
        "retrieval_against_random",
        "retrieval_against_layer_matched",
        "retrieval_specific",
        "retrieval_valid",
    }


# negative control: 11 layer-matched sets, however often they are drawn, are 11
def test_coinciding_draws_cannot_test(judged):
    found = evidence(needed)
    few = tuple(head for head in HEADS if head.head < 4)
    small = replace(found.plan, heads=few, rankings=dict.fromkeys(RANKINGS, few[::-1]))
    made = {
        family: {fact: answered(fact, sets, needed) for fact in FACTS}
        for family, sets in (
            ("top", small.tops()),
            (LAYER_MATCHED, small.drawn(LAYER_MATCHED)),
            (RANDOM, small.drawn(RANDOM)),
            (SINGLE, small.singles()),
        )
    }
    alone = {"top": text(small.tops(), 0.01), RANDOM: text(small.judging(), 0.05)}
    scores = scored(few[::-1])
    frames = judged(replace(found, plan=small, curves=made, text=alone, scores=scores, kinds={}))
    row = frames["claims"].filter(claim="retrieval_against_layer_matched").row(0, named=True)
    assert (row["verdict"], row["n_null"]) == ("not testable", 2)
    assert "2 sets are too few for a p" in row["statistic"]


def test_random_sets_are_told_apart_by_the_upstream_heads_in_them():
    above = (Head(0, 2),)
    found = evidence(needed, upstream=dict.fromkeys(RANKINGS, above))
    rows = views.null_sets(found, RANKINGS[0])
    assert rows["upstream heads in the set"].to_list() == ["none", "L0H2", "any"]
    assert rows["sets"].to_list() == [
        len(found.plan.distribution(RANDOM, RANKINGS[0], 2)),
        *[len(found.plan.mixed(RANKINGS[0]))] * 2,
    ]


@pytest.mark.parametrize(("share", "verdict"), [(0.9, "supported"), (0.05, "refuted")])
def test_what_is_preferred_is_judged_beside_what_is_said(judged, share, verdict):
    found = {**vars(evidence(hopeless)), "choices": {"none": chosen(share)}}
    frames = judged(RetrievalEvidence(**found))
    assert verdicts(frames)["retrieval_prefers"] == verdict
    row = frames["claims"].filter(claim="retrieval_prefers").row(0, named=True)
    assert row["control"] == 0.25
    table = choice_views.choices(found["choices"]).row(0, named=True)
    assert (table["answered"], table["chance"]) == (0.0, 0.25)
    assert table["preferred"] == pytest.approx(row["estimate"])


def test_heads_like_all_others_are_not(judged):
    found = verdicts(judged(evidence(indifferent)))
    for claim in ("against_random", "against_layer_matched", "valid"):
        assert found[f"retrieval_{claim}"] != "supported"


def test_a_ranking_that_misses_the_heads_is_not_supported(judged):
    found = verdicts(judged(evidence(needed, ranked=RANKED[::-1])))
    assert found["retrieval_against_random"] == "refuted"
    assert found["retrieval_valid"] == "refuted"


def test_heads_that_all_text_needs_are_not_specific(judged):
    found = verdicts(judged(evidence(needed, cost=1.0)))
    assert found["retrieval_specific"] == "refuted"
    assert found["retrieval_against_random"] == "supported"


# negative control: text that any random set harms less is not spared
def test_heads_that_text_needs_more_than_random_ones_are_not_specific(judged):
    found = verdicts(judged(evidence(needed, cost=0.05, random_cost=0.01)))
    assert found["retrieval_specific"] == "not shown"


@pytest.mark.parametrize(
    ("share", "words"), [(unable, "not testable: "), (hopeless, "0 of 40 answered correctly")]
)
def test_nothing_is_judged_on_a_task_that_the_model_cannot_do(judged, share, words):
    frames = judged(evidence(share))
    assert "retrieval_curves" not in frames
    assert [*verdicts(frames)] == ["retrieval_baseline", "retrieval_prefers"]
    assert verdicts(frames)["retrieval_baseline"] != "supported"
    assert frames["absences"].height == len(FACTS)
    assert all(words in reason for reason in frames["absences"]["reason"])


def test_only_testable_facts_are_drawn(judged):
    found = evidence(needed)
    base = {**found.base, "auditor": answered("auditor", [()], unable)}
    frames = judged(RetrievalEvidence(**{**vars(found), "base": base}))
    assert "auditor" not in frames["retrieval_curves"]["fact"].to_list()
    assert "questions about auditor" in frames["absences"]["reason"].item()


def test_the_curve_holds_shares_and_ps_of_the_answers(judged):
    found = evidence(needed)
    curves = judged(found)["retrieval_curves"].filter(method="zero")
    top = plan().top("qr_score", 2)
    rows = [found.curves["top"][fact]["retrieval_outcomes"] for fact in FACTS]
    right = pl.concat(rows).filter(condition=joined(top))["correct"].mean()
    point = views.at_size(curves, "qr_score", "top", 2)
    assert point["accuracy"] == pytest.approx(right)
    assert point["lower"] < right < point["upper"]
    drawn = [
        1
        - pl.concat(
            found.curves[RANDOM][fact]["retrieval_outcomes"].filter(condition=joined(heads))
            for fact in FACTS
        )["correct"].mean()
        for heads in plan().distribution(RANDOM, "qr_score", 2)
    ]
    random = views.at_size(curves, "qr_score", RANDOM, 2)
    assert random["p"] == pytest.approx(permutation_p(1 - right, np.array(drawn)))
    assert set(curves["fact"]) == {*FACTS, ALL}
    assert views.half_lost(curves, "qr_score")["size"] == 2


def test_areas_are_trapezoids_from_no_loss():
    lost = np.array([[1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(area((1, 3), lost), [(0.5 + 2) / 3, 1 / 3])
    np.testing.assert_allclose(area((1, 3), np.stack([lost, 0 * lost]))[1], 0)


def test_a_cell_of_the_grid_has_curves_or_a_reason(worded):
    found = evidence(needed)
    asked = {"card": read_card(str(worded)), "seed": 0, "method": "zero", "scope": "prefill+decode"}
    asked |= {"plan": plan(), "fact": "employees"}
    curves = {family: answers["employees"] for family, answers in found.curves.items()}
    cell = RetrievalCell(**asked, base=found.base["employees"], curves=curves).run(silent)
    assert len(views.cell_lines(cell)) == len(RANKINGS)
    assert views.grid([cell], "qr_score", 2)["accuracy"].item() < 0.5
    base = answered("employees", [()], hopeless)
    empty = RetrievalCell(**asked, base=base, curves={}).run(silent)
    assert views.cell_lines(empty) == ["0 of 40 answered correctly: nothing to lose"]


def test_overlaps_and_places_are_counted():
    rows = views.overlaps(plan())
    assert rows["jaccard"].to_list() == [1.0] * rows.height
    places = views.needle([answered("employees", [()], needed)])
    assert places["n"].sum() == N_ITEMS
    assert places["down"].to_list()[0] == "0% to 20%"


def test_published_numbers_stand_beside_ours(judged):
    curves = judged(evidence(needed))["retrieval_curves"]
    drops = published_views.published_drops(NO_FILES)
    rows = published_views.published_beside(drops, published_views.our_drops(curves, RANKINGS[1:]))
    assert rows.filter(of="as printed", ranking="retrieval score", heads=50)["top"].item() == 30.9
    assert rows["of"].unique(maintain_order=True).to_list() == [
        "as printed",
        "result files",
        "ours",
    ]
    assert published_views.published_beside(drops, None).height == 2 * 2 * 6
    (row,) = published_views.side_by_side(drops).filter(ranking="qr score", heads=20).to_dicts()
    assert (row["top, as printed"], row["top, result files"]) == (17.8, 14.99)
    assert (row["random, as printed"], row["random, result files"]) == (4.1, 1.03)
    assert rows.filter(of="ours", heads=2)["top"].min() > 50
