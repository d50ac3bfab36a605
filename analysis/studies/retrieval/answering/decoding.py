"""Greedy decoding under interventions: the prompt once, then one token at a time.

Keys and values of earlier positions are kept as they were computed under the interventions, so
that a step costs one position; where keys change as the sequence grows, every step computes it
anew. Every architecture takes part: the model is called on the whole sequence, and its layers on
what is new.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attention import Edit, Site, Taps, Where
from analysis.errors import UserError
from analysis.interventions import Intervention, StandIns, check, taps
from analysis.interventions.passes.endings import later_queries
from analysis.interventions.passes.layers import LayerCall
from analysis.models.load import Model, hidden_states, unembed
from analysis.models.parts.anatomy import first, with_first

from .growing import keys_stay


class Scope(Enum):
    """When an intervention acts. No default: the choice is the science."""

    PREFILL = "prefill"
    """At the prompt's positions; the first new token is predicted from the last of them."""

    DECODE = "decode"
    """At the positions after the prompt, so that the first new token cannot change."""

    BOTH = "prefill+decode"
    """At all positions."""


@dataclass(frozen=True)
class Limit:
    """When decoding ends."""

    n_new: int
    """Tokens at most."""
    stop: frozenset[int]
    """Ids after which a row is finished; they are kept."""


@dataclass(frozen=True)
class Applied:
    """What is done to a model while it decodes."""

    interventions: tuple[Intervention, ...]
    """With positions counted from the start of the prompt."""
    stand_ins: StandIns
    """Over all positions, those of new tokens included."""
    others: Mapping[Site, Edit] = field(default_factory=dict[Site, Edit])
    """What else is replaced: edits that fit whole sequences of any length."""

    def until(self, end: int) -> "Applied":
        """What of it concerns the positions before `end`."""
        cut = tuple(
            one
            if one.positions is None
            else replace(one, positions=tuple(p for p in one.positions if p < end))
            for one in self.interventions
        )
        donors = self.stand_ins.donors
        known = None if donors is None else donors[..., :end, :]
        return Applied(cut, replace(self.stand_ins, donors=known), self.others)


def scoped(
    interventions: Sequence[Intervention], scope: Scope, n_prompt: int, n_pos: int
) -> tuple[Intervention, ...]:
    """Interventions that act in one scope only.

    Args:
        interventions: At some positions, of queries or keys as their method says, or at all.
        scope: When they act.
        n_prompt: Tokens of the prompt.
        n_pos: Positions of prompt and new tokens together.

    Returns:
        The same, their positions cut to those of the scope.
    """
    if scope is Scope.BOTH:
        return tuple(interventions)
    inside = range(n_prompt) if scope is Scope.PREFILL else range(n_prompt, n_pos)
    return tuple(
        replace(
            one,
            positions=tuple(p for p in inside if one.positions is None or p in one.positions),
        )
        for one in interventions
    )


def decode(
    model: Model, prompts: Int[Tensor, "row pos"], applied: Applied, limit: Limit
) -> list[tuple[int, ...]]:
    """Continue prompts with their most probable next tokens, one after the other.

    Args:
        model: The model.
        prompts: Rows of one length, without padding.
        applied: What is done meanwhile.
        limit: When to end.

    Returns:
        New token ids of every row, up to and with the first that ends it.

    Raises:
        UserError: Prompts leave no room in the model's context, an intervention does not fit, or
            a stand-in is missing.
    """
    n_prompt = prompts.shape[1]
    n_pos = n_prompt + limit.n_new
    if n_pos - 1 > model.card.n_ctx:
        raise UserError(
            f"expected prompts that leave room for {limit.n_new} tokens in the context of "
            f"{model.card.n_ctx}, got {n_prompt} tokens; use shorter ones"
        )
    check(applied.interventions, model.card, n_pos)
    stop = torch.tensor(sorted(limit.stop), dtype=torch.long, device=prompts.device)
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    tokens, ended, begin = prompts, torch.zeros_like(prompts[:, 0], dtype=torch.bool), 0
    keeps = keys_stay(model, prompts[0], n_pos - 1)
    with torch.inference_mode():
        while tokens.shape[1] < n_pos and not ended.all():
            if not keeps:
                begin, kept = 0, {}
            best = _next_logits(model, tokens, begin, applied, kept).argmax(-1)
            begin, tokens = tokens.shape[1], torch.cat([tokens, best[:, None]], dim=1)
            ended = ended | torch.isin(best, stop)
    new: list[list[int]] = tokens[:, n_prompt:].tolist()
    return [finished(row, limit.stop) for row in new]


def finished(ids: Sequence[int], stop: Collection[int]) -> tuple[int, ...]:
    """Up to and with the first id that ends a row."""
    end = next((i + 1 for i, token in enumerate(ids) if token in stop), len(ids))
    return tuple(ids[:end])


def _next_logits(
    model: Model,
    tokens: Int[Tensor, "row pos"],
    begin: int,
    applied: Applied,
    kept: dict[int, tuple[Tensor, Tensor]],
) -> Float[Tensor, "row d_vocab"]:
    """Logits after the last token, from position `begin` on; `kept` grows to all positions."""
    end = tokens.shape[1]
    here = applied.until(end)
    edits = {**applied.others, **taps(here.interventions, here.stand_ins, len(tokens)).edits}
    found: dict[Site, dict[int, Tensor]] = {Site.K: {}, Site.V: {}}

    def keeping(site: Site) -> Edit:
        def edit(where: Where, tensor: Tensor) -> Tensor:
            found[site][where.layer] = tensor
            return edits[site](where, tensor) if site in edits else tensor

        return edit

    walked = Taps(
        edits=later_queries({**edits, **{site: keeping(site) for site in found}}, begin),
        prefix=dict(kept),
    )
    with _layers_from(model, begin, end):
        hidden = hidden_states(model, tokens, walked)
    kept.update({layer: (keys, found[Site.V][layer]) for layer, keys in found[Site.K].items()})
    return unembed(model, hidden[:, -1])


@contextmanager
def _layers_from(model: Model, begin: int, n_pos: int) -> Generator[None]:
    """While the context is open, layers are called on the positions from `begin` on.

    What follows the last layer is shown zeros before them: not every model takes fewer positions
    there than it was given tokens.
    """

    def cut(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        call = LayerCall(args, kwargs).after(begin, n_pos)
        return call.args, call.kwargs

    def fill(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        return with_first(output, F.pad(first(output), (0, 0, begin, 0)))

    with ExitStack() as hooks:
        for layer in model.layers:
            hooks.callback(layer.register_forward_pre_hook(cut, with_kwargs=True).remove)
        hooks.callback(model.layers[-1].register_forward_hook(fill).remove)
        yield
