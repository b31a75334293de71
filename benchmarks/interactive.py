"""Beside fifteen background processes an interactive one gets a token at least every second step (p99 of its
gaps), and its first within twice the time that takes on an idle kernel; while a prompt of 8,000 tokens is
read, those that decode wait at most one and a half times `max_step_ms` for their next token (p99).

The background is of priority low, in the lane background, and decodes all the time; sixteen slots. A gap is
counted in steps, whose length is the mean gap: the interactive process is in every step. A first token is
timed from EXEC; idle and busy take turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise

import uvloop

from agentkernel.config import Scheduler
from benchmarks.bench import Bench, Kernel
from benchmarks.client import Connection, Stream, clients, start
from benchmarks.figures import Figure, Side, ratio
from benchmarks.prompts import letters, request

_SLOTS, _CONTEXT, _PROMPT, _NEW = 16, 512, 128, 64
_LONG_SLOTS, _READERS = 4, 3
_MODEL, _STEP_MS = "135m", Scheduler().max_step_ms


@dataclass(slots=True)
class Seen:
    """Milliseconds to first tokens on an idle kernel and a busy one, and gaps in steps."""

    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


def run(bench: Bench) -> list[Figure]:
    """An interactive process again and again, with a background and without; then a long prompt."""
    model = bench.model(_MODEL)
    with bench.kernel(model, _SLOTS, _CONTEXT, engine__threads=bench.threads_but_one) as kernel:
        seen = uvloop.run(_interactive(bench, kernel))
    long = bench.pick(8000, 500)
    with bench.kernel(model, _LONG_SLOTS, long + 512, engine__threads=bench.threads_but_one) as kernel:
        gaps = uvloop.run(_beside_a_prompt(kernel, long))
    settings: dict[str, object] = {"model": model.stem, "threads": bench.threads_but_one, "prompt": _PROMPT}
    sides = Side("busy", "ms", seen.busy), Side("idle", "ms", seen.idle)
    name = f"gap while a prompt of {long:,} tokens is read ÷ max_step_ms, p99"
    settings_long = settings | {"prompt": long, "max_step_ms": _STEP_MS, "decoding": _READERS}
    who = "beside 15 in the background"
    return [
        Figure(f"gap {who}, in steps, p99", "", seen.gaps, "p99", at_most=2, settings=settings),
        ratio(f"first token {who} ÷ idle", *sides, at_most=2, settings=settings),
        Figure(name, "", gaps, "p99", at_most=1.5, settings=settings_long),
    ]


async def _interactive(bench: Bench, kernel: Kernel) -> Seen:
    seen, seeds = Seen(), count(100)
    async with clients(kernel) as (mine,):
        await _one(mine, next(seeds))  # warm up
        for _ in range(bench.pick(5, 1)):
            for _ in range(bench.pick(4, 1)):
                seen.idle.append((await _one(mine, next(seeds)))[0])
            async with _background(kernel, _SLOTS - 1):
                for _ in range(bench.pick(4, 1)):
                    first, stream = await _one(mine, next(seeds))
                    seen.busy.append(first)
                    seen.gaps += in_steps(stream.frames)
    return seen


async def _one(connection: Connection, seed: int) -> tuple[float, Stream]:
    """Milliseconds to the first token, and the whole stream."""
    began = time.monotonic()
    stream = await start(connection, request(letters(_PROMPT - 1, seed), _NEW, seed))
    await stream.ended.wait()
    return (stream.frames[0] - began) * 1e3, stream


def in_steps(frames: list[float]) -> list[float]:
    """The gaps between frames, in steps of their mean length."""
    gaps = [later - earlier for earlier, later in pairwise(frames)]
    return [gap * len(gaps) / sum(gaps) for gap in gaps]


@asynccontextmanager
async def _background(kernel: Kernel, processes: int, **more: object) -> AsyncIterator[list[Stream]]:
    """So many processes decode from the block's beginning to its end, each in its slot."""
    more = {"priority": "low", "lane": "background"} | more
    async with clients(kernel, processes) as connections, asyncio.TaskGroup() as group:
        streams = await asyncio.gather(
            *(start(each, _endless(seed, more)) for seed, each in enumerate(connections))
        )
        await asyncio.gather(*(stream.first.wait() for stream in streams))
        tasks = [group.create_task(_keep_on(*one, more)) for one in zip(connections, streams, strict=True)]
        yield streams
        for task in tasks:
            task.cancel()


async def _keep_on(connection: Connection, stream: Stream, more: dict[str, object]) -> None:
    """Start another process whenever one has ended."""
    for seed in count(1000):
        await stream.ended.wait()
        stream = await start(connection, _endless(seed, more))


def _endless(seed: int, more: dict[str, object]) -> bytes:
    return request(letters(31, seed), _CONTEXT - 32, seed, **more)


async def _beside_a_prompt(kernel: Kernel, tokens: int) -> list[float]:
    """Gaps of those that decode while a long prompt is read, in parts of what a step may last."""
    gaps = []
    async with _background(kernel, _READERS, priority="normal") as streams, clients(kernel) as (mine,):
        began = time.monotonic()
        long = await start(mine, request(letters(tokens - 1), 1))
        await long.first.wait()
        for stream in streams:
            inside = [at for at in stream.frames if began <= at <= long.frames[0]]
            gaps += [(later - earlier) * 1e3 / _STEP_MS for earlier, later in pairwise(inside)]
    return gaps
