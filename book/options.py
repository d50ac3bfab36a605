"""Options that several commands share."""

from __future__ import annotations

import atexit
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from analysis.errors import UserError
from book.planning import Budget
from store import default_root

SEED = click.IntRange(0, 2**31 - 1)
"""What every generator of random numbers takes."""

COUNT = click.IntRange(1, 2**31 - 1)
"""Of what memory does not hold, or what only bounds something."""

STEPS = click.IntRange(1, 2**24 - 1)
"""Of an optimizer, which counts them in float32."""

PROFILES = ("tiny", "quick", "full")
"""Values of `Profile`, which takes torch to import."""
EVERY = "all"
"""What `--chapters` takes for all, the one that times the machine too."""

F = TypeVar("F", bound=Callable[..., Any])

_LONGEST = 120
"""Characters of a path that a line shows."""

_NEVER = {
    errno.ENAMETOOLONG: ("a name or a path that is too long", "choose shorter names"),
    errno.ELOOP: ("a loop of links", "name the file or folder itself"),
    errno.ENOTDIR: ("a file on the way to it", "choose another path"),
    errno.EACCES: ("a folder on the way that is closed to us", "choose another path"),
}
"""Paths at which nothing can be read or written."""

_GONE = "book.options.gone"
"""Of a command whose current folder somebody removed."""


def leave_gone_folder(ctx: click.Context) -> None:
    """Go to an empty folder where the current one is gone: libraries ask where they are.

    Args:
        ctx: Of all commands; paths that are relative to the folder are refused in it, and what
            else is looked up there is not found.
    """
    try:
        os.getcwd()  # noqa: PTH109 - nothing is done with it
    except OSError:
        empty = tempfile.mkdtemp(prefix="headbook-")
        atexit.register(shutil.rmtree, empty, ignore_errors=True)
        os.chdir(empty)
        ctx.meta[_GONE] = True


def shown(path: str | bytes) -> str:
    """A path for a line, a long one without its middle."""
    text = os.fsdecode(path)
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"


class NamedPath(click.Path):
    """A file or folder of the user: `~` is a home, and what can never be one is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path.

        Raises:
            UserError: Nothing can be there.
        """
        text = os.path.expanduser(str(value))  # noqa: PTH111 - Path's raises
        home = os.path.expanduser(str(value).partition("/")[0])  # noqa: PTH111
        if str(value).startswith("~") and not (home.startswith("/") and Path(home).is_dir()):
            raise UserError(
                f"expected a home that {shown(str(value))} begins with, found none; write the "
                "whole path, or ./~ for a file of that name"
            )
        if not text:
            raise UserError("expected a path, got an empty one; name a file or folder")
        if ctx is not None and ctx.meta.get(_GONE) and not Path(text).is_absolute():
            raise UserError(
                f"expected a current folder for {shown(text)}, got one that is gone; go to another "
                "and run again, or write the whole path"
            )
        try:
            text.encode()
            Path(text).stat()
        except UnicodeEncodeError:
            raise UserError(
                f"expected a path in UTF-8, got other bytes in {shown(text)}; rename it"
            ) from None
        except OSError as error:
            if error.errno in _NEVER:
                got, remedy = _NEVER[error.errno]
                raise UserError(
                    f"expected to write to or read {shown(text)}, got {got}; {remedy}"
                ) from None
        return Path(text)


PATH = NamedPath()


class Chapters(click.ParamType[str]):
    """Numbers of chapters, or `all`."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Two digits each, separated by commas; `all` stays."""
        numbers = [number.strip() for number in str(value).split(",") if number.strip()]
        if numbers == [EVERY] or not value:
            return str(value)
        if not numbers or not all(re.fullmatch(r"[0-9]{1,2}", number) for number in numbers):
            self.fail(f"expected numbers such as 01,02, or {EVERY}, got {value}", param, ctx)
        return ",".join(sorted({number.zfill(2) for number in numbers}))


