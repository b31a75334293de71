"""Training: from a recipe to a checkpoint, resumable after every interruption.

1. The batch of a pass's step i depends on (its seed, i) alone, so a resumed run sees the data that an
   unbroken one would.
2. Matrices inside the layers are updated by Muon, all other weights by AdamW; both rates rise, stay, and fall
   to 0.
3. A checkpoint is written beside the old one and then moved over it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from models.training import tokenizer
from models.training.corpus.mix import conversation
from models.training.corpus.turns import Conversation
from models.training.dataset import LONG, SHORT, Array, Rows, Vocabulary, build
from models.training.network import Decoder
from models.training.recipe import TOKENIZER_SAMPLES, VALIDATION, Pass, Recipe
from models.training.shape import Family

SAVE_EVERY = 100
MEASURE_EVERY = 100
WARM_UP_STEPS = 66
SLOW = 2.5  # times the fastest step: another program keeps a core busy (long batches take 1.5 times as long)
ALONE_STEPS = 20


def vocabulary_of(recipe: Recipe) -> Vocabulary:
    """The recipe's tokenizer, trained when its file is missing."""
    recipe.folder.mkdir(parents=True, exist_ok=True)
    llama = recipe.shape.family is Family.LLAMA
    path = recipe.folder / ("tokenizer.model" if llama else "tokenizer.json")
    if path.exists():
        return tokenizer.Pieces(path) if llama else tokenizer.Bytes(path)
    texts = (turn.text for i in range(TOKENIZER_SAMPLES) for turn in conversation(recipe.seed, i))
    if llama:
        return tokenizer.train_pieces(texts, path, recipe.shape.vocabulary, recipe.blank_words)
    return tokenizer.train_bytes(texts, path, recipe.shape.vocabulary)


def _conversations(source: Pass, label: str) -> Iterator[Conversation]:
    """A pass's samples, with a progress bar."""
    for index in tqdm(range(source.samples), desc=label, mininterval=2):
        yield conversation(source.seed, index, source.mixture)


def rows_of(recipe: Recipe, vocabulary: Vocabulary, source: Pass) -> dict[str, Rows]:
    """A pass's packed rows, "short" and "long", written only once."""
    path = recipe.folder / f"rows-{source.seed}.npz"
    fields = ("tokens", "positions", "documents", "counted")
    if not path.exists():
        built = build(vocabulary, recipe.chat, _conversations(source, f"corpus {source.seed}"))
        arrays: dict[str, Array] = {}
        for length, rows in zip(("short", "long"), built, strict=True):
            arrays |= {f"{length}.{field}": getattr(rows, field) for field in fields}
        np.savez(path, **arrays)  # type: ignore[arg-type]
    with np.load(path) as stored:
        return {
            length: Rows(*(stored[f"{length}.{field}"] for field in fields)) for length in ("short", "long")
        }


def batch(recipe: Recipe, source: Pass, rows: dict[str, Rows], step: int) -> Rows:
    """The rows of a pass's step: every row of an epoch once, in an order that only the seed decides."""
    long = step % recipe.long_every == recipe.long_every - 1
    chosen, length = (rows["long"], LONG) if long else (rows["short"], SHORT)
    turn = step // recipe.long_every if long else step - step // recipe.long_every
    size = recipe.batch_tokens // length
    per_epoch = len(chosen) // size
    epoch, place = divmod(turn, per_epoch)
    order = np.random.default_rng((source.seed, int(long), epoch)).permutation(len(chosen))
    return chosen.take(order[place * size : (place + 1) * size])


def loss_of(model: Decoder, rows: Rows) -> Tensor:
    """Mean cross entropy, in nats a counted token."""
    tokens, positions, documents, counted = (
        torch.from_numpy(field.astype(np.int64))
        for field in (rows.tokens, rows.positions, rows.documents, rows.counted)
    )
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(tokens[:, :-1], positions[:, :-1], documents[:, :-1])
        chosen = counted[:, 1:].bool()
        logits = model.logits(hidden[chosen])
    return functional.cross_entropy(logits.float(), tokens[:, 1:][chosen])


def optimizers(model: Decoder, recipe: Recipe) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for everything else."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        (matrices if weight.dim() == 2 and name != "embedding.weight" else others).append(weight)
    muon = torch.optim.Muon(
        matrices, lr=recipe.matrix_rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
    )
    return muon, torch.optim.AdamW(others, lr=recipe.vector_rate, betas=(0.9, 0.98), weight_decay=0.0)


