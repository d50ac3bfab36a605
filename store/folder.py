"""The folder a store lives in, and `store.json`, which says that it is one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .disk import disk_errors, replace_file
from .errors import StoreError
from .keys import canonical
from .provenance import CHECKOUT
from .schema import SCHEMA_VERSION

FORMAT = 1
"""Layout of the folder: raised when an older headbook could not find its way in it."""

MARKER = "store.json"


def default_root() -> Path:
    """Where the store is, if nobody says: `HEADBOOK_STORE`, else `.headbook` in the checkout.

    Returns:
        The folder; outside a checkout, `.headbook` in the current folder.
    """
    if named := os.environ.get("HEADBOOK_STORE"):
        return Path(named)
    in_checkout = (CHECKOUT / "pyproject.toml").is_file()
    return (CHECKOUT if in_checkout else Path.cwd()) / ".headbook"


def check_marker(root: Path) -> None:
    """Refuse a folder that this version of headbook cannot read.

    Args:
        root: The folder.

    Raises:
        StoreError: It is not a store, or one of a newer headbook.
    """
    try:
        marker: dict[str, Any] = json.loads((root / MARKER).read_text(encoding="utf-8"))
        found, schema = int(marker["format"]), int(marker["schema"])
    except FileNotFoundError:
        raise StoreError(
            f"expected an empty folder or a store at {root}, got a folder without {MARKER}; "
            "choose another with --store"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"expected the format of the store in {root / MARKER}, got something else; "
            f"restore it: {canonical({'format': FORMAT, 'schema': SCHEMA_VERSION})}"
        ) from error
    if found > FORMAT or schema > SCHEMA_VERSION:
        raise StoreError(
            f"expected a store of format {FORMAT} and schema {SCHEMA_VERSION} or older at {root}, "
            f"got format {found} and schema {schema}; update headbook or choose another"
        )


def create(root: Path) -> None:
    """Mark a new or empty folder as a store; leave any other as it is.

    Args:
        root: The folder.

    Raises:
        StoreError: It is a file, or the disk refuses.
    """
    with disk_errors(root):
        if root.exists() and not root.is_dir():
            raise StoreError(
                f"expected a folder at {root}, got a file; choose another with --store"
            )
        root.mkdir(parents=True, exist_ok=True)
        if all(path.name.startswith(f".{MARKER}.") for path in root.iterdir()):
            marker = canonical({"format": FORMAT, "schema": SCHEMA_VERSION})
            replace_file(root / MARKER, marker.encode())
