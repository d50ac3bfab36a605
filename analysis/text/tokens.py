"""Token ids of a model's own tokenizer: encoding, special ids, single-token words, hashes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Encoding, Tokenizer

from analysis.errors import UserError, reason
from analysis.files import LARGE, check_regular, regular_bytes
from analysis.models.files import gguf
from analysis.models.files.card import settings_of, tokenizer_folder
from analysis.models.files.sizes import text_settings
from analysis.settings import json_object

DELIMITERS = frozenset((".", ",", ";", ":", "!", "?", "\n"))
NO_TOKENIZER = "the model's folder holds no tokenizer"
_OLDER_TOO = ("merges.txt", "vocab.txt", "added_tokens.json", "special_tokens_map.json")
"""What transformers reads besides of a tokenizer in an older format."""


@dataclass(frozen=True)
class Tokens:
    """Rows of token ids of one length, and what they are."""

    ids: np.ndarray
    """int32 (sequence, pos)."""
    name: str
    source: str
    """Where the text came from: a generator's name, or a file and its content hash."""
    bos: bool
    tokenizer: str
    """Hash of the tokenizer's file, or empty for ids that were drawn."""
    targets: tuple[int, ...] = ()
    """Positions that a score asks about, if the rows are templated."""
    notes: tuple[str, ...] = ()
    """What whoever asks is told of them, a line each; no part of what they are."""

    @cached_property
    def sha256(self) -> str:
        """Hash of the ids as they are fed, with their shape and target positions."""
        digest = hashlib.sha256(np.ascontiguousarray(self.ids, dtype="<i4").tobytes())
        digest.update(json.dumps([*self.ids.shape, *self.targets]).encode())
        return digest.hexdigest()

    @property
    def text(self) -> str:
        """The id that tables refer to."""
        return self.sha256[:16]

    def row(self) -> pl.DataFrame:
        """The rows' entry in the table `texts`."""
        return pl.DataFrame(
            {
                "text": self.text,
                "name": self.name,
                "source": self.source,
                "tokens": self.sha256,
                "n_sequences": self.ids.shape[0],
                "n_tokens": self.ids.size,
                "bos": self.bos,
                "tokenizer": self.tokenizer,
            }
        )


