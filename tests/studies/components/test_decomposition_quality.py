"""Figures of a decomposition: those of its folder, or measured where there are none."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.components import folder
from analysis.studies.components import views as component_views
from analysis.studies.components.quality import (
    COMPONENTS,
    SEES_FUTURE,
    DecompositionQuality,
    MeasuredQuality,
)
from store import Store
from store.schema import conformed
from tests.components.decomposed_models import N, decomposed, importance_of
from tests.components.decomposition_folders import FIGURES, save
from tests.conftest import beside


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def asked(worded, tmp_path_factory) -> DecompositionQuality:
    made = decomposed(worded)
    path = save(tmp_path_factory.mktemp("d") / "d", made, importance_of(made, "shared_mlp"))
    return DecompositionQuality(model=str(worded), decomposition=path, seed=0)


def test_figures_and_losses_are_those_of_the_folder(worded, asked, tmp_path):
    stored = Store.open(tmp_path / "store").recall(asked)
    rows = stored["decompositions"]
    assert set(rows["decomposition"]) == {folder.folder_hash(Path(asked.decomposition))[:16]}
    assert set(rows["n"]) == {64}
    columns = ("metric", "value", "lower", "upper")
    told = {metric: list(figures) for metric, *figures in rows.select(columns).iter_rows()}
    n_components = N * len(decomposed(worded).components)
    exact = {"alive": 30, "alive_01": 20, COMPONENTS: n_components, SEES_FUTURE: 0}
    assert told == FIGURES | {name: [value, None, None] for name, value in exact.items()}
    losses = stored["decomposition_losses"].select("step", "loss", "value").rows()
    assert sorted(losses) == [
        (100, "faithfulness", 1e-3),
        (100, "seconds", 1.5),
        (200, "faithfulness", 1e-4),
        (200, "seconds", 3.0),
        (200, "stochastic", 0.3),
    ]


def test_other_figures_are_another_question(asked, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(asked.decomposition, copied)
    moved = replace(asked, decomposition=str(copied))
    assert moved.question() == asked.question()
    told = json.loads((copied / folder.MADE).read_text())
    told["evaluation"]["figures"]["l0"][0] = 5.0
    (copied / folder.MADE).write_text(json.dumps(told))
    assert moved.question() != asked.question()


def test_a_published_run_is_measured(tmp_path):
    path = str(beside("models/published_run"))
    ids = np.random.default_rng(0).integers(2, 50, (1, 200)).tolist()
    text = tmp_path / "ids.jsonl"
    text.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in ids))
    asked = MeasuredQuality(
        model=path,
        decomposition=path,
        text=str(text),
        bos=False,
        n_sequences=3,
        n_tokens=8,
        seed=0,
    )
    rows = conformed(
        "decompositions", asked.run(silent)["decompositions"].with_columns(run="model")
    )
    told = {row["metric"]: row for row in rows.iter_rows(named=True)}
    assert told[SEES_FUTURE]["value"] == 1
    assert told["zero"]["n"] == 3
    assert 0 <= told["ones"]["lower"] <= told["ones"]["value"] <= told["ones"]["upper"]
    assert "later tokens" in component_views.headline({"decompositions": rows}, "it")


@pytest.mark.parametrize(
    ("stochastic", "worst", "said", "so"),
    [
        ((0.1, 0.2), (20.0, 21.0), "more than with nothing left", "does not say"),
        ((0.1, 0.2), (4.5, 5.5), "about as much as with nothing left", "does not say"),
        ((0.1, 0.2), (0.05, 0.15), "less than with nothing left", "no more than random masks"),
    ],
)
def test_what_an_adversary_does_is_said_beside_random_masks_and_nothing(
    stochastic, worst, said, so
):
    ends = {"adversarial": worst, "adversarial_token": worst, "stochastic": stochastic}
    rows = pl.DataFrame(
        [
            {"metric": name, "value": (low + high) / 2, "lower": low, "upper": high}
            for name, (low, high) in (ends | {"zero": (5.0, 6.0)}).items()
        ]
    )
    told = component_views.adversary_note({"decompositions": rows})
    assert said in told
    assert so in told
