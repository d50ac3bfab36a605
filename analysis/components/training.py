"""Training of a decomposition: resumable after a kill at any moment."""

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from analysis.errors import UserError
from analysis.models.load import Model
from analysis.text.repeats import log_uniform, shown_again
from analysis.text.sources import read_source, windows
from analysis.text.tokens import Vocabulary
from analysis.training import checkpoint

from . import folder
from .adversary import Sources
from .card import card
from .decomposed import Components, Decomposition, logits, reading, weight
from .evaluation import judge
from .importance import MLP, Layerwise
from .losses import divergence, drawn_masks, faithfulness, lower, minimality, random_routes

CHECKPOINT_EVERY = 100
LAYERS = r".*\.(q_proj|k_proj|v_proj|o_proj)"
"""Names of the layers that are decomposed by default."""

MAX_ROWS = {"decompose": 8192, "evaluate": 512}
"""Rows of text that are drawn from, by what for."""
N_EVALUATED = 64
"""Rows that a decomposition is judged on."""

Report = Callable[[int, int, str], None]
"""Told (done, total, what) while something runs."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a decomposition depends on, beside the model and the text."""

    seed: int
    n_steps: int
    layers: str = LAYERS
    """Regular expression that the names of decomposed layers match."""
    n_components: int = 160
    hidden: int = 128
    """Width of each layer's causal-importance function."""
    n_rows: int = 8
    n_tokens: int = 128
    repeats: float = 0.3
    """Share of rows that are random tokens shown again; the others are text."""
    warm_up: int = 300
    """Steps on faithfulness alone, before the others."""
    warm_up_rate: float = 3e-3
    rate: float = 2e-3
    clip: float = 1.0
    stochastic: float = 0.5
    adversarial: float = 0.5
    importance: float = 1e-3
    beta: float = 0.2
    faithfulness: float = 1e5
    p_first: float = 2.0
    p_last: float = 0.4
    ascents: int = 2
    """Steps of the adversary before each step of the decomposition."""
    ascent: float = 0.1
    """Length of the adversary's steps."""
    fresh_every: int = 20
    """Steps after which the adversary starts from new random sources."""

    def learning_rate(self, step: int) -> float:
        """A cosine to a tenth."""
        return self.rate * (0.1 + 0.9 * (1 + math.cos(math.pi * step / self.n_steps)) / 2)

    def p(self, step: int) -> float:
        """Exponent of the minimality loss, falling evenly."""
        return self.p_first + (self.p_last - self.p_first) * step / self.n_steps


class Rows:
    """Rows of text, and of random tokens shown again; each batch is a function of its step."""

    def __init__(self, text: str, vocabulary: Vocabulary, recipe: Recipe, name: str) -> None:
        self.text, self.vocabulary, self.recipe, self.name = text, vocabulary, recipe, name
        n_wanted = min(recipe.n_steps * recipe.n_rows, MAX_ROWS[name])
        seed = Random(f"{name}/{recipe.seed}").randrange(2**32)
        source = read_source(text, seed, n_wanted * recipe.n_tokens)
        self.tokens = windows(
            source,
            vocabulary,
            n_sequences=n_wanted,
            n_tokens=recipe.n_tokens,
            bos=bool(vocabulary.bos),
            seed=seed,
        )

    def batch(self, step: int) -> Int[Tensor, "batch pos"]:
        """The rows of one step."""
        recipe = self.recipe
        rng = Random(f"{self.name}/{recipe.seed}/{step}")
        n_repeats = round(recipe.n_rows * recipe.repeats)
        rows = rng.sample(range(len(self.tokens.ids)), recipe.n_rows - n_repeats)
        repeats = [self._repeats(rng) for _ in range(n_repeats)]
        kept = self.tokens.ids[rows]
        both = np.concatenate([kept, np.array(repeats).reshape(-1, recipe.n_tokens)])
        return torch.from_numpy(both.astype(np.int64))

    def _repeats(self, rng: Random) -> list[int]:
        bos = self.vocabulary.bos
        length = self.recipe.n_tokens - len(bos)
        block = rng.choices(self.vocabulary.ordinary, k=log_uniform(rng, 8, length // 2))
        return [*bos, *shown_again(rng, block, length)]


class Trainer:
    """One decomposition in one folder."""

    def __init__(self, recipe: Recipe, model: Model, rows: Rows, out: Path) -> None:
        self.recipe, self.model, self.rows, self.out = recipe, model, rows, out
        out.mkdir(parents=True, exist_ok=True)
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

    @property
    def checkpoint(self) -> Path:
        """Where the state of an unfinished run is."""
        return self.out / "checkpoint.safetensors"

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
        """Write the state aside, then rename."""
        tensors = checkpoint.adam_state(self.trained, self.optimizer)
        if self.sources is not None:
            tensors |= {f"source/{n}": t for n, t in self.sources.components.items()}
            tensors |= {f"delta/{n}": t for n, t in self.sources.deltas.items()}
        checkpoint.write(self.checkpoint, tensors, {**self._identity, "step": str(self.step)})

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
        n_rows, n_pos = tokens.shape
        routes = random_routes(list(decomposition.components), (n_rows, n_pos), generator)
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
                self.save()
                self._log(seen, time.time() - started)
                seen.clear()

    def losses(self) -> list[dict[str, float]]:
        """What was logged, one row for each step, the last where a run was repeated."""
        path = self.out / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = {row["step"]: row for row in map(json.loads, lines)}
        return [rows[step] for step in sorted(rows)]

    def _log(self, seen: list[dict[str, float]], seconds: float) -> None:
        """Append mean losses to `log.jsonl`."""
        names = list(seen[-1])
        means = {n: sum(s[n] for s in seen if n in s) / sum(n in s for s in seen) for n in names}
        row = {"step": self.step, "seconds": round(seconds, 1), **means}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


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
    """Random components: V of standard deviation 1/sqrt(d_in), U of 1/sqrt(C)."""
    found: dict[str, Components] = {}
    for name in names:
        d_out, d_in = weight(model, name).shape
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
        UserError: There is a checkpoint that would be overwritten, or it does not fit.
    """
    if trainer.checkpoint.exists() and not resume:
        raise UserError(
            f"expected a folder without a checkpoint, found {trainer.checkpoint}; "
            "go on with --resume, or choose another --out"
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
        "losses": trainer.losses(),
    }
    folder.save(trainer.out, *stored, made)
    (trainer.out / "README.md").write_text(card(made), encoding="utf-8")
    return trainer.out
