"""The command line: answers, and one line with the remedy for every mistake."""

import json
import re
from pathlib import Path
from shutil import copy, copytree

import polars as pl
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from analysis.errors import UserError
from analysis.questions.asked import Asked, Profile
from analysis.studies.atlas.study import AtlasStudy
from book.build_command import NOTEBOOKS, chosen
from book.cli import cli
from book.options import PROFILES
from book.planning import asked_of
from book.run_command import _say
from book.site import find_notebooks
from store import Store
from tests.models.architectures import SUPPORTED, build
from tests.questions.test_experiments import prose_file
from tests.store.store_fakes import Scores

__all__ = ["prose_file"]
WEIGHTS = "model.safetensors"
TINY = ("--profile", "tiny")
SMALL = (*TINY, "--tokens", "16", "--sequences", "4")


def invoke(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line of a command that must end with exit code 2 and no traceback."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.output.strip().splitlines()
    assert len(lines) == 1, result.output
    assert lines[0].startswith("headbook: expected ")
    return lines[0]


def set_aside(*arguments: object) -> str:
    """The one line about a part that does not fit, beside the answer from the others."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("headbook: set aside: expected the part ")
    assert result.stdout
    return line


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Path:
    """A Hugging Face folder of random GPT-2 weights with a tokenizer of bytes."""
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    build(SUPPORTED["gpt2"]).save_pretrained(folder)
    letters = {chr(code): code - 32 for code in range(32, 127)}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def prose(tmp_path) -> Path:
    path = tmp_path / "prose.txt"
    path.write_text("The cat sat on the mat, and the dog ran. " * 20)
    return path


def test_a_run_on_a_saved_folder_fills_the_store_and_is_not_repeated(gpt2, prose, tmp_path):
    asked = ("run", "--model", gpt2, "--text", prose, *SMALL, "--store", tmp_path / "store")
    first, again = invoke(*asked), invoke(*asked)
    assert first.exit_code == again.exit_code == 0, first.output
    assert "to compute" in first.stderr
    assert "tokens through all layers" in first.stderr
    assert "to compute" not in again.stderr
    assert first.stdout == again.stdout
    query = "SELECT count(*) AS heads FROM head_atlas"
    found = invoke("sql", query, "--json", "--store", tmp_path / "store")
    assert json.loads(found.stdout) == {"heads": 8}


def test_a_book_of_a_model_without_bos_and_single_token_names_passes_the_check(
    gpt2, prose, tmp_path
):
    places = ("--store", tmp_path / "store", "--out", tmp_path / "html")
    done = invoke("build", "--check", "--model", gpt2, "--text", prose, *TINY, *places)
    assert done.exit_code == 0, done.output
    atlas = (tmp_path / "html" / "01_head_atlas.html").read_text(encoding="utf-8")
    assert "position 0 holds an ordinary token" in atlas


def test_two_models_are_compared_in_one_book(gpt2, prose, tmp_path):
    other = tmp_path / "models" / "other"
    copytree(gpt2, other)
    weights = {name: 1.1 * tensor for name, tensor in load_file(other / WEIGHTS).items()}
    save_file(weights, other / WEIGHTS, metadata={"format": "pt"})
    for name in ("01_head_atlas.py", "12_methods.py", "13_models_compared.py"):
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        copy(NOTEBOOKS / name, tmp_path / "notebooks" / name)
    places = ("--store", tmp_path / "store", "--out", tmp_path / "html")
    asked = ("--models", f"{gpt2},{other}", "--text", prose, "--notebooks", tmp_path / "notebooks")
    done = invoke("build", *asked, *TINY, *places)
    assert done.exit_code == 0, done.output
    pages = {path.stem for path in (tmp_path / "html").glob("[01]*.html")}
    assert pages == {
        *("01_head_atlas", "12_methods", "13_models_compared"),
        *("01_head_atlas-other", "12_methods-other"),
    }
    beside = (tmp_path / "html" / "13_models_compared.html").read_text(encoding="utf-8")
    assert "<strong>gpt2</strong>, <strong>other</strong>" in beside
    left_out = ("02_induction_circuit", "04_previous_token_redundancy")
    # Where nothing is copied, and where the index of redundancy is not defined.
    claims = (
        f"SELECT count(DISTINCT claim) AS n FROM verdicts WHERE chapter NOT IN {left_out} "
        "GROUP BY model"
    )
    counts = invoke("sql", claims, "--csv", "--store", tmp_path / "store").stdout.split()[1:]
    assert len(counts) == 2
    assert len(set(counts)) == 1, "models of one architecture are asked the same"


def test_a_folder_without_a_tokenizer_is_scored_on_random_tokens(tmp_path):
    build(SUPPORTED["gpt2"]).save_pretrained(tmp_path / "model")
    store = ("--store", tmp_path / "store")
    done = invoke("run", "--model", tmp_path / "model", *SMALL, *store)
    assert done.exit_code == 0, done.output
    query = "SELECT DISTINCT score FROM absences ORDER BY ALL"
    absent = invoke("sql", query, "--csv", *store).stdout.split()[1:]
    assert {"previous_token", "successor", "s_inhibition"} <= set(absent)
    chapters = ("--chapters", "12", "--out", tmp_path / "html")
    done = invoke("build", "--model", tmp_path / "model", *SMALL, *store, *chapters)
    assert done.exit_code == 0, done.output


def test_a_check_says_what_a_model_gets_and_keeps_it(worded, tmp_path):
    store = ("--store", tmp_path / "store")
    done = invoke("check", worded, *TINY, *store)
    assert done.exit_code == 0, done.output
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    said = {cells[1]: cells[-1].strip() for cells in lines if len(cells) > 1}
    assert said["of what attention writes arrives"] == "all, as it is"
    assert said["01 head atlas"] == "yes"
    assert said["06 components"] == "no: the model has no decomposition"
    told = json.loads(invoke("check", worded, *TINY, "--json", *store).stdout)
    query = "SELECT chapter, holds, reason FROM model_chapters WHERE score IS NULL"
    kept = [json.loads(line) for line in invoke("sql", query, "--json", *store).stdout.splitlines()]
    assert kept == [
        {name: row[name] for name in ("chapter", "holds", "reason")}
        for row in told["model_chapters"]
        if row["score"] is None
    ]
    assert len(Store.existing(tmp_path / "store").runs()) == 1, "asked once"


def test_a_check_of_a_model_that_is_refused_is_one_line_and_leaves_nothing(tmp_path):
    assert "found no folder" in refused("check", tmp_path / "none", "--store", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_bos_of_the_configuration_is_mentioned_and_taken_where_it_is_asked_for(worded, tmp_path):
    folder = copytree(worded, tmp_path / "model")
    named = {"bos_token": None, "eos_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    asked = ("run", "--model", folder, *SMALL, "--dry-run", "--store", tmp_path / "store")
    note = "tokens: no BOS, the tokenizer has none; config.json names id 0 ('<bos>'), which --bos"
    for flags, told in (((), True), (("--no-bos",), True), (("--bos",), False)):
        assert (note in invoke(*asked, *flags).stderr) == told
    asked = {bos: Asked(model=str(folder), bos=bos) for bos in (None, False, True)}
    assert [one.with_bos for one in asked.values()] == [False, False, True]
    for bos, one in asked.items():
        rows = AtlasStudy(one).induction_scores().data()[0].ids
        assert ((rows == 0).sum(1) == int(bos is True)).all()


def test_a_pool_is_checked_and_said_where_it_is_small(gpt2, prose, tmp_path):
    asked = ("run", "--model", gpt2, "--text", prose, *SMALL, "--store", tmp_path / "store")
    wrong = refused(*asked, "--token-pool", "few")
    assert wrong.endswith("frequent:N with N of at least 2, got few; choose one of them")
    note = "text: blocks of 12 tokens are drawn with replacement from the 4 ids that are most"
    assert note in invoke(*asked, "--token-pool", "frequent:4", "--dry-run").stderr
    assert "with replacement" not in invoke(*asked, "--dry-run").stderr


@pytest.mark.parametrize("flags", [(), ("--no-bos",), ("--bos",)])
def test_bos_and_the_pool_reach_the_chapters(flags, monkeypatch, tmp_path):
    """As options of their notebooks, of which the same is asked that was computed."""
    told: list[dict[str, str]] = []

    def built(*_args, options: dict[str, str], **_more):
        told.append(options)
        raise UserError("expected a book, got enough; stop")

    monkeypatch.setattr("book.site.build", built)
    pool = ("--token-pool", "frequent:7")
    refused("build", *flags, *pool, "--out", tmp_path / "out", "--store", tmp_path / "store")
    (options,) = told
    asked = Asked.of("reference", options)
    assert asked == asked_of(options)
    assert asked.bos == {"--no-bos": False, "--bos": True}.get(flags[0] if flags else "")
    assert asked.token_pool == "frequent:7"


def test_a_claim_without_an_estimate_is_said(capsys):
    known = {"estimate": 0.5, "lower": 0.25, "upper": 1.0, "verdict": "undecided"}
    ends = [known, known | {"lower": None}, dict.fromkeys(known) | {"verdict": "undecided"}]
    _say(pl.DataFrame([row | {"statement": "It is so"} for row in ends]))
    assert [line.split("  ")[-2].strip() for line in capsys.readouterr().out.splitlines()] == [
        "0.500 (0.250 to 1.000)",
        "0.500 (none to 1.000)",
        "no estimate",
    ]


@pytest.mark.parametrize("form", ["--csv", "--json", None])
def test_sql_prints_what_was_asked_for(form, tmp_path):
    options = [form] if form else []
    Store.open(tmp_path / "store")
    done = invoke("sql", "SELECT 1 AS one, '<b>' AS text", *options, "--store", tmp_path / "store")
    assert done.exit_code == 0
    assert "one" in done.stdout
    assert "<b>" in done.stdout


@pytest.mark.parametrize(
    "command", ["run", "build", "serve", "sql", "store", "train-reference", "bench"]
)
def test_every_command_shows_an_example(command):
    shown = invoke(command, "--help").output
    assert f"headbook {command}" in shown.split("Example:")[1]


def test_unknown_model_and_folder():
    assert "Hugging Face id" in refused("run", "--model", "./nowhere", *SMALL)
    assert "offline cache" in refused("run", "--model", "nobody/nothing", *SMALL)


def test_a_folder_without_weights_or_with_pickles_only(gpt2, tmp_path):
    (tmp_path / "config.json").write_text((gpt2 / "config.json").read_text())
    assert "found none" in refused("run", "--model", tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert "pickles are never loaded" in refused("run", "--model", tmp_path)


def test_a_model_that_is_not_causal(gpt2, tmp_path):
    config = json.loads((gpt2 / "config.json").read_text()) | {"architectures": ["BertForMaskedLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    copy(gpt2 / WEIGHTS, tmp_path)
    assert "causal" in refused("run", "--model", tmp_path, *SMALL, "--store", tmp_path / "store")


def test_text_that_cannot_be_read(gpt2, tmp_path):
    def run(text: object) -> str:
        return refused("run", "--model", gpt2, "--text", text, "--store", tmp_path / "store")

    assert "no file" in run(tmp_path / "missing.txt")
    (tmp_path / "empty.txt").write_text("")
    assert "empty" in run(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    assert "UTF-8" in run(tmp_path / "latin.txt")
    pl.DataFrame({"body": ["x"]}).write_parquet(tmp_path / "table.parquet")
    assert "found body" in run(tmp_path / "table.parquet")
    (tmp_path / "short.txt").write_text("one")
    assert "smaller --tokens" in run(tmp_path / "short.txt")


def test_a_context_that_is_too_long(gpt2, tmp_path):
    store = ("--store", tmp_path / "store")
    assert "from 3 to 64" in refused("run", "--model", gpt2, "--tokens", 65, *store)


def test_heads_that_do_not_exist(gpt2, prose, tmp_path):
    asked = ("run", "--model", gpt2, "--text", prose, *SMALL, "--store", tmp_path / "store")
    assert "L0H0 to L1H3" in refused(*asked, "--heads", "L9H99")
    assert "L1H4,L2H0" in refused(*asked, "--heads", "head 3")


REFUSED = (
    ("merge", "nothere"),
    ("merge", "there", "nothere"),
    ("run", "--model", "nowhere"),
    ("run", "--model", "nowhere", "--dry-run"),
    ("run", "--model", "nowhere", "--shard", "1/2"),
    ("run", "--model", "gpt2", "--text", "prose.txt", "--tokens", 65),
    ("run", "--model", "gpt2", "--text", "prose.txt", "--tokens", 65, "--dry-run"),
    ("run", "--model", "gpt2", "--text", "prose.txt", "--heads", "L9H99", "--dry-run"),
    ("run", "--model", "gpt2", "--text", "nothing.txt", "--shard", "1/2"),
    ("run", "--workers", 2),
    ("ask", "nothing.jsonl"),
    ("ask", "prose.txt", "--model", "gpt2"),
    ("grid", "--question", "who"),
    ("grid", "--model", "gpt2"),
    ("grid", "--length", 10**9),
    ("lags", "out", "--model", "nowhere", "--method", "zero", "--layers", "all"),
    ("bench", "--model", "small", "--task", "A", "--sequences", 10**9),
    ("import", "prose.txt"),
    ("export", "out"),
    ("sql", "SELECT 1"),
    ("store", "compact"),
)


@pytest.mark.parametrize("asked", REFUSED, ids=lambda asked: " ".join(map(str, asked)))
def test_what_is_refused_makes_no_store_and_nothing_else(asked, gpt2, prose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prose.txt").write_bytes(prose.read_bytes())
    (tmp_path / "gpt2").symlink_to(gpt2)
    Store.open(tmp_path / "there").recall(Scores(seed=1))
    before = sorted(tmp_path.rglob("*"))
    done = invoke(*asked, "--store", tmp_path / "new" / "store")
    assert done.exit_code == 2, done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refused_build_makes_no_store(tmp_path):
    asked = ("build", "--model", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert invoke(*asked, "--store", tmp_path / "store").exit_code == 2
    assert not (tmp_path / "store").exists()


def test_a_dry_run_makes_no_store(gpt2, prose, tmp_path):
    asked = ("run", "--model", gpt2, "--text", prose, *SMALL, "--store", tmp_path / "store")
    done = invoke(*asked, "--dry-run")
    assert done.exit_code == 0 and "tokens through all layers" in done.output, done.output
    assert not (tmp_path / "store").exists()
    (tmp_path / "store").mkdir()
    assert invoke(*asked, "--dry-run").exit_code == 0
    assert not list((tmp_path / "store").iterdir())


def test_a_merge_makes_the_store(tmp_path):
    Store.open(tmp_path / "empty")
    for name in ("new", "new"):
        assert invoke("merge", tmp_path / "empty", "--store", tmp_path / name).exit_code == 0
    assert Store.existing(tmp_path / "new").runs() == ()


def test_a_store_of_a_newer_schema_and_a_folder_that_is_no_store(tmp_path):
    Store.open(tmp_path / "store")
    assert invoke("store", "--store", tmp_path / "store").exit_code == 0
    marker = tmp_path / "store" / "store.json"
    newer = json.loads(marker.read_text())
    newer["schema"] = 10**6
    marker.chmod(0o644)
    marker.write_text(json.dumps(newer))
    assert "newer" in refused("store", "--store", tmp_path / "store")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("not a store")
    assert "store" in refused("sql", "SELECT 1", "--store", tmp_path / "letters")


def test_a_wrong_query(tmp_path):
    Store.open(tmp_path / "store")
    assert "nowhere" in refused("sql", "SELECT * FROM nowhere", "--store", tmp_path / "store")


def test_a_missing_corpus_and_an_unknown_device(tmp_path):
    corpus = tmp_path / "corpus"
    asked = ("train-reference", "--out", tmp_path / "out", "--corpus", corpus)
    assert "found no" in refused(*asked)
    corpus.mkdir()
    assert "none in" in refused(*asked)
    (corpus / "a.txt").write_text("words " * 1000)
    assert "--device cpu" in refused(*asked, "--device", "tpu9")


def test_a_chapter_that_compares_models_takes_several(tmp_path):
    places = ("--out", tmp_path / "html", "--store", tmp_path / "store")
    assert "got one model; name them" in refused("build", "--chapters", "13", *places)


def test_chapters_are_those_that_are_asked_for():
    every = find_notebooks(NOTEBOOKS)
    usual = chosen(every, "")
    assert [path.stem for path in every if path not in usual] == ["14_speed"]
    assert chosen(every, "all") == list(every)
    assert [path.stem[:2] for path in chosen(every, "02,14")] == ["02", "14"]
    assert "14, 15 or all, got 77; name" in refused("build", "--chapters", "1,77")
    told = invoke("run", "--chapters", "1,x").output
    assert "expected numbers such as 01,02, or all, got 1,x" in told
    assert "which ask a model, or all, got 12" in refused("run", "--chapters", "12,1")


def test_a_run_asks_only_what_its_chapters_show(worded, prose_file, tmp_path):
    about = ("--model", worded, "--text", prose_file, "--profile", "tiny", "--dry-run")
    asked = {
        chapters: invoke("run", *about, "--store", tmp_path, *chapters).output
        for chapters in ((), ("--chapters", "all"), ("--chapters", "3"), ("--chapters", "04,3"))
    }
    every, also, *names = (
        {line.split()[0] for line in told.splitlines() if re.match(r"\w+ +[\du]", line)}
        for told in asked.values()
    )
    assert every == also
    names = [every, *names]
    assert names[1] == {"experiment", "ModelCheck", "BosSink", "SinkMass"}
    assert names[1] < names[2] < names[0]
    assert "ValueRedundancy" not in names[1]


def test_a_run_says_which_chapters_got_nothing_and_why(worded, tmp_path):
    about = ("--model", worded, "--profile", "tiny", "--store", tmp_path)
    done = invoke("run", *about, "--chapters", "06,07")
    assert done.exit_code == 0
    assert done.stdout == ""
    said = "left out: 06, 07: the model has no decomposition"
    assert said in done.stderr.splitlines()


def test_every_size_can_be_asked_for():
    assert tuple(profile.value for profile in Profile) == PROFILES
