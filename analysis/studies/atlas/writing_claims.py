"""Claims on what the heads that look at the induction target write: does copying use it?"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.interventions import Head
from analysis.interventions.heads import in_words
from analysis.questions.halves import EVEN, odd_values
from analysis.questions.verdicts.judgement import Bar, Evidence, Judgement, Statement
from analysis.questions.verdicts.variants import turned, weakest

from .writing import COSTS, WITHOUT, copying_heads, decoys

INSTEAD = "whether nothing stands in for it or what it writes on another block"


def writing_claims(judge: Judgement, induction: Evidence) -> Iterator[dict[str, Any]]:
    """Rows of `claims`: on the induction head, and on heads that only look where it looks.

    Args:
        judge: Whose claims they are.
        induction: Answer of `InductionScores`.
    """
    copying = copying_heads(induction)
    if copying:
        yield _copier(judge, induction, copying[0])
        if idle := decoys(induction):
            yield _decoys(judge, induction, copying[0], idle)


def _copier(judge: Judgement, induction: Evidence, copier: Head) -> dict[str, Any]:
    said = Statement(
        claim="induction_head_writes",
        statement=f"Copying uses what {copier} writes: the second copy costs at least {COSTS:g} "
        "nats per token more without it, when nothing stands in or what it writes on another "
        "block, whichever costs more on the even sequences",
        statistic="rise of the loss on the second copy, odd sequences",
    )
    rises = _rises(induction, copier, _costlier(induction, copier))
    bar = Bar(threshold=COSTS, control=np.zeros_like(rises), control_name="the model as it is")
    return judge.judged(said, rises, bar)


def _decoys(
    judge: Judgement, induction: Evidence, copier: Head, idle: list[Head]
) -> dict[str, Any]:
    verb = ("looks", "writes") if len(idle) == 1 else ("look", "write")
    said = Statement(
        claim="decoys_write_nothing",
        statement=f"{in_words(idle)} {verb[0]} one past the previous copy as well and {verb[1]} "
        f"nothing that copying uses (decoys): without any of them the second copy costs less than "
        f"{COSTS:g} nats per token more, {INSTEAD}",
        statistic="rise of the loss on the second copy, odd sequences",
    )
    control = _rises(induction, copier, _costlier(induction, copier))
    bar = Bar(threshold=-COSTS, control=-control, control_name=f"without {copier} instead")
    rows = {
        f"{method.value} {head}": judge.judged(said, -_rises(induction, head, name), bar)
        for head in idle
        for name, method in WITHOUT.items()
    }
    return turned(weakest(rows))


def _rises(induction: Evidence, head: Head, score: str) -> np.ndarray:
    return odd_values(induction["head_scores"], score, "repeated", head)


def _costlier(induction: Evidence, head: Head) -> str:
    """What stands in for a head when the second copy costs most, on the even sequences."""
    rows = induction["head_scores"].filter(EVEN, data="repeated", layer=head.layer, head=head.head)
    means = {name: rows.filter(score=name)["value"].to_numpy().mean() for name in WITHOUT}
    return max(means, key=lambda name: means[name])
