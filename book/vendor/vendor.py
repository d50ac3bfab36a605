"""Fetch the browser files of the book once and write their hashes: `python book/vendor/vendor.py`.

Needs npm and vl-convert-python (a development extra). The results are committed, so that a fresh
machine needs neither. `tests/test_book_vendor.py` holds the files against VENDOR.json.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

import vl_convert

HERE = Path(__file__).resolve().parent
MATHJAX = "mathjax@3.2.2"
VEGA = "vega@6.2.0"


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


def main() -> None:
    """Write the files and VENDOR.json beside this script."""
    mathjax, mathjax_licence = packed_files(MATHJAX, ["es5/tex-svg.js", "LICENSE"])
    (vega_licence,) = packed_files(VEGA, ["LICENSE"])
    files = {
        "tex-svg.js": (mathjax, f"npm {MATHJAX}"),
        "LICENSE.mathjax": (mathjax_licence, f"npm {MATHJAX}"),
        "vega-bundle.js": (vega_bundle(), f"vl-convert-python {vl_convert.__version__}"),
        "LICENSE.vega": (vega_licence, f"npm {VEGA}"),
    }
    record: dict[str, dict[str, str | int]] = {}
    for name, (content, source) in files.items():
        (HERE / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        record[name] = {"bytes": len(content), "sha256": digest, "source": source}
    (HERE / "VENDOR.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
