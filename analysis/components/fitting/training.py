"""Training of a decomposition: resumable after a kill at any moment."""

import json
import re
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from analysis.components import folder
from analysis.components.adversary import Sources
from analysis.components.decomposed import Components, Decomposition, logits, reading, weight
from analysis.components.evaluation import judge
from analysis.components.importance import MLP, Layerwise
from analysis.components.losses import (
    divergence,
    drawn_masks,
    faithfulness,
    lower,
    minimality,
    random_routes,
)
from analysis.errors import UserError
from analysis.memory import check_fits
from analysis.models.files import checkpoint
from analysis.models.load import Model
from analysis.outputs import check_free, claim, write_text
from analysis.progress import Report

from .card import card
from .recipe import LAYERS, N_EVALUATED, Recipe, Rows

__all__ = ["LAYERS", "Recipe", "Rows", "Trainer", "decomposed_layers", "train"]

CHECKPOINT_EVERY = 100
CHECKPOINT, LOG, CARD = "checkpoint.safetensors", "log.jsonl", "README.md"
OF_RUN = (
    *(CHECKPOINT, LOG, CARD, folder.WEIGHTS, folder.MADE),
    *("checkpoint.tmp", "log.tmp", "README.tmp", "components.tmp", "decomposition.tmp"),
)
"""Files of a run."""
_COPIES = 4
"""Of every number: itself, its gradient and what Adam remembers; of a mask, what it is made of."""


