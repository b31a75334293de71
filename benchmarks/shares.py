"""Over 2,000 tokens sixteen processes of four priorities have shares within 5 % of their weights, and among
sixteen equal ones Jain's index is at least 0.99.

Sixteen slots; what each has said is asked of the kernel (PS) when all of them decode, and again when all
together have said 2,000 tokens more. A share is off by as much of what its weight is of all weights.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import uvloop

from agentkernel.config import Scheduler
from agentkernel.process import Priority
from benchmarks.bench import Bench, BenchError, Kernel
from benchmarks.client import Connection, clients, start
from benchmarks.figures import Figure
from benchmarks.prompts import letters, request
from benchmarks.simulator.cluster import jain
from benchmarks.simulator.jobs import CLASSES

_PROCESSES, _PROMPT, _CONTEXT = 16, 32, 1024
_LOOK = 0.05  # seconds between two looks
_WEIGHTS = dict(zip(CLASSES, Scheduler().weights, strict=True))


class Said(NamedTuple):
    """Tokens of a process."""

    priority: Priority
    tokens: int


def run(bench: Bench) -> list[Figure]:
    """Runs of four priorities, and of one, on one kernel."""
    model, window = bench.model("135m"), bench.pick(2000, 600)
    mixed: list[Priority] = [CLASSES[i % 4] for i in range(_PROCESSES)]
    equal: list[Priority] = ["normal"] * _PROCESSES
    off, fairness = [], []
    with bench.kernel(model, _PROCESSES, _CONTEXT, engine__threads=bench.threads_but_one) as kernel:
        for _ in range(bench.pick(3, 1)):
            off += deviations(uvloop.run(_said(kernel, mixed, window)))
            said = uvloop.run(_said(kernel, equal, window))
            fairness.append(jain(one.tokens for one in said))
    settings: dict[str, object] = {"model": model.stem, "threads": bench.threads_but_one, "tokens": window}
    who = f"of {_PROCESSES}"
    return [
        Figure(
            f"share off its weight, {who} of four priorities, p99",
            "",
            off,
            "p99",
            at_most=0.05,
            settings=settings,
        ),
        Figure(f"Jain's index {who} equals", "", fairness, at_least=0.99, settings=settings),
    ]


def deviations(said: Sequence[Said]) -> list[float]:
    """By how much of what it should be each one's share of all tokens is off."""
    tokens, weights = sum(one.tokens for one in said), sum(_WEIGHTS[one.priority] for one in said)
    return [abs(one.tokens * weights / (tokens * _WEIGHTS[one.priority]) - 1) for one in said]


async def _said(kernel: Kernel, priorities: Sequence[Priority], window: int) -> list[Said]:
    """What each said while all together said so many tokens."""
    async with clients(kernel, len(priorities) + 1) as (watcher, *connections):
        payloads = [
            request(letters(_PROMPT - 1, i), _CONTEXT - _PROMPT, i, priority=priority)
            for i, priority in enumerate(priorities)
        ]
        streams = await asyncio.gather(*map(start, connections, payloads))
        await asyncio.gather(*(stream.first.wait() for stream in streams))
        before = after = await _newest(watcher, len(priorities))
        while sum(one.tokens for one in after) - sum(one.tokens for one in before) < window:
            await asyncio.sleep(_LOOK)
            after = await _newest(watcher, len(priorities))
        if any(stream.ended.is_set() for stream in streams):
            raise BenchError("a process ended before all had said so much")
    return [Said(end.priority, end.tokens - begin.tokens) for begin, end in zip(before, after, strict=True)]


async def _newest(watcher: Connection, processes: int) -> list[Said]:
    """What so many processes, the newest, have said up to now."""
    rows = (await watcher.ask("PS")).data["processes"]
    newest = sorted(rows, key=lambda row: int(row["pid"]))[-processes:]
    return [Said(row["priority"], int(row["tokens_generated"])) for row in newest]
