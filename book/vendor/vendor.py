"""Fetch the browser files of the book once and write their hashes: `python book/vendor/vendor.py`.

Needs npm and vl-convert-python (a development extra). The results are committed, so that a fresh
machine needs neither. `tests/test_book_vendor.py` holds the files against VENDOR.json.

DuckDB for the browser is three files: its engine (the build with native exceptions) gzipped, since
static hosts compress no WebAssembly; its worker; and what a page talks to the worker with, in one
bundle with the Arrow that it needs.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from importlib.metadata import files as installed_files
from pathlib import Path

import vl_convert

HERE = Path(__file__).resolve().parent
MATHJAX = "mathjax@3.2.2"
VEGA = "vega@6.2.0"
DUCKDB = "@duckdb/duckdb-wasm@1.32.0"
ARROW = "apache-arrow@17.0.0"
BUNDLED = (DUCKDB, ARROW, "flatbuffers@24.12.23", "tslib@2.9.1", "esbuild@0.28.2")

_ENTRY = """
import { AsyncDuckDB, DuckDBAccessMode, VoidLogger } from
  "@duckdb/duckdb-wasm/dist/duckdb-browser.mjs";
globalThis.duckdb = { AsyncDuckDB, DuckDBAccessMode, VoidLogger };
"""
_ESBUILD = "--bundle --minify --format=iife --target=es2022 --legal-comments=none"
_WASM_OWNERS = "DuckDB-Wasm: Copyright 2021 DuckDB WASM Contributors, under the same licence.\n\n"
_SOURCE_MAP = re.compile(rb"//# sourceMappingURL=.*\s*\Z")


def packed_files(package: str, names: list[str]) -> list[bytes]:
    """Some files of one npm package; nothing of it is run or installed."""
    with tempfile.TemporaryDirectory() as folder:
        pack = ["npm", "pack", package, "--silent"]
        subprocess.run(pack, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as files:
            members = [files.extractfile(f"package/{name}") for name in names]
            return [member.read() for member in members if member is not None]


def vega_bundle() -> bytes:
    """Vega, Vega-Lite and vega-embed in one scope; bare, its globals clash with Sphinx's."""
    return ("(() => {\n" + vl_convert.javascript_bundle() + "\n})();\n").encode()


def duckdb_files() -> dict[str, tuple[bytes, str]]:
    """DuckDB for the browser; no install script of any package is run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.json").write_text('{"private": true}')
        (folder / "entry.js").write_text(_ENTRY)
        install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *BUNDLED]
        subprocess.run(install, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        pack = ["npx", "esbuild", "entry.js", *_ESBUILD.split(), "--log-level=error"]
        bundle = subprocess.run(pack, cwd=folder, check=True, capture_output=True).stdout
        modules = folder / "node_modules"
        built, arrow = modules / "@duckdb/duckdb-wasm/dist", modules / "apache-arrow"
        worker = (built / "duckdb-browser-eh.worker.js").read_bytes()
        engine = (built / "duckdb-eh.wasm").read_bytes()
        arrow_terms = (arrow / "NOTICE.txt").read_bytes() + (arrow / "LICENSE.txt").read_bytes()
    (terms,) = (path for path in installed_files("duckdb") or () if path.match("licenses/LICENSE"))
    return {
        "duckdb-bundle.js": (bundle, f"npm {' '.join(BUNDLED)}"),
        "duckdb-worker.js": (_SOURCE_MAP.sub(b"", worker), f"npm {DUCKDB}"),
        "duckdb-eh.wasm.gz": (gzip.compress(engine, 9, mtime=0), f"npm {DUCKDB}"),
        "LICENSE.duckdb": ((_WASM_OWNERS + terms.read_text()).encode(), "PyPI duckdb"),
        "LICENSE.arrow": (arrow_terms, f"npm {ARROW}"),
    }


def main() -> None:
    """Write the files and VENDOR.json beside this script."""
    mathjax, mathjax_licence = packed_files(MATHJAX, ["es5/tex-svg.js", "LICENSE"])
    (vega_licence,) = packed_files(VEGA, ["LICENSE"])
    files = {
        "tex-svg.js": (mathjax, f"npm {MATHJAX}"),
        "LICENSE.mathjax": (mathjax_licence, f"npm {MATHJAX}"),
        "vega-bundle.js": (vega_bundle(), f"vl-convert-python {vl_convert.__version__}"),
        "LICENSE.vega": (vega_licence, f"npm {VEGA}"),
        **duckdb_files(),
    }
    record: dict[str, dict[str, str | int]] = {}
    for name, (content, source) in files.items():
        (HERE / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        record[name] = {"bytes": len(content), "sha256": digest, "source": source}
    (HERE / "VENDOR.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