class Trainer:
    """One decomposition in one folder."""

    def __init__(self, recipe: Recipe, model: Model, rows: Rows, out: Path) -> None:
        self.recipe, self.model, self.rows, self.out = recipe, model, rows, out
        check_free(*(out / name for name in OF_RUN))
        claim(out, OF_RUN)
        for parameter in model.net.parameters():
            parameter.requires_grad_(False)
        torch.manual_seed(recipe.seed)
        components = drawn_components(model, decomposed_layers(model, recipe.layers), recipe)
        self.decomposition = Decomposition.of(model, components)
        self.importance = Layerwise(
            {
                name: MLP.drawn([parts.V.shape[0], recipe.hidden, recipe.n_components])
                for name, parts in self.decomposition.components.items()
            }
        )
        self.parts = nn.ModuleDict(
            {name.replace(".", "-"): part for name, part in self.decomposition.components.items()}
        )
        self.trained = nn.ModuleList([self.parts, self.importance])
        nn.Module.to(self.trained, model.device)
        self.optimizer = torch.optim.AdamW(
            self.trained.parameters(), lr=recipe.rate, weight_decay=0.0
        )
        self.step = 0
        self.sources: Sources | None = None
        self.losses: list[dict[str, int | float]] = []
        """Means since the checkpoint before, one row a checkpoint."""

    @property
    def checkpoint(self) -> Path:
        """Where the state of an unfinished run is."""
        return self.out / CHECKPOINT

    @cached_property
    def _identity(self) -> dict[str, str]:
        """What a checkpoint must have been made with."""
        made = {
            "recipe": asdict(self.recipe),
            "model": self.model.card.model,
            "text": self.rows.tokens.sha256,
        }
        return {"made": json.dumps(made, sort_keys=True)}

    def save(self) -> None:
        """Write the state aside, then rename; and the losses once more for a reader."""
        tensors = checkpoint.adam_state(self.trained, self.optimizer)
        if self.sources is not None:
            tensors |= {f"source/{n}": t for n, t in self.sources.components.items()}
            tensors |= {f"delta/{n}": t for n, t in self.sources.deltas.items()}
        reached = {"step": str(self.step), "losses": json.dumps(self.losses)}
        checkpoint.write(self.checkpoint, tensors, {**self._identity, **reached})
        lines = "".join(json.dumps(row) + "\n" for row in self.losses)
        write_text(self.out / LOG, lines)

    def resume(self) -> None:
        """Continue from the checkpoint of the same question, if there is one.

        Raises:
            UserError: The checkpoint is damaged, or was made of something else.
        """
        if not self.checkpoint.exists():
            return
        tensors, metadata = checkpoint.read(self.checkpoint, str(self.model.device))
        if metadata.get("made") != self._identity["made"]:
            raise UserError(
                f"expected a checkpoint of this model, text and recipe, {self.checkpoint} was "
                f"made with {metadata.get('made')}; repeat those options or choose another folder"
            )
        self.step = int(metadata["step"])
        self.losses = json.loads(metadata["losses"])
        checkpoint.restore_adam(self.trained, self.optimizer, tensors, self.step)
        names = [n.removeprefix("delta/") for n in tensors if n.startswith("delta/")]
        if names:
            self.sources = Sources(
                {n: tensors[f"source/{n}"] for n in names},
                {n: tensors[f"delta/{n}"] for n in names},
            )

    def train_step(self) -> dict[str, float]:
        """One optimizer step: on faithfulness alone at first, then on all losses; their values."""
        warm = self.step - self.recipe.warm_up
        rate = self.recipe.warm_up_rate if warm < 0 else self.recipe.learning_rate(warm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        if warm < 0:
            loss = faithfulness(self.decomposition)
            losses = {"faithfulness": loss}
            # every parameter gets a gradient, so that Adam counts the same steps for all
            loss = loss + 0.0 * sum(p.sum() for p in self.importance.parameters())
        else:
            losses = self._losses(warm)
            weights = asdict(self.recipe)
            loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        return {name: value.item() for name, value in losses.items()}

    def _losses(self, step: int) -> dict[str, Tensor]:
        recipe, decomposition = self.recipe, self.decomposition
        generator = torch.Generator().manual_seed(recipe.seed * 2**32 + step)
        tokens = self.rows.batch(step).to(self.model.device)
        with torch.no_grad(), reading(self.model, decomposition.components) as inputs:
            target = logits(decomposition, tokens, {})
        raw = self.importance(inputs, decomposition.components)
        importances = lower(raw)
        shape = (tokens.shape[0], tokens.shape[1])
        routes = random_routes(list(decomposition.components), shape, generator)
        masks = drawn_masks(importances, generator, routes)
        stochastic = divergence(target, logits(decomposition, tokens, masks))
        if self.sources is None or step % recipe.fresh_every == 0:
            self.sources = Sources.drawn(importances, generator, shared=True)
        fixed = {name: g.detach() for name, g in importances.items()}
        for _ in range(recipe.ascents):
            leaves = self.sources.leaves()
            harm = divergence(target, logits(decomposition, tokens, leaves.masks(fixed)))
            gradients = list(torch.autograd.grad(harm, leaves.tensors))
            self.sources = leaves.moved(gradients, recipe.ascent)
        harm = divergence(target, logits(decomposition, tokens, self.sources.masks(importances)))
        return {
            "stochastic": stochastic,
            "adversarial": harm,
            "importance": minimality(raw, recipe.p(step), recipe.beta),
            "faithfulness": faithfulness(decomposition),
        }

    @property
    def n_all(self) -> int:
        """Steps in all."""
        return self.recipe.warm_up + self.recipe.n_steps

    def run(self, report: Report) -> None:
        """Train to the last step, with a checkpoint and a line of losses every 100 steps."""
        started, seen = time.time(), list[dict[str, float]]()
        while self.step < self.n_all:
            seen.append(self.train_step())
            main = seen[-1].get("stochastic", seen[-1]["faithfulness"])
            report(self.step, self.n_all, f"loss {main:.3g}")
            if self.step % CHECKPOINT_EVERY == 0 or self.step == self.n_all:
                self.losses.append(self._row(seen, time.time() - started))
                self.save()
                seen.clear()

    def _row(self, seen: list[dict[str, float]], seconds: float) -> dict[str, int | float]:
        """Mean losses of the steps that have them, as the last one does."""
        names = list(seen[-1])
        means = {n: sum(s[n] for s in seen if n in s) / sum(n in s for s in seen) for n in names}
        return {"step": self.step, "seconds": round(seconds, 1), **means}


def decomposed_layers(model: Model, pattern: str) -> list[str]:
    """Linear layers whose whole name matches a regular expression, sorted.

    Raises:
        UserError: None does, or it is not a regular expression.
    """
    names = [name for name, layer in model.net.named_modules() if isinstance(layer, nn.Linear)]
    try:
        found = sorted(name for name in names if re.fullmatch(pattern, name))
    except re.error as error:
        raise UserError(f"expected a regular expression, got {pattern!r} ({error})") from None
    if not found:
        raise UserError(
            f"expected layers that match {pattern!r}, {model.card.name} has only "
            f"{', '.join(names[:5])}, ...; give --layers"
        )
    return found


def drawn_components(model: Model, names: list[str], recipe: Recipe) -> dict[str, Components]:
    """Random components: V of standard deviation 1/sqrt(d_in), U of 1/sqrt(C).

    Raises:
        UserError: They do not fit the memory.
    """
    shapes = [weight(model, name).shape for name in names]
    n_masks = recipe.n_rows * recipe.n_tokens
    each = sum(_COPIES * 4 * (d_out + d_in + recipe.hidden + n_masks) for d_out, d_in in shapes)
    check_fits("--components", recipe.n_components, each)
    found: dict[str, Components] = {}
    for name, (d_out, d_in) in zip(names, shapes, strict=True):
        n = recipe.n_components
        found[name] = Components(
            V=torch.randn(d_in, n) * d_in**-0.5, U=torch.randn(n, d_out) * n**-0.5
        )
    return found


def train(trainer: Trainer, *, resume: bool, report: Report) -> Path:
    """Train to the end, judge the decomposition, and write its folder.

    Args:
        trainer: The run; a new one, whose state is at its first step.
        resume: Whether to go on from the run's checkpoint; without it there must be none.
        report: Told the progress.

    Returns:
        The folder: what `load_decomposition` takes.

    Raises:
        UserError: There is a run that would be overwritten, or its checkpoint does not fit.
    """
    for present in (trainer.checkpoint, trainer.out / folder.WEIGHTS):
        if present.exists() and not (resume and trainer.checkpoint.exists()):
            raise UserError(
                f"expected a folder without another run, found {present}; go on from its "
                "checkpoint with --resume, or choose another --out"
            )
    trainer.resume()
    trainer.run(report)
    return write(trainer, report)


def write(trainer: Trainer, report: Report) -> Path:
    """Write components (bfloat16) and a card of what they were made of and measured to be."""
    recipe, rows = trainer.recipe, trainer.rows
    stored = folder.narrowed(trainer.decomposition, trainer.importance)
    again = Rows(rows.text, rows.vocabulary, recipe, "evaluate")
    n_batches = -(-N_EVALUATED // recipe.n_rows)
    tokens = np.concatenate([again.batch(step).numpy() for step in range(n_batches)])
    judged = judge(*stored, tokens, seed=recipe.seed, report=report)
    made = {
        "model": trainer.model.card.model,
        "target": trainer.model.card.name,
        "text": rows.text,
        "recipe": asdict(recipe),
        "importance": trainer.importance.kind,
        "evaluation": asdict(judged),
        "losses": trainer.losses,
    }
    folder.save(trainer.out, *stored, made)
    write_text(trainer.out / CARD, card(made))
    return trainer.out
