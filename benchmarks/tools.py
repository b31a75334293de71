"""A jailed Python program takes at most 15 ms (p95 40) while every core decodes, 4 where its jail was made
ahead; 100 jails a second can be had; and decoding loses at most a tenth while four programs compute.

The jails are those of the kernel, driven from here. The programs that are timed do nothing, so that the jail
is what is measured; those beside which decoding is measured compute without end. Spells with and without them
alternate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import uvloop

from agentkernel import log
from agentkernel.config import Log
from agentkernel.jail.link import Spawner
from agentkernel.jail.port import Job, Limits
from benchmarks.bench import Bench, BenchError, Kernel
from benchmarks.client import clients
from benchmarks.figures import Figure, Side, ratio
from benchmarks.loads import CONTEXT, SLOTS, Decoding

_AT_ONCE = 4  # programs that compute, and jails that are made
_COMPUTES = "while True: pass"


@dataclass(slots=True)
class Measured:
    """Milliseconds of calls, made cold and ahead; tokens a second, alone and beside programs."""

    cold: list[float] = field(default_factory=list)
    ahead: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)


def run(bench: Bench) -> list[Figure]:
    """First beside a model that decodes, then with nothing else."""
    log.configure(Log(level="error"))
    model = bench.model("135m")
    settings: dict[str, object] = {"model": model.stem, "threads": bench.threads, "slots": SLOTS}
    with bench.kernel(model, SLOTS, CONTEXT) as kernel:
        found = uvloop.run(_beside_decoding(bench, kernel))
    rates = uvloop.run(_rates(bench))
    sides = Side("beside programs", "tokens/s", found.beside), Side("alone", "tokens/s", found.alone)
    name = "jailed Python while 16 decode"
    return [
        Figure(name, "ms", found.cold, at_most=15, settings=settings),
        Figure(f"{name}, p95", "ms", found.cold, "p95", at_most=40, settings=settings),
        Figure(f"{name}, jail made ahead", "ms", found.ahead, at_most=4, settings=settings),
        Figure("jails made and ended", "1/s", rates, at_least=100, settings={"at once": _AT_ONCE}),
        ratio("decoding beside 4 programs ÷ alone", *sides, at_least=0.9, settings=settings),
    ]


@asynccontextmanager
async def _jails() -> AsyncIterator[Spawner]:
    jails = Spawner()
    try:
        verdict = await jails.start()
        if not verdict.levels:
            raise BenchError(f"sandbox not verified: {'; '.join(verdict.faults)}")
        yield jails
    finally:
        await jails.stop()


async def _beside_decoding(bench: Bench, kernel: Kernel) -> Measured:
    found, decoding, count = Measured(), Decoding(), bench.pick(100, 5)
    async with clients(kernel, SLOTS) as connections, _jails() as jails:
        work = [asyncio.create_task(decoding.keep_on(c, seed)) for seed, c in enumerate(connections)]
        await decoding.full.wait()
        for i in range(count):
            found.cold.append(await _time(jails, 2 * i + 1, ahead=False))
            found.ahead.append(await _time(jails, 2 * i + 2, ahead=True))
        for _ in range(bench.pick(5, 1)):
            found.alone.append(await decoding.rate(bench.pick(7.0, 0.5)))
            programs = [asyncio.create_task(_compute(jails, i + 1)) for i in range(_AT_ONCE)]
            found.beside.append(await decoding.rate(bench.pick(7.0, 0.5)))
            for i in range(_AT_ONCE):
                jails.forget(i + 1)
            await asyncio.gather(*programs)
        for task in work:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*work)
    return found


async def _compute(jails: Spawner, owner: int) -> None:
    await jails.run(Job(f"{owner}.1", owner, code=_COMPUTES, limits=Limits(wall_s=60, cpu_s=60)))


async def _time(jails: Spawner, owner: int, *, ahead: bool) -> float:
    """Milliseconds from asking for a program that does nothing to its outcome."""
    job = Job(f"{owner}.1", owner, code="pass")
    if ahead:
        jails.warm(owner, job)
        await asyncio.sleep(0.2)  # a model's next call comes later, too
    began = time.perf_counter()
    await jails.run(job)
    ms = (time.perf_counter() - began) * 1e3
    jails.forget(owner)
    return ms


async def _rates(bench: Bench) -> list[float]:
    """Jails a second, some at a time, in several spells."""
    rates, each = [], bench.pick(100, 5)

    async def some(worker: int) -> None:
        for i in range(each):
            await jails.run(Job(f"{worker}.{i}", worker * each + i + 1, code="pass"))

    async with _jails() as jails:
        for _ in range(bench.pick(5, 1)):
            began = time.perf_counter()
            await asyncio.gather(*(some(worker) for worker in range(_AT_ONCE)))
            rates.append(_AT_ONCE * each / (time.perf_counter() - began))
    return rates
