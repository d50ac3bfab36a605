"""Chapters about models of which what they claim cannot be tested: they say so, and why."""

from pathlib import Path
from shutil import copy

from bs4 import BeautifulSoup
from click.testing import CliRunner

from analysis.models.files.card import REFERENCE, read_card
from book.cli import cli
from tests.models.zoo.build import build, save


def pages(folder: Path, chapters: str, kind: str, **changes: int) -> dict[str, str]:
    """The words of each page about a random model of a type, built and checked."""
    model = save(
        build(kind, {"vocab_size": read_card("reference").vocab, **changes}), folder / kind
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        copy(REFERENCE / name, model / name)
    asked = ("--model", model, "--profile", "tiny", "--chapters", chapters, "--check")
    places = ("--store", folder / "store", "--out", folder / "html")
    done = CliRunner().invoke(cli, ["build", *map(str, (*asked, *places))])
    assert done.exit_code == 0, done.output
    texts = {
        path.stem: BeautifulSoup(path.read_text("utf-8"), "html.parser").get_text(" ")
        for path in (folder / "html").glob("*.html")
    }
    return {name: " ".join(text.split()) for name, text in texts.items()}


def test_a_model_of_one_layer_has_no_circuit_and_so_no_claim(tmp_path):
    sizes = {"num_hidden_layers": 1, "max_position_embeddings": 512}
    found = pages(tmp_path, "00,02,12", "llama", **sizes)
    for page in ("index", "12_methods"):
        assert "Nothing that the chapters claim can be tested of llama ." in found[page]
    assert "one layer attends" in found["02_induction_circuit"]


def test_where_layers_norm_the_stream_no_direct_effects_are_shown(tmp_path):
    found = pages(tmp_path, "02,05", "openai-gpt", n_positions=512)
    assert "Left out: direct_effect on text" in found["05_ablation_kinds"]


def test_a_model_that_copies_nothing_says_so_and_shows_no_circuit(tmp_path):
    """One sentence instead of charts of numbers that mean nothing."""
    found = pages(tmp_path, "02", "gpt_neox", max_position_embeddings=512)["02_induction_circuit"]
    assert "predicts neither a random block nor a piece of its text" in found
    assert "unknown" not in found
    for heading in ("Published, and ours", "Do the weights say so?", "Why not perfect?"):
        assert heading not in found
    assert "Which random tokens?" in found
