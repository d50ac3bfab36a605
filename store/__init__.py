"""The store: every result a row, every question DuckDB SQL, every byte immutable Parquet."""

from .errors import StoreError
from .experiment import Experiment, Progress, Report, terminal_bar
from .export import page_copy, snapshot, snapshots
from .folder import default_root
from .keys import canonical, key_of, run_key
from .results import Answer, Recalled, Store
from .schema import SCHEMA_VERSION
from .upkeep import compact, contents, damages, prune
from .versions import Locked, lock_entries, lock_problems, write_lock

__all__ = [
    "SCHEMA_VERSION",
    "Answer",
    "Experiment",
    "Locked",
    "Progress",
    "Recalled",
    "Report",
    "Store",
    "StoreError",
    "canonical",
    "compact",
    "contents",
    "damages",
    "default_root",
    "key_of",
    "lock_entries",
    "lock_problems",
    "page_copy",
    "prune",
    "run_key",
    "snapshot",
    "snapshots",
    "terminal_bar",
    "write_lock",
]
