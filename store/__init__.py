"""The store: every result a row, every question DuckDB SQL, every byte immutable Parquet."""

from .answers import Answer, Recalled
from .beneath import FILE, FOLDER, Folder, StrangeEntryError, kind_of
from .comments import described
from .copy_contents import CopiedColumn, CopiedTable, copied_tables
from .errors import StoreError
from .experiment import Experiment, Progress, Report, terminal_bar
from .export import snapshot, snapshots
from .exported import FORMS, export_tables
from .folder import check_apart, default_root, strays
from .incoming import INCOMING, accept, deliver, merge
from .keys import canonical, key_of, parsed, run_key
from .manifests import part_name
from .results import Store
from .results_copy import LeftOut, write_copy
from .schema import SCHEMA_VERSION
from .upkeep import compact, conflicts, contents, damages, prune
from .versions import Locked, lock_entries, lock_problems, write_lock

__all__ = [
    "FILE",
    "FOLDER",
    "FORMS",
    "INCOMING",
    "SCHEMA_VERSION",
    "Answer",
    "CopiedColumn",
    "CopiedTable",
    "Experiment",
    "Folder",
    "LeftOut",
    "Locked",
    "Progress",
    "Recalled",
    "Report",
    "Store",
    "StoreError",
    "StrangeEntryError",
    "accept",
    "canonical",
    "check_apart",
    "compact",
    "conflicts",
    "contents",
    "copied_tables",
    "damages",
    "default_root",
    "deliver",
    "described",
    "export_tables",
    "key_of",
    "kind_of",
    "lock_entries",
    "lock_problems",
    "merge",
    "parsed",
    "part_name",
    "prune",
    "run_key",
    "snapshot",
    "snapshots",
    "strays",
    "terminal_bar",
    "write_copy",
    "write_lock",
]
