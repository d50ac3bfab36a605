"""Result files of published studies of retrieval heads: read, written, and what was printed."""

from .formats import Format, Published, read_published
from .printed import NO_FILES, beside_printed, printed_tables
from .question import PublishedFile, PublishedFiles
from .writing import (
    Heading,
    Samples,
    ablation_json,
    detection_json,
    lag_csv,
    listed_json,
    pairs_json,
    table_csv,
)

__all__ = [
    "NO_FILES",
    "Format",
    "Heading",
    "Published",
    "PublishedFile",
    "PublishedFiles",
    "Samples",
    "ablation_json",
    "beside_printed",
    "detection_json",
    "lag_csv",
    "listed_json",
    "pairs_json",
    "printed_tables",
    "read_published",
    "table_csv",
]
