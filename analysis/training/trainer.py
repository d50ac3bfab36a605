"""Training of the reference model: resumable after a kill at any moment."""

import json
import math
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from analysis.errors import UserError
from analysis.files import LARGE, regular_bytes
from analysis.models.files import checkpoint
from analysis.models.llama_simple_mlp import LlamaSimpleMLPConfig, LlamaSimpleMLPForCausalLM
from analysis.models.load import load_model
from analysis.outputs import (
    check_free,
    check_own_folder,
    claim,
    remove_own_folder,
    write_text,
)
from analysis.progress import Report
from analysis.training.evaluation import ABILITIES, Made, Subject, card, evaluate

from .abilities import abilities, token_losses
from .corpus import Corpus
from .device import check_device
from .kept import FILES, KEEP_AT, KEPT, claim_kept, forget_later, keep, write_json, write_weights
from .mixture import Mixture, phase_at
from .tokenizer import VOCAB_SIZE, train_tokenizer

CHECKPOINT_EVERY = 250
CHECKPOINT, LOG, TOKENIZER = "checkpoint.safetensors", "log.jsonl", "tokenizer.json"
OF_RUN = (CHECKPOINT, LOG, TOKENIZER, "checkpoint.tmp", "log.tmp", "tokenizer.tmp")
"""Files of a run."""
MODELS = ("model", "model.tmp", "model.old")
"""Where the model is that a run ends in, is written, and was."""
OF_MODEL = (*FILES, "evaluation.json", "README.md")
"""Files of the model that a run ends in."""


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """A stretch of training in which the learning rate falls once."""

    peak: float
    """Where it starts, as a share of the recipe's rate."""
    fall: float
    """When it begins to fall, as a share of all steps."""
    end: float
    """When it has fallen to a twentieth."""


