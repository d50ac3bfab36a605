"""The browser files are the ones that the script made; nothing else loads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

VENDOR = Path(__file__).resolve().parents[1] / "book" / "vendor"
RECORD = json.loads((VENDOR / "VENDOR.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RECORD)
def test_a_browser_file_has_its_recorded_hash(name):
    content = (VENDOR / name).read_bytes()
    assert len(content) == RECORD[name]["bytes"]
    assert hashlib.sha256(content).hexdigest() == RECORD[name]["sha256"]


def test_every_browser_file_is_recorded():
    present = {path.name for path in VENDOR.iterdir() if path.suffix in {".js", ".wasm"}}
    assert present == {name for name in RECORD if name.endswith(".js")} and len(present) == 2
