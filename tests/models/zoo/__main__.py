"""Every kind of model by command: `python -m tests.models.zoo [--only NAME ...]`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import transformers as tf

from .kinds import every_kind
from .sweep import Row, row_of


def main() -> None:
    """Print a line for every kind, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(every_kind()))
    parser.add_argument("--beside-transformer-lens", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON lines of all that was found")
    asked = parser.parse_args()
    if unknown := set(asked.only) - set(every_kind()):
        parser.error(f"no kinds of that name: {', '.join(sorted(unknown))}")
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    tf.logging.set_verbosity_error()
    tf.utils.logging.disable_progress_bar()
    if asked.beside_transformer_lens:
        import transformer_lens.model_bridge.sources  # noqa: F401, PLC0415 - once for all processes
    rows: list[Row] = []
    for name in asked.only:
        rows.append(row_of(name, beside=asked.beside_transformer_lens))
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
        if asked.out is not None:
            asked.out.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), "utf-8")
    sys.stdout.write(f"{summary(rows)}\n")


def summary(rows: Sequence[Row]) -> str:
    """How many were built, loaded, refused and why, wrong, and broke."""
    built = [row for row in rows if not row.not_built]
    lines = [
        f"{len(rows)} kinds, {len(built)} built, {sum(row.loaded for row in rows)} loaded, "
        f"{sum(bool(row.refused) for row in rows)} refused, "
        f"{sum(bool(row.wrong) for row in rows)} wrong, "
        f"{sum(bool(row.broke) for row in rows)} with a traceback"
    ]
    reasons = Counter(_reason(row.refused) for row in rows if row.refused)
    lines += [f"{count:4} refused: {reason}" for reason, count in reasons.most_common()]
    lines += [f"     wrong: {row.name}: {'; '.join(row.wrong)}" for row in rows if row.wrong]
    right = [row.name for row in rows if row.refused and re.fullmatch(r"\d.*", row.theirs)]
    if right:
        lines.append(f"     refused, and the bridge answers: {', '.join(right)}")
    return "\n".join(lines)


def _reason(message: str) -> str:
    """A message without what is different for every model."""
    plain = re.sub(r"\S*/\S+|\b[A-Z]\w+(For|LM|Model|Decoder)\w*", "...", message)
    return re.sub(r"\d[\d.e+-]*", "N", plain)[:150]


if __name__ == "__main__":
    main()
