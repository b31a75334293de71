"""Two hundred processes of every size and priority, given to a kernel of eight slots at once, get at least
0.95 of the throughput of the same work done eight at a time by hand.

By hand, a client starts a process whenever one of its eight has ended, and nobody ever waits for a slot. The
kernel shares its slots out between all of them, and moves their contexts for it. Tokens said a second, from
the first EXEC to the last end, over a connection each; the two take turns.
"""

from __future__ import annotations

import asyncio
import random
import time

import uvloop

from agentkernel.process import PRIORITIES
from benchmarks.bench import Bench, Kernel
from benchmarks.client import Stream, clients, start
from benchmarks.figures import Figure, Side, ratio
from benchmarks.pairs import alternate
from benchmarks.prompts import letters, request

_SLOTS, _CONTEXT, _MODEL = 8, 512, "135m"


def run(bench: Bench) -> list[Figure]:
    """Pairs of runs of the whole work on one kernel."""
    model, processes = bench.model(_MODEL), bench.pick(200, 24)
    with bench.kernel(model, _SLOTS, _CONTEXT, engine__threads=bench.threads_but_one) as kernel:
        given, by_hand = alternate(
            bench.pick(2, 1),
            lambda pair: uvloop.run(_rate(kernel, payloads(processes, pair), processes)),
            lambda pair: uvloop.run(_rate(kernel, payloads(processes, pair), _SLOTS)),
        )
    settings = {
        "model": model.stem,
        "threads": bench.threads_but_one,
        "slots": _SLOTS,
        "processes": processes,
    }
    sides = Side("all at once", "tokens/s", given), Side("8 at a time", "tokens/s", by_hand)
    name = f"mixed load of {processes} processes ÷ 8 at a time by hand"
    return [ratio(name, *sides, at_least=0.95, settings=settings)]


def payloads(processes: int, seed: int) -> list[bytes]:
    """EXECs of every size and priority."""
    rng = random.Random(seed)
    return [
        request(letters(rng.randint(8, 48), seed, i), rng.randint(8, 32), i, priority=rng.choice(PRIORITIES))
        for i in range(processes)
    ]


async def _rate(kernel: Kernel, some: list[bytes], at_a_time: int) -> float:
    """Tokens a second of the whole work, so many processes at a time."""
    left = iter(some)
    async with clients(kernel, at_a_time) as connections:

        async def work(number: int) -> list[Stream]:
            done = []
            for payload in left:
                done.append(await start(connections[number], payload))
                await done[-1].ended.wait()
            return done

        began = time.monotonic()
        streams = await asyncio.gather(*map(work, range(at_a_time)))
        seconds = time.monotonic() - began
    return sum(stream.tokens for some in streams for stream in some) / seconds
