import duckdb
import polars as pl
import pytest

from store import Store, StoreError
from store.schema import empty, schema

from .store_fakes import MODEL, TEXT, Scores, Told, head_scores


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


def test_every_table_view_and_column_of_a_table_says_what_it_means(store):
    silent = store.sql(
        "SELECT view_name AS name FROM duckdb_views() WHERE NOT internal AND NOT temporary "
        "AND comment IS NULL "
        "UNION ALL SELECT table_name || '.' || column_name FROM duckdb_columns() "
        "WHERE table_name IN (SELECT unnest(?)) AND comment IS NULL",
        [list(schema().tables)],
    )
    assert silent.is_empty()
    views = "SELECT count(*) FROM duckdb_views() WHERE NOT internal AND NOT temporary"
    made = schema()
    assert store.sql(views).item() == len(made.tables) + made.create_views.count("CREATE VIEW")


def test_only_small_tables_have_keys():
    with duckdb.connect() as connection:
        connection.execute(schema().create_tables)
        keyed = connection.execute(
            "SELECT table_name FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    assert {name for (name,) in keyed} == {"models", "texts", "runs"}


def test_facts_repeat_the_run_first():
    for table, columns in schema().tables.items():
        first = next(iter(columns))
        assert first == {"models": "model", "texts": "text"}.get(table, "run")


def test_every_view_binds_on_an_empty_store(store):
    for name in (*schema().tables, "head_atlas", "strongest_heads", "verdicts"):
        assert store.sql(f"FROM {name}").height == 0


def atlas_rows(score: str, data: str, value: float, n: int) -> pl.DataFrame:
    rows = head_scores(0, 1).with_columns(
        score=pl.lit(score), data=pl.lit(data), value=pl.lit(value), n=pl.lit(n)
    )
    each = rows.with_columns(sequence=pl.lit(0, pl.Int32), value=pl.lit(9.0))
    return pl.concat([rows.with_columns(pl.col("sequence").cast(pl.Int32)), each])


def test_the_atlas_has_one_row_per_head_and_prefers_the_larger_sample(store):
    about = {"models": pl.DataFrame([MODEL])}
    for n, value in ((20, 0.2), (200, 0.9), (50, 0.4)):
        frames = {"head_scores": atlas_rows("induction", "repeated", value, n)}
        store.recall(Told(answer=frames, asked={"n": n}, about=about))
    frames = {"head_scores": atlas_rows("previous_token", "random", 0.3, 20)}
    store.recall(Told(answer=frames, asked={"other": 1}, about=about))
    atlas = store.sql("FROM head_atlas").to_dicts()
    assert len(atlas) == 1
    assert (atlas[0]["name"], atlas[0]["induction"]) == ("L0H0", 0.9)
    assert (atlas[0]["previous_token_random"], atlas[0]["previous_token"]) == (0.3, None)


def test_the_atlas_shows_the_offset_that_a_head_looks_at_most(store):
    about = {"models": pl.DataFrame([MODEL])}
    for n, values in ((20, (0.9, 0.1)), (200, (0.2, 0.7))):
        rows = {
            "head_profiles": pl.DataFrame(
                {
                    "profile": ["offset", "offset", "offset", "induction_lag"],
                    "data": ["text", "text", "random", "text"],
                    "lag": [0, 1, 2, 3],
                    "value": [*values, 0.95, 0.99],
                }
            ).with_columns(
                model=pl.lit(MODEL["model"]),
                layer=0,
                head=0,
                n=n,
                **dict.fromkeys(("text", "lower", "upper", "chance")),
            ),
            "head_scores": atlas_rows("induction", "repeated", 0.5, n),
        }
        store.recall(Told(answer=rows, asked={"n": n}, about=about))
    assert store.sql("SELECT name, profile_peak FROM head_atlas").rows() == [("L0H0", 0.7)]


def test_the_strongest_heads_are_the_top_one_and_those_it_cannot_be_told_from(store):
    rows = head_scores(0, 3).with_columns(
        head=pl.Series([0, 1, 2]),
        layer=pl.lit(3),
        value=pl.Series([0.5, 0.9, 0.8]),
        lower=pl.Series([0.4, 0.8, 0.7]),
        upper=pl.Series([0.6, 0.95, 0.9]),
    )
    store.recall(Told(answer={"head_scores": rows}))
    strongest = store.sql("SELECT rank, name FROM strongest_heads ORDER BY rank").rows()
    assert strongest == [(1, "L3H1"), (2, "L3H2")]


def test_a_verdict_shows_the_run_that_weighed_the_evidence(store):
    evidence = store.recall(Scores(seed=1)).runs
    claim = {
        "claim": "one",
        "statement": "A head does it",
        "statistic": "mean",
        "verdict": "supported",
        "chapter": "02",
        "evidence": str(list(evidence)),
    }
    numbers = dict.fromkeys(
        ("estimate", "lower", "upper", "control", "control_lower", "control_upper", "threshold"),
        0.5,
    )
    frames = {"claims": pl.DataFrame([claim | numbers])}
    told = store.recall(Told(answer=frames, asked={"evidence": evidence}))
    verdict = store.sql("SELECT run, verdict, version FROM verdicts").rows()
    assert verdict == [(told.runs[0], "supported", 1)]


def test_columns_are_ordered_and_cast_where_nothing_is_lost(store):
    rows = head_scores(1, 4).with_columns(
        score=pl.col("score").cast(pl.Categorical),
        layer=pl.col("layer").cast(pl.UInt64),
        value=pl.Series([0, 1, 0, 1]),
    )
    answer = store.recall(Told(answer={"head_scores": rows.select(reversed(rows.columns))}))
    assert answer["head_scores"].schema == empty("head_scores").schema
    assert answer["head_scores"]["value"].to_list() == [0.0, 1.0, 0.0, 1.0]


REFUSED = {
    "a missing column": (head_scores(1, 2).drop("value"), r"without \['value'\]"),
    "an unknown column": (head_scores(1, 2).with_columns(x=1), r"unknown \['x'\]"),
    "a column run of its own": (head_scores(1, 2).with_columns(run=pl.lit("r")), "without the col"),
    "text for a number": (
        head_scores(1, 2).with_columns(value=pl.lit("0.5")),
        r"head_scores\.value",
    ),
    "a fraction for a layer": (head_scores(1, 2).with_columns(layer=0.5), r"head_scores\.layer"),
    "a layer too large": (
        head_scores(1, 2).with_columns(layer=40_000),
        r"Int16 in head_scores\.la",
    ),
    "no layer": (head_scores(1, 2).with_columns(layer=None), r"got NULL; leave the row out"),
    "NaN": (
        head_scores(1, 2).with_columns(value=float("nan")),
        r"got NaN: .* a reason in `absences`",
    ),
    "an integer no float holds": (
        head_scores(1, 2).with_columns(value=pl.lit(2**53 + 1)),
        r"expected Float64 in head_scores\.value",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_frame_that_does_not_fit_is_refused_by_table_and_column(store, case):
    frame, message = REFUSED[case]
    with pytest.raises(StoreError, match=message):
        store.recall(Told(answer={"head_scores": frame}))
    assert store.runs() == ()


def test_an_unknown_table_is_refused(store):
    with pytest.raises(StoreError, match=r"expected one of the tables models, .*, got `scores`"):
        store.recall(Told(answer={"scores": head_scores(1, 2)}))


def test_subjects_are_no_results_and_results_no_subjects(store):
    with pytest.raises(StoreError, match=r"expected run\(\) of Told .*got `texts`"):
        store.recall(Told(answer={"texts": pl.DataFrame([TEXT])}))
    with pytest.raises(StoreError, match=r"expected subjects\(\) to name only"):
        store.recall(Told(answer={}, about={"runs": pl.DataFrame()}))


def test_a_model_that_many_runs_describe_is_one_row(store):
    for seed in range(3):
        store.recall(Scores(seed=seed))
    renamed = pl.DataFrame([MODEL | {"name": "a second name"}])
    store.recall(Told(answer={}, about={"models": renamed}))
    assert store.sql("FROM models").height == 1
    assert store.sql("FROM texts").height == 1
