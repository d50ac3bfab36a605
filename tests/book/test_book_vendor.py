"""The browser files are the ones that the script made; nothing else loads."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from book.sql_files import ENGINE

VENDOR = Path(__file__).resolve().parents[2] / "book" / "vendor"
RECORD = json.loads((VENDOR / "VENDOR.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RECORD)
def test_a_browser_file_has_its_recorded_hash(name):
    content = (VENDOR / name).read_bytes()
    assert len(content) == RECORD[name]["bytes"]
    assert hashlib.sha256(content).hexdigest() == RECORD[name]["sha256"]


def test_every_browser_file_is_recorded():
    code = {".js", ".wasm", ".gz"}
    present = {path.name for path in VENDOR.iterdir() if path.suffix in code}
    assert present == {name for name in RECORD if Path(name).suffix in code}
    assert len(present) == 5


def test_what_the_console_needs_is_here_with_its_licences():
    assert set(ENGINE) <= RECORD.keys()
    assert sum(RECORD[name]["bytes"] for name in ENGINE) < 9_000_000
    assert gzip.decompress((VENDOR / "duckdb-eh.wasm.gz").read_bytes())[:4] == b"\0asm"
