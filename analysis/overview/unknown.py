"""Stands for answers that are not there yet, where it matters only what can be asked at all."""

from collections.abc import Iterator

import polars as pl


class UnknownError(Exception):
    """What is asked next depends on an answer that is not there yet."""


class _UnknownRuns(tuple[str, ...]):
    """Runs that nobody can count up."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        raise UnknownError


class Unknown:
    """Stands for an answer that is not there yet; whoever looks into it gets `UnknownError`."""

    runs: tuple[str, ...] = _UnknownRuns()

    def __getitem__(self, table: str, /) -> pl.DataFrame:
        raise UnknownError

    def __contains__(self, table: object, /) -> bool:
        raise UnknownError
