"""What all tests share: checked shapes, no network, few threads, and small saved models."""

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

# Configs take any keyword, which their generated signatures do not say.
PreTrainedConfig.__no_type_check__ = True
install_import_hook("analysis", "beartype.beartype")

torch.set_num_threads(1)
settings.register_profile("headbook", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("headbook")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let one worker have all tests of a file, and one all files that ask for the real book."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - only where it is used

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            of_book = re.search(r"\breal_book[,)]", (ROOT / file).read_text("utf-8"))
            return "real book" if of_book else file

    return ByFile(config, log)


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
    from .architectures import BYPASSING, SUPPORTED, build  # noqa: PLC0415 - slow to import

    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name) / name
            config = deepcopy({**SUPPORTED, **BYPASSING}[name])
            build(config).save_pretrained(folders[name])
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def real_book(tmp_path_factory):
    """The book of the reference model, checked, from an empty store."""
    from .real_book import RealBook  # noqa: PLC0415 - slow to import

    book = RealBook(tmp_path_factory.mktemp("real"))
    book.build("--check")
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

    from .architectures import GQA, build  # noqa: PLC0415

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
    from .hostile import Place  # noqa: PLC0415

    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    """Code in every disguise, that shows whether it was run."""
    from .hostile import Canary  # noqa: PLC0415

    return Canary(tmp_path_factory.mktemp("canary"))
