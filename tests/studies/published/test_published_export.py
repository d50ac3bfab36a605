"""`headbook export`: our own results, written as published studies write theirs."""

import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

from book.cli import cli
from store import Store
from tests.store.store_fakes import MODEL, TEXT, Told, head_scores


def invoke(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def place(tmp_path):
    return ("--store", tmp_path / "store")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store")


def scored(score: str) -> pl.DataFrame:
    """Rows of `head_scores` of one score on all items, in aggregate and for two of them."""
    rows = head_scores(len(score), 16).with_columns(
        score=pl.lit(score), data=pl.lit("all"), sequence=pl.lit(None, pl.Int32)
    )
    each = [rows.with_columns(sequence=pl.lit(i, pl.Int32)) for i in range(2)]
    return pl.concat([rows, *each])


def items(n_train: int, n_test: int) -> pl.DataFrame:
    """Rows of `retrieval_items`: every second one answered correctly."""
    index = pl.int_range(n_train + n_test, eager=True)
    return pl.DataFrame({"sequence": index}).select(
        model=pl.lit(MODEL["model"]),
        text=pl.lit(TEXT["text"]),
        sequence="sequence",
        split=pl.when(pl.col("sequence") < n_train).then(pl.lit("train")).otherwise(pl.lit("test")),
        item=pl.format("item {}", "sequence"),
        fact=pl.lit("founded"),
        n_tokens=256,
        n_records=4,
        depth=0.5,
        answer=pl.lit("1995"),
        generated=pl.lit("1995"),
        correct=pl.col("sequence") % 2 == 0,
        log_p=-0.1,
        logit_difference=2.0,
        answer_rank=1,
    )


def test_our_rankings_are_exported_in_every_shape_and_can_be_imported(tmp_path, store, place):
    scores = pl.concat([scored("qr_score"), scored("retrieval_score"), scored("induction")])
    about = {"models": pl.DataFrame([MODEL]), "texts": pl.DataFrame([TEXT])}
    store.recall(Told(answer={"head_scores": scores, "retrieval_items": items(6, 9)}, about=about))
    out = tmp_path / "out"
    done = invoke("export", out, "--format", "published", *place)
    assert done.exit_code == 0, done.output
    files = sorted(out.iterdir())
    assert len(files) == 2 * 4
    assert invoke("import", *files, "--store", tmp_path / "other").exit_code == 0
    other = Store.open(tmp_path / "other")
    detected = other.sql("FROM published_rankings WHERE format = 'detection'")
    assert set(detected["method"]) == {"qr_score", "retrieval_score"}
    heading = ("model_key", "total_tokens", "samples_processed", "successful_retrievals")
    assert detected.select(heading).unique().rows() == [("tiny", 256, 6, 3)]
    wanted = scored("qr_score").filter(pl.col("sequence").is_null())
    query = "SELECT layer, head, score AS value FROM published_rankings WHERE sample IS NULL "
    for form in ("detection", "pairs", "table", "listed"):
        kept = other.sql(query + "AND format = ? AND file LIKE 'qr_score%'", [form])
        expected = wanted.select("layer", "head", "value")
        assert_frame_equal(kept, expected, check_row_order=False, check_dtypes=False)


BASE, TOP, OTHER = (), ("L1H0", "L0H1"), ("L0H0", "L1H1")
RIGHT = {(BASE, "base"): 9, (TOP, "top"): 2, (OTHER, "random"): 8, (("L0H0", "L1H0"), "random"): 3}
"""How many of ten questions are answered with which heads replaced; the last set overlaps."""


def outcomes() -> dict[str, pl.DataFrame]:
    """Rows of `ablations` and `retrieval_outcomes`."""
    subject = {"model": MODEL["model"], "text": TEXT["text"]}
    constants = {"positions": "all", "receiver": None, "baseline": "model", "draw": None}
    kind = {"site": "z", "method": "zero", "scope": "decode", **constants}
    item = {"fact": "founded", "n_tokens": 256, "n_records": 4, "depth": 0.5, "log_p": -1.0}
    answer = {"logit_difference": 1.0, "answer_rank": 1, "decoded": False}
    ablations, asked = [], []
    for (heads, family), n_right in RIGHT.items():
        names = {"condition": ",".join(heads) or "base", "family": family, "size": len(heads)}
        ablations.append({**subject, **names, "heads": ",".join(heads), **kind})
        asked += [
            {**subject, "condition": names["condition"], "sequence": i, "item": f"item {i}"}
            | {**item, **answer, "correct": i < n_right}
            for i in range(10)
        ]
    return {"ablations": pl.DataFrame(ablations), "retrieval_outcomes": pl.DataFrame(asked)}


def curve_kept(store: Store, ranking: str) -> None:
    """Keep one point of a curve of a ranking, and the answers that it judges."""
    about = {"models": pl.DataFrame([MODEL]), "texts": pl.DataFrame([TEXT])}
    evidence = store.recall(Told(answer=outcomes(), about=about)).runs
    curve = {"model": MODEL["model"], "ranking": ranking, "method": "zero", "scope": "decode"}
    curve |= {"fact": "all", "n_tokens": 256, "family": "top", "size": 2, "heads": "L0H1,L1H0"}
    numbers = {"accuracy": 0.2, "lower": 0.1, "upper": 0.5, "log_p": -1.0, "n": 10, "p": 0.1}
    curves = pl.DataFrame([{**curve, **numbers, "p_holm": 0.1}])
    store.recall(Told(answer={"retrieval_curves": curves}, asked={"evidence": evidence}))


def test_our_curves_are_exported_with_each_random_set_that_spares_the_top_heads(
    tmp_path, store, place
):
    curve_kept(store, "qr_score")
    out = tmp_path / "out"
    done = invoke("export", out, "--format", "published", *place)
    assert done.exit_code == 0, done.output
    (file,) = out.iterdir()
    assert invoke("import", file, *place).exit_code == 0
    columns = "method, model_key, question, family, heads, correct, total"
    kept = store.sql(f"SELECT {columns} FROM published_curves ORDER BY family").rows()
    heading = ("qr_score zero decode", "tiny", "founded")
    assert kept == [
        (*heading, "base", None, 9, 10),
        (*heading, "random", "L0H0,L1H1", 8, 10),
        (*heading, "top", "L0H1,L1H0", 2, 10),
    ]
    (drops,) = store.sql("SELECT top, random FROM published_drops").rows()
    assert drops == pytest.approx((70, 10))


def test_beside_heads_that_all_rankings_share_stand_no_random_ones(tmp_path, store, place):
    curve_kept(store, "overlap")
    assert invoke("export", tmp_path / "out", "--format", "published", *place).exit_code == 0
    (file,) = (tmp_path / "out").iterdir()
    assert invoke("import", file, *place).exit_code == 0
    families = store.sql("SELECT family FROM published_curves ORDER BY family").rows()
    assert families == [("base",), ("top",)]


def test_an_export_of_nothing_or_over_something_is_refused(tmp_path, place):
    done = invoke("export", tmp_path / "out", "--format", "published", *place)
    assert done.exit_code == 2
    assert "expected a store at" in done.output
    Store.open(tmp_path / "store")
    done = invoke("export", tmp_path / "out", "--format", "published", *place)
    assert done.exit_code == 2
    assert "expected retrieval scores in the store" in done.output
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "dear.txt").write_text("mine")
    done = invoke("export", tmp_path / "full", "--format", "published", *place)
    assert done.exit_code == 2
    assert "expected a new or empty folder" in done.output


def test_an_export_to_where_nothing_can_be_written_is_refused(tmp_path, store, place):
    about = {"models": pl.DataFrame([MODEL]), "texts": pl.DataFrame([TEXT])}
    answer = {"head_scores": scored("qr_score"), "retrieval_items": items(2, 0)}
    store.recall(Told(answer=answer, about=about))
    (tmp_path / "file").write_text("mine")
    done = invoke("export", tmp_path / "file" / "out", "--format", "published", *place)
    assert done.exit_code == 2
    assert done.output.startswith("headbook: expected to write to ")