def rate_factor(step: int, source: Pass) -> float:
    """Share of the recipe's rates at a pass's step: a short rise, a plateau, a linear fall to 0."""
    fall = max(1, int(source.cool_down * source.steps))
    return source.peak * min(1.0, (step + 1) / WARM_UP_STEPS, (source.steps - step) / fall)


def _measure(model: Decoder, rows: dict[str, Rows]) -> float:
    """Loss on conversations of another seed."""
    with torch.no_grad():
        return float(loss_of(model, rows["short"].take(np.arange(min(96, len(rows["short"]))))))


def _load(
    path: Path, model: Decoder, both: tuple[torch.optim.Optimizer, ...]
) -> tuple[int, list[dict[str, float]]]:
    """Take up a checkpoint, if there is one: the next step, and the curve so far."""
    if not path.exists():
        return 0, []
    stored: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(stored["model"])
    for optimizer, state in zip(both, stored["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return int(stored["step"]), list(stored["curve"])


def _save(
    path: Path,
    step: int,
    model: Decoder,
    both: tuple[torch.optim.Optimizer, ...],
    curve: list[dict[str, float]],
) -> None:
    """Write a checkpoint and move it into place."""
    part = path.with_suffix(".part")
    torch.save(
        {
            "step": step,
            "model": model.state_dict(),
            "optimizers": [o.state_dict() for o in both],
            "curve": curve,
        },
        part,
    )
    part.replace(path)


class Pace:
    """Chooses the number of threads: all that were granted, but one while another program keeps a core busy.

    On a shared core each step waits for the slowest thread, so that two threads can be many times slower than
    one.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.best = float("inf")  # seconds of the fastest step with all threads
        self.alone = 0  # steps still to be made with one thread
        torch.set_num_threads(threads)

    def after(self, seconds: float) -> None:
        """Take note of a step's duration and set the threads of the next one."""
        if self.alone:
            self.alone -= 1
            if not self.alone:
                torch.set_num_threads(self.threads)
            return
        self.best = min(self.best, seconds)
        if seconds > SLOW * self.best:
            self.alone = ALONE_STEPS
            torch.set_num_threads(1)


def train(recipe: Recipe, threads: int = 2) -> Path:
    """Train to the recipe's last step, from the last checkpoint if there is one; returns the new one."""
    pace = Pace(threads)
    torch.manual_seed(recipe.seed)
    vocabulary = vocabulary_of(recipe)
    check = rows_of(recipe, vocabulary, VALIDATION)
    model = Decoder(replace(recipe.shape, vocabulary=vocabulary.size()))
    both = optimizers(model, recipe)
    path = recipe.folder / "checkpoint.pt"
    step, curve = _load(path, model, both)
    bar = tqdm(total=recipe.steps, initial=step, desc=recipe.name, mininterval=5)
    started = time.monotonic()
    for rows, rates in _steps(recipe, vocabulary, step):
        begun = time.monotonic()
        loss = _step(model, both, rows, rates)
        pace.after(time.monotonic() - begun)
        step += 1
        bar.update()
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if step % MEASURE_EVERY == 0 or step == recipe.steps:
            seconds = round(time.monotonic() - started, 1)
            curve.append({"step": step, "train": loss, "check": _measure(model, check), "seconds": seconds})
            started = time.monotonic()
        if step % SAVE_EVERY == 0 or step == recipe.steps:
            _save(path, step, model, both, curve)
    bar.close()
    (recipe.folder / "curve.json").write_text(json.dumps(curve, indent=1))
    return path


def _steps(recipe: Recipe, vocabulary: Vocabulary, first: int) -> Iterator[tuple[Rows, tuple[float, float]]]:
    """The batch and the two rates of every step from `first` on; a pass's rows are made when it begins."""
    before = 0
    for source in recipe.passes:
        if first < before + source.steps:
            rows = rows_of(recipe, vocabulary, source)
        for step in range(max(0, first - before), source.steps):
            factor = rate_factor(step, source)
            rates = (factor * recipe.matrix_rate, factor * recipe.vector_rate)
            yield batch(recipe, source, rows, step), rates
        before += source.steps


def _step(
    model: Decoder,
    both: tuple[torch.optim.Optimizer, ...],
    rows: Rows,
    rates: tuple[float, ...],
) -> float:
    """One update; returns the loss before it."""
    for optimizer, rate in zip(both, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
    loss = loss_of(model, rows)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in both:
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())