@dataclass(frozen=True)
class Vocabulary:
    """A model folder's tokenizer, and which of its ids are special."""

    folder: Path
    vocab: int
    """Rows of the embedding: ids below it exist."""
    configured: bool = False
    """Whether the configuration's BOS counts where the tokenizer has none."""
    without: bool = False
    """Whether no sequence starts with a BOS though there is one."""

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, or nothing if the folder has none."""
        path = self._place / "tokenizer.json"
        if gguf.file_of(self._place) is not None or not path.exists():
            return self._converted()
        check_regular([path], LARGE)
        state = path.stat()
        return _read_tokenizer(path, (state.st_mtime_ns, state.st_size))

    def _converted(self) -> Tokenizer | None:
        """A tokenizer in an older format, converted by transformers."""
        older = ("tokenizer.model", "vocab.json", "tokenizer_config.json", "spiece.model")
        place, file = self._place, gguf.file_of(self._place)
        if file is None and not any((place / name).exists() for name in older):
            return None
        check_regular((place / name for name in (*older, *_OLDER_TOO)), LARGE)
        where = {} if file is None else {"gguf_file": file.name}
        place = place if file is None else file.parent
        from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import, rarely needed

        try:
            loaded: Any = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **where)
            return loaded.backend_tokenizer
        except Exception as error:  # damaged files raise errors of many kinds
            raise UserError(
                f"expected a tokenizer in {place}, loading it failed: {reason(error)}; "
                "save tokenizer.json there"
            ) from None

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the tokenizer as JSON."""
        return "" if self.tokenizer is None else _hash(self.tokenizer)

    @cached_property
    def _place(self) -> Path:
        return tokenizer_folder(self.folder)

    @cached_property
    def _config(self) -> dict[str, Any]:
        said = settings_of(self.folder)
        return {**said, **text_settings(said)}

    @cached_property
    def _named(self) -> dict[str, Any]:
        """Special tokens by the names that the tokenizer's files give them."""
        paths = (
            self.folder / name for name in ("special_tokens_map.json", "tokenizer_config.json")
        )
        told = [item for path in paths if path.exists() for item in json_object(path).items()]
        return {k: token for k, token in told if k.endswith("_token") and type(token) is not bool}

    @cached_property
    def _configured_bos(self) -> tuple[int, ...]:
        found = self._config.get("bos_token_id")
        return (found,) if isinstance(found, int) and 0 <= found < self.vocab else ()

    @property
    def bos(self) -> tuple[int, ...]:
        """The id that starts every sequence, or nothing."""
        return () if self.without else self.own_bos

    @cached_property
    def own_bos(self) -> tuple[int, ...]:
        """The tokenizer's BOS, whether sequences start with it or not.

        It is the configuration's where there is no tokenizer, or its files name no special token.

        Raises:
            UserError: The configuration's is to count, and names no id of the model.
        """
        token = self._named.get("bos_token") if self.tokenizer is not None else None
        text = token.get("content") if isinstance(token, dict) else token
        if self.tokenizer is not None and isinstance(text, str):
            found = self.tokenizer.token_to_id(text)
            if found is not None and found < self.vocab:
                return (found,)
        if self.configured and not self._configured_bos:
            raise UserError(
                f"expected a BOS for --bos, the tokenizer in {self.folder} has none and "
                f"bos_token_id of config.json is {self._config.get('bos_token_id')!r}, no id below "
                f"{self.vocab}; leave --bos out"
            )
        silent = self.tokenizer is None or not self._named
        return self._configured_bos if self.configured or silent else ()

    @property
    def bos_note(self) -> str:
        """What whoever asks is told of a BOS of the configuration that is not used, or nothing."""
        if set(self._configured_bos) <= set(self.own_bos):
            return ""
        other, *own = (
            f"id {i} ({self.display(i)!r})" for i in (*self._configured_bos, *self.own_bos)
        )
        if own:
            return f"BOS is the tokenizer's, {own[0]}; config.json names {other}"
        return f"no BOS, the tokenizer has none; config.json names {other}, which --bos takes"

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer starts a text with its BOS by itself."""
        tokenizer = self.tokenizer
        return tokenizer is not None and tuple(tokenizer.encode("a").ids[:1]) == self.own_bos != ()

    @property
    def bos_said(self) -> str:
        """Which BOS sequences start with, and whether the tokenizer adds one by itself."""
        note = f"; {self.bos_note}" if self.bos_note else ""
        if not self.own_bos:
            return f"Sequences start without a BOS{note or ', since the model has none'}"
        (token,) = self.own_bos
        named = f"{'with' if self.bos else 'without'} the BOS {self.display(token)!r} (id {token})"
        adds = "adds" if self.adds_bos else "does not add"
        return f"Sequences start {named}, which the tokenizer {adds} by itself{note}"

    @cached_property
    def ordinary(self) -> tuple[int, ...]:
        """Every id that is not special, ascending."""
        special = {*self.own_bos}
        for key in ("eos_token_id", "pad_token_id"):
            found: Any = self._config.get(key)
            listed: list[Any] = found if isinstance(found, list) else [found]
            special.update(token for token in listed if isinstance(token, int))
        n_known = self.vocab
        if self.tokenizer is not None:
            added = self.tokenizer.get_added_tokens_decoder()
            special.update(i for i, token in added.items() if token.special)
            n_known = min(self.vocab, self.tokenizer.get_vocab_size())
        return tuple(i for i in range(n_known) if i not in special)

    def require(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            UserError: The folder has none.
        """
        if self.tokenizer is None:
            raise UserError(
                f"expected tokenizer.json in {self.folder}, found none; "
                "save the model's tokenizer there"
            )
        return self.tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of a text, as `encoding` gives them."""
        return self.encoding(text).ids

    def encoding(self, text: str) -> Encoding:
        """A text's ids, and its characters that each is of, without any special token added.

        Raises:
            UserError: There is no tokenizer, the text holds half of a surrogate pair, or the model
                has no such ids.
        """
        found = self._encoding(text)
        largest = max(found.ids, default=0)
        if largest >= self.vocab:
            raise UserError(
                f"expected token ids below {self.vocab}, the rows of the model's embedding, the "
                f"tokenizer gives {largest}; save the model's own tokenizer beside it"
            )
        return found

    def _encoding(self, text: str) -> Encoding:
        try:
            return self.require().encode(text, add_special_tokens=False)
        except TypeError:
            raise UserError(
                "expected text of whole characters, got half of a surrogate pair; remove it"
            ) from None

    def single(self, words: Sequence[str]) -> dict[str, int]:
        """Ids of those words that are one token of their own after a space, in mid-sentence.

        Words are encoded after another word, since some tokenizers mark only that case. A word that
        the tokenizer or the model does not know is none, and of words that it does not tell apart
        the first.
        """
        if self.tokenizer is None:
            return {}
        stem = self._encoding("a").ids
        found = {word: self._encoding(f"a {word}").ids for word in words}
        first: dict[int, str] = {}
        for word, ids in found.items():
            whole = len(ids) == len(stem) + 1 and ids[: len(stem)] == stem
            if whole and ids[-1] < self.vocab and self.says(ids[-1:], word):
                first.setdefault(ids[-1], word)
        return {word: token for token, word in first.items()}

    def says(self, tokens: Sequence[int], text: str) -> bool:
        """Whether tokens hold a text, its case and spaces apart: not so if it has unknown words."""
        said = self.require().decode(list(tokens), skip_special_tokens=False)
        return "".join(said.split()).casefold() == "".join(text.split()).casefold()

    def display(self, token: int) -> str:
        """The token as text, with its leading space."""
        if self.tokenizer is None:
            return f"#{token}"
        return self.tokenizer.decode([token], skip_special_tokens=False) or f"#{token}"


def delimiter_ids(vocabulary: Vocabulary) -> list[int]:
    """Ids of tokens that are a delimiter, with or without spaces around it."""
    return [i for i in vocabulary.ordinary if vocabulary.display(i).strip(" ") in DELIMITERS]


@lru_cache(maxsize=8)
def _read_tokenizer(path: Path, _state: tuple[int, int]) -> Tokenizer:
    """Read once for the many questions about a model; anew when the file has changed."""
    try:
        return Tokenizer.from_buffer(regular_bytes(path, LARGE))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"expected a tokenizer, {path} is damaged ({reason(error)}); save it again"
        ) from None


@lru_cache(maxsize=8)
def _hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of its JSON."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