class ProfileFile(click.ParamType[str]):
    """A profile's name, or a TOML file of a reader's own sizes."""

    name = "profile"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """As `--help` shows it."""
        return "|".join((*PROFILES, "FILE.toml"))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """What `told_sizes` takes.

        Raises:
            UserError: The file says something else.
        """
        if value in PROFILES:
            return str(value)
        if not str(value).endswith(".toml"):
            names = ", ".join(PROFILES)
            self.fail(f"expected {names} or a file such as mine.toml, got {value}", param, ctx)
        from analysis.overview.own_sizes import read_own  # noqa: PLC0415 - imports torch

        return read_own(PATH.convert(value, param, ctx))


def with_chapters(function: F) -> F:
    """The option `--chapters`."""
    return click.option(
        "--chapters",
        type=Chapters(),
        default="",
        show_default="all but 14, which times this machine",
        help="Only what these show, by number, such as 01,02; or all.",
    )(function)


def with_store(function: F) -> F:
    """The option `--store`."""
    return click.option(
        "--store",
        "store_path",
        type=PATH,
        default=default_root,
        show_default="$HEADBOOK_STORE, else .headbook in the checkout, or for an installed "
        "headbook in the current folder",
        help="Folder of the store.",
    )(function)


def with_profile(function: F) -> F:
    """The option `--profile`."""
    return click.option(
        "--profile",
        type=ProfileFile(),
        default="quick",
        show_default=True,
        help="Size of every experiment; tiny ones only show that all can be asked. A file names "
        "the sizes that differ, as chapter 12 lists them.",
    )(function)


def with_pool(function: F) -> F:
    """The option `--token-pool`."""
    return click.option(
        "--token-pool",
        metavar="text|frequent:N|all",
        default="text",
        show_default=True,
        help="What random tokens are drawn from: ids that occur in the text, its N most frequent "
        "ones, or all that are not special.",
    )(function)


def with_budget(function: F) -> F:
    """The option `--budget`."""
    return click.option(
        "--budget",
        type=Budget(),
        help="Time that it may take here, about, such as 60m or 1h30m: sizes are halved until all "
        "chapters fit, or else chapters left out. The first budget's sizes are kept: with a larger "
        "one the same command goes on.",
    )(function)


def with_bos(function: F) -> F:
    """The options `--bos` and `--no-bos`."""
    return click.option(
        "--bos/--no-bos",
        default=None,
        show_default="the tokenizer's, where it has one",
        help="Start sequences with BOS; --bos takes the configuration's where the tokenizer has "
        "none.",
    )(function)


def with_request(function: F) -> F:
    """The options that say how much is asked of which text, and where it is computed."""
    options = (
        click.option(
            "--text",
            default="reference",
            show_default=True,
            help="`reference` (generated English), `prose` (public domain, comes with it too), a "
            ".txt, .jsonl or .parquet file, or hf:dataset[:split[:column]].",
        ),
        with_profile,
        with_chapters,
        click.option(
            "--tokens", "n_tokens", type=int, help="Length of sequences; the profile's by default."
        ),
        click.option(
            "--sequences", "n_sequences", type=int, help="How many; the profile's by default."
        ),
        with_bos,
        with_pool,
        click.option("--heads", help="Heads whose patterns are kept, as L1H4,L2H0."),
        click.option("--seed", type=SEED, default=0, show_default=True),
        click.option(
            "--device",
            default="cpu",
            show_default=True,
            help="Such as cpu or cuda; auto: weights that do not fit lie in memory, then on disk.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["float32", "bfloat16"]),
            default="float32",
            show_default=True,
            help="Of the blocks; norms and logits are in float32. Part of what is asked.",
        ),
        click.option(
            "--slow-dtype", is_flag=True, help="Take bfloat16 on a CPU that is slower with it, too."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def with_size(function: F) -> F:
    """The options `--profile`, `--seed` and `--device`."""
    options = (
        with_profile,
        click.option("--seed", type=SEED, default=0, show_default=True),
        click.option("--device", default="cpu", show_default=True, help="Such as cpu or cuda."),
    )
    for option in reversed(options):
        function = option(function)
    return function
