"""What all tests share: checked shapes, no network, few threads, and small saved models."""

import fcntl
import json
import os
import re
from copy import deepcopy
from pathlib import Path
from random import Random

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # of commands that tests start: others run beside them

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from transformers import PreTrainedConfig

ROOT = Path(__file__).resolve().parent.parent
BUILDS_FIRST = "tests/book/test_book.py"
SECONDS: dict[str, float] = json.loads((ROOT / "tests" / "seconds.json").read_text("utf-8"))
"""How long each file took; `HEADBOOK_SECONDS=tests/seconds.json make test` measures them anew."""
QUICK_S = 6.0
"""A file that took longer is slow."""

# Configs take any keyword, which their generated signatures do not say.
PreTrainedConfig.__no_type_check__ = True
install_import_hook("analysis", "beartype.beartype")

torch.set_num_threads(1)
settings.register_profile("headbook", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("headbook")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let one worker have all tests of a file; files are begun in the order of the collection."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - only where it is used

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Give every test its tier, and begin with what takes long."""
    files = {item.nodeid.partition("::")[0] for item in items}
    tiers, turns = {file: tier(file) for file in files}, {file: in_turn(file) for file in files}
    for item in items:
        item.add_marker(tiers[item.nodeid.partition("::")[0]])
    items.sort(key=lambda item: turns[item.nodeid.partition("::")[0]])


def tier(file: str) -> str:
    """Which tests are run together: all of a file, by what it needs and how long it took.

    Returns:
        `browser`, `kills` (processes that are stopped), `slow` (what is not measured, too) or
        `quick`.
    """
    text = (ROOT / file).read_text("utf-8")
    if re.search(r"^from (selenium|\.browser|tests\.book\.browser)\b", text, re.MULTILINE):
        return "browser"
    if (
        file.endswith("_kills.py")
        or re.search(r"\b(kill|send_signal|terminate)\(", text)
        or "import process" in text
    ):
        return "kills"
    return "quick" if SECONDS.get(file, QUICK_S) < QUICK_S else "slow"


def in_turn(file: str) -> tuple[int, float, str]:
    """When a file is begun: first the one that builds the real book, last the others that read it.

    All between them by their measured seconds, the longest first.
    """
    reads = re.search(r"\breal_book[,)]", (ROOT / file).read_text("utf-8")) is not None
    place = 0 if file == BUILDS_FIRST else 2 if reads else 1
    return place, -SECONDS.get(file, 10.0), file


def pytest_terminal_summary(terminalreporter):
    """Write how long each file took, where HEADBOOK_SECONDS says so."""
    kept = os.environ.get("HEADBOOK_SECONDS")
    if not kept:
        return
    took: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "nodeid") and hasattr(report, "duration"):
                file = report.nodeid.partition("::")[0]
                took[file] = took.get(file, 0.0) + report.duration
    lines = (f'  "{file}": {took[file]:.0f}' for file in sorted(took))
    Path(kept).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def beside(path: str) -> Path:
    """A file or folder of `shared`, a folder that may lie beside the checkout."""
    found = ROOT.parent / "shared" / path
    if not found.exists():
        pytest.skip(f"needs `shared/{path}` beside the checkout; runs again once it lies there")
    return found


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """A pretrained Llama of 260 k parameters: previous-token heads, no induction head."""
    return beside("models/stories260k")


@pytest.fixture(scope="session")
def prose() -> Path:
    """A public-domain book as plain text."""
    return beside("corpus/oz_montecristo.txt")


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The folder of a random model of any architecture of `architectures`, saved once."""
    from tests.models.architectures import OWN, SUPPORTED, build  # noqa: PLC0415 - slow

    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name) / name
            config = deepcopy({**SUPPORTED, **OWN}[name])
            build(config).save_pretrained(folders[name])
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def real_book(tmp_path_factory):
    """The book of the reference model, checked, from an empty store: one for all workers."""
    from tests.book.real_book import RealBook  # noqa: PLC0415 - slow to import

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    book, built = RealBook(folder / "real-book"), folder / "real-book.built"
    with (folder / "real-book.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            book.build("--check")
            built.touch()
    return book


@pytest.fixture(scope="session")
def worded(tmp_path_factory) -> Path:
    """A random LlamaSimpleMLP whose tokenizer has a token for each word of the generated text."""
    from tokenizers import (  # noqa: PLC0415
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        trainers,
    )

    from analysis.models.llama_simple_mlp import LlamaSimpleMLPConfig  # noqa: PLC0415
    from analysis.text import english, words  # noqa: PLC0415
    from tests.models.architectures import GQA, build  # noqa: PLC0415

    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[A-Za-z]+|\d|[^A-Za-z\d]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    every = [*words.single_token_words(), *words.FIRMS, *words.TRADES, *words.ADJECTIVES]
    rng = Random(0)
    text = ["\n".join(words.LETTERS), *(f"a {word}, {word}. " for word in every)]
    text += [english.paragraph(rng) for _ in range(300)]
    text += [english.gift(rng, english.Split.TEST).text for _ in range(50)]
    trainer = trainers.WordLevelTrainer(special_tokens=["<bos>", "<unk>"], show_progress=False)
    tokenizer.train_from_iterator(text, trainer)
    folder = tmp_path_factory.mktemp("worded") / "worded"
    sizes = {**GQA, "vocab_size": tokenizer.get_vocab_size(), "eos_token_id": None}
    build(LlamaSimpleMLPConfig(**sizes)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, among files that nobody may touch."""
    from tests.commands.hostile import Place  # noqa: PLC0415

    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    """Code in every disguise, that shows whether it was run."""
    from tests.commands.hostile import Canary  # noqa: PLC0415

    return Canary(tmp_path_factory.mktemp("canary"))
