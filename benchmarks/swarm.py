"""A small and a large model, each process on the one that is good at its class of work, say at least 1.5
times the tokens a second that the large one alone does for all.

Forty processes at once, four of five of class fast, the others of class reasoning. With scores in
`catalog.yaml` the kernel gives the former to the small model and the latter to the large one; without, all
run on the large one. Weights are random: it is the speed of a choice that is measured, not how good an answer
is. Tokens said a second, from the first EXEC to the last end; the two take turns.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvloop

from benchmarks.bench import Bench, Kernel
from benchmarks.client import clients, start
from benchmarks.figures import Figure, Side, ratio
from benchmarks.pairs import alternate
from benchmarks.prompts import letters, request

_SLOTS, _CONTEXT, _PROMPT, _ANSWER, _FAST = 16, 256, 48, 32, 0.8
_SCORES = "models:\n  {small}: {{fast: 9, reasoning: 2}}\n  {large}: {{fast: 2, reasoning: 9}}\n"


def run(bench: Bench) -> list[Figure]:
    """Pairs of the whole work: on a kernel that routes, and on one that doesn't."""
    models = [bench.model(name) for name in bench.pick(("15m", "135m"), ("llama-1m", "qwen2-1m"))]
    (small, large), processes = (model.stem for model in models), bench.pick(40, 5)
    routed, plain = (_of_its_own(bench, name, models) for name in ("routed", "plain"))
    (routed.models / "catalog.yaml").write_text(_SCORES.format(small=small, large=large))
    with (
        routed.kernel(models[1], _SLOTS, _CONTEXT) as swarm,
        plain.kernel(models[1], _SLOTS, _CONTEXT) as single,
    ):
        ours, theirs = alternate(
            bench.pick(5, 1),
            lambda pair: uvloop.run(_rate(swarm, processes, pair)),
            lambda pair: uvloop.run(_rate(single, processes, pair)),
        )
    settings = {"small": small, "large": large, "processes": processes, "fast": _FAST}
    sides = Side("routed", "tokens/s", ours), Side("large model alone", "tokens/s", theirs)
    return [ratio("two models, routed ÷ the large one alone", *sides, at_least=1.5, settings=settings)]


def payloads(processes: int, seed: int) -> list[bytes]:
    """EXECs, most of them of class fast; the same seed gives the same."""
    rng = random.Random(seed)
    classes = ["fast" if i < _FAST * processes else "reasoning" for i in range(processes)]
    rng.shuffle(classes)
    return [request(letters(_PROMPT, seed, i), _ANSWER, i, capability=each) for i, each in enumerate(classes)]


async def _rate(kernel: Kernel, processes: int, seed: int) -> float:
    """Tokens a second of the whole work."""
    async with clients(kernel, processes) as connections:
        began = time.monotonic()
        streams = await asyncio.gather(*map(start, connections, payloads(processes, seed)))
        await asyncio.gather(*(stream.ended.wait() for stream in streams))
        seconds = time.monotonic() - began
    return sum(stream.tokens for stream in streams) / seconds


def _of_its_own(bench: Bench, name: str, models: Sequence[Path]) -> Bench:
    """Circumstances with folders of their own, and copies of the models."""
    folder = bench.scratch / name
    own = replace(bench, models=folder / "models", scratch=folder)
    own.models.mkdir(parents=True)
    for model in models:
        shutil.copyfile(model, own.models / model.name)
    return own