CYCLES = (
    Cycle(peak=1.0, fall=3.5 / 19.5, end=7 / 19.5),
    Cycle(peak=0.5, fall=7 / 19.5, end=10 / 19.5),
    Cycle(peak=0.5, fall=12 / 19.5, end=14 / 19.5),
    Cycle(peak=0.5, fall=15.2 / 19.5, end=16.4 / 19.5),
    Cycle(peak=0.5, fall=18.2 / 19.5, end=1.0),
)
"""A restart: what one fall leaves half learnt, the questions, a second one finishes."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that the trained weights depend on, beside the corpus."""

    seed: int
    n_steps: int
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    warm_up: int = 100
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up, then in every cycle flat, and a cosine to a twentieth."""
        warm = min(1.0, (step + 1) / self.warm_up)
        cycle = next((c for c in CYCLES if step < round(c.end * self.n_steps)), CYCLES[-1])
        fall, end = cycle.fall * self.n_steps, cycle.end * self.n_steps
        late = max(0.0, step - fall) / (end - fall)
        falling = 0.05 + 0.95 * (1 + math.cos(math.pi * late)) / 2
        return self.learning_rate * warm * cycle.peak * falling


class Trainer:
    """One training run in one folder."""

    def __init__(self, recipe: Recipe, corpus: Corpus, out: Path, device: str) -> None:
        self.recipe, self.corpus, self.out, self.device = recipe, corpus, out, device
        check_device(device)
        check_free(*(out / name for name in OF_RUN))
        for name in MODELS:
            check_own_folder(out / name, OF_MODEL)
        claim(out, (*OF_RUN, *MODELS, KEPT))
        claim_kept(out)
        self.tokenizer = _run_tokenizer(out / TOKENIZER, corpus, recipe)
        prose = [i for text in corpus.train for i in self.tokenizer.encode(text).ids]
        self.mixture = Mixture(self.tokenizer, prose, recipe.seed, recipe.n_steps)
        torch.manual_seed(recipe.seed)
        self.model = LlamaSimpleMLPForCausalLM(LlamaSimpleMLPConfig(vocab_size=VOCAB_SIZE))
        nn.Module.to(self.model, device).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.step = 0

    @property
    def checkpoint(self) -> Path:
        """Where the state of an unfinished run is."""
        return self.out / CHECKPOINT

    def save(self) -> None:
        """Write weights and optimizer state aside, then rename."""
        metadata = {"step": str(self.step), "recipe": json.dumps(asdict(self.recipe))}
        tensors = checkpoint.adam_state(self.model, self.optimizer)
        checkpoint.write(self.checkpoint, tensors, metadata)

    def resume(self) -> None:
        """Continue from the checkpoint of the same recipe, if there is one.

        Raises:
            UserError: The checkpoint is damaged, or another recipe made it.
        """
        if not self.checkpoint.exists():
            self._forget_later()
            return
        tensors, metadata = checkpoint.read(self.checkpoint, self.device)
        if json.loads(metadata.get("recipe", "null")) != json.loads(
            json.dumps(asdict(self.recipe))
        ):
            raise UserError(
                f"expected a checkpoint of this recipe, {self.checkpoint} was made with "
                f"{metadata.get('recipe')}; repeat those options or choose another folder"
            )
        self.step = int(metadata["step"])
        checkpoint.restore_adam(self.model, self.optimizer, tensors, self.step)
        self._forget_later()

    def train_step(self) -> float:
        """One optimizer step; the mean loss in nats."""
        batch = self.mixture.batch(self.step)
        tokens, weights = batch.tokens.to(self.device), batch.weights.to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            losses = token_losses(self.model, tokens)
            loss = (losses * weights).sum() / weights.sum()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def log(self, started: float, losses: list[float]) -> None:
        """Append losses and abilities to `log.jsonl`."""
        self.model.eval()
        n_tokens = phase_at(self.step - 1, self.recipe.n_steps).n_tokens
        row = {
            "step": self.step,
            "seconds": round(time.time() - started, 1),
            "loss": sum(losses) / len(losses),
            **abilities(self.model, self.tokenizer, seed=0, n=64, n_tokens=max(n_tokens, 256)),
        }
        self.model.train()
        check_free(self._log)
        with self._log.open("a") as file:
            file.write(json.dumps(row) + "\n")

    @property
    def _log(self) -> Path:
        return self.out / LOG

    def _forget_later(self) -> None:
        """Drop what was kept and logged after the checkpoint: it comes again."""
        forget_later(self.out, self.step)
        if not self._log.exists():
            return
        lines = self._log.read_text().splitlines()
        found = [(re.fullmatch(r'\{"step": (\d+), .*\}', line), line) for line in lines]
        kept = [line for row, line in found if row and int(row[1]) <= self.step]
        write_text(self._log, "".join(f"{line}\n" for line in kept))

    def run(self, report: Report) -> None:
        """Train to the last step; every 250 steps a checkpoint and a log line, at some weights."""
        started, losses = time.time(), list[float]()
        while self.step < self.recipe.n_steps:
            if self.step in KEEP_AT:
                keep(self.out, self.step, self.model, self.tokenizer)
            losses.append(self.train_step())
            report(self.step, self.recipe.n_steps, f"loss {losses[-1]:.3f}")
            if self.step % CHECKPOINT_EVERY == 0 or self.step == self.recipe.n_steps:
                self.log(started, losses)
                self.save()
                losses.clear()


def train(trainer: Trainer, *, resume: bool, report: Report) -> Path:
    """Train to the end and write the model's folder.

    Args:
        trainer: The run; a new one, whose state is at its first step.
        resume: Whether to go on from the run's checkpoint; without it there must be none.
        report: Told the progress.

    Returns:
        The folder `model` in the run's folder: what `load_model` takes.

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
    return write_model(trainer, report)


def write_model(trainer: Trainer, report: Report) -> Path:
    """Write weights (bfloat16), tokenizer, and a card of what they were made of and can do."""
    final, folder = trainer.out / "model", trainer.out / "model.tmp"
    trainer.model.eval()
    remove_own_folder(folder, OF_MODEL)
    write_weights(folder, trainer.model, trainer.tokenizer)
    stored = load_model(str(folder), trainer.device)
    subject = Subject(stored, trainer.tokenizer, trainer.corpus)
    made: Made = {
        "recipe": asdict(trainer.recipe),
        "corpus": trainer.corpus.files,
        "evaluation": evaluate(subject, list(ABILITIES), report),
    }
    write_json(folder / "evaluation.json", made)
    (folder / "README.md").write_text(card(made, None), encoding="utf-8")
    before = trainer.out / "model.old"
    remove_own_folder(before, OF_MODEL)
    check_own_folder(final, OF_MODEL)
    if final.exists():
        final.rename(before)
    folder.rename(final)
    remove_own_folder(before, OF_MODEL)
    return final


def _run_tokenizer(path: Path, corpus: Corpus, recipe: Recipe) -> Tokenizer:
    """The tokenizer of a run, trained where the run has none yet."""
    if not path.exists():
        write_text(path, train_tokenizer(corpus.train, recipe.seed).to_str(pretty=True))
    try:
        return Tokenizer.from_buffer(regular_bytes(path, LARGE))
    except UserError:
        raise
    except Exception as error:  # tokenizers raises nothing narrower
        reason = str(error).splitlines()[0]
        raise UserError(
            f"expected the tokenizer of this run, {path} is damaged ({reason}); restore it, or "
            "choose another --out"
        ) from None
