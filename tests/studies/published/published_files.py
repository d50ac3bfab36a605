"""Result files in the layout of the published study, with numbers of our own."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

LEVELS = (5, 10, 20, 30, 40, 50)
ITEMS = 125


def ablation(seed: int, method: str = "wu24", question: str = "founded") -> dict[str, Any]:
    """One file of ablation curves, whose numbers agree with each other."""
    rng = Random(seed)
    right = rng.randint(90, ITEMS - 3)

    def ablated(size: int, lost: int) -> dict[str, Any]:
        heads = rng.sample(range(1024), size)
        correct = right - lost
        return {
            "num_heads": size,
            "heads_str": ", ".join(f"L{head // 32}H{head % 32}" for head in heads),
            "accuracy": correct / ITEMS,
            "accuracy_drop": right / ITEMS - correct / ITEMS,
            "correct": correct,
            "total": ITEMS,
        }

    return {
        "method": method,
        "model_key": f"model-{seed % 2}",
        "question": question,
        "total_tokens": 1024 * (1 + seed % 4),
        "ablation_levels": list(LEVELS),
        "baseline": {"accuracy": right / ITEMS, "correct": right, "total": ITEMS},
        "top_heads_ablations": [ablated(size, rng.randint(0, 90)) for size in LEVELS],
        "random_heads_ablations": [ablated(size, rng.randint(-3, 9)) for size in LEVELS],
    }


def detection() -> dict[str, Any]:
    """One file of heads with score and rank."""
    heads = (("L15H30", 0.9), ("L8H1", 0.25), ("L0H7", -0.5))
    return {
        "method": "wu24",
        "model_key": "model-0",
        "samples_processed": 120,
        "successful_retrievals": 111,
        "seconds": 3.5,
        "head_rankings": [
            {"head": head, "score": score, "num_samples": 111, "rank": rank}
            for rank, (head, score) in enumerate(heads, start=1)
        ],
    }


LISTED = {"13-18": [0.5, 0.0, 1.0], "2-3": [0.25, 0.125, 0.0]}
PAIRS = [["13-18", 0.5], ["2-3", 0.125], ["0-0", 0.125]]
TABLE = "scores,layer,head\n0.5,13,18\n0.125,2,3\n"
LAG = "Lag,Mean Probability\n-1,0.125\n0,0\n1,0.75\n"


def folder(path: Path, n_files: int) -> list[Path]:
    """So many files of ablation curves by two methods."""
    path.mkdir()
    files: list[Path] = []
    for seed in range(n_files):
        said = ablation(seed, method=("wu24", "QRHead")[seed // 2 % 2], question=f"q{seed}")
        files.append(path / f"ablation_{seed}.json")
        files[-1].write_text(json.dumps(said))
    return files
