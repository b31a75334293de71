"""With 2,000 live processes whose images are on disk, the kernel's part of a step takes at most 1 ms.

The kernel runs here, and a scripted engine that decodes nothing in eight slots. A step is all that the kernel
does from one report of the engine to the next: what the report brings for eight processes, the ends of turns,
the next input of as many others, who gets which slot, what is paged out and in, and what it hears of that.
The engine's own time is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop

from agentkernel import log
from agentkernel.config import Config, Log
from agentkernel.kernel import Kernel
from agentkernel.pages import Tier
from agentkernel.process import Owner, Process, Wait
from agentkernel.request import ExecRequest
from benchmarks.bench import Bench, BenchError, apart
from benchmarks.figures import Figure
from benchmarks.prompts import letters
from benchmarks.timed import Nowhere, Timed

_SLOTS, _CONTEXT, _PROMPT, _INPUT = 8, 4096, 64, 16
_IN_MEMORY = 16  # images of 64 KiB or more in the one MiB that there is for them
_OWNER = Owner(1, "bench", admin=True)


class Crowd:
    """Interactive processes of one kernel, most of them waiting for input."""

    def __init__(self, kernel: Kernel, engine: Timed) -> None:
        self._kernel, self._engine, self._sink = kernel, engine, Nowhere()
        self.processes: list[Process] = []

    async def grow(self, count: int) -> None:
        """Start so many, and let each have its first turn."""
        for i in range(count):
            prompt = letters(_PROMPT, i)
            request = ExecRequest(prompt=prompt, raw=True, interactive=True, max_tokens=500)
            process = await self._kernel.exec(_OWNER, request, self._sink)
            self.processes.append(process)
            while process.wait is not Wait.INPUT:
                await self._advance()

    async def step(self, speaks: Callable[[], Process]) -> float:
        """One step, after which as many others speak as have become silent; milliseconds of the kernel's."""
        engine = self._engine
        engine.seconds = 0.0
        await self._advance()
        running = sum(process.wait is not Wait.INPUT for process in self.processes)
        for _ in range(_SLOTS - running):
            pid = speaks().pid
            await self._time(self._kernel.send_input(_OWNER, pid, letters(_INPUT, pid), self._sink))
        engine.obey()
        return engine.seconds * 1e3

    async def _advance(self) -> None:
        await asyncio.sleep(0)  # what the kernel has put off is done
        self._engine.obey()
        self._engine.step()

    async def _time(self, work: Awaitable[object]) -> None:
        began = time.perf_counter()
        await work
        self._engine.seconds += time.perf_counter() - began


def run(bench: Bench) -> list[Figure]:
    """Many steps of one kernel."""
    model, processes = bench.model("llama-1m"), bench.pick(2000, 100)
    samples = apart(measure, model, bench.scratch, processes, bench.pick(2000, 50))
    settings: dict[str, object] = {
        "model": model.stem,
        "processes": processes,
        "slots": _SLOTS,
        "prompt": _PROMPT,
    }
    name = f"kernel's part of a step with {processes:,} processes"
    return [Figure(name, "ms", samples, "p99", at_most=1, settings=settings)]


def measure(model: Path, scratch: Path, processes: int, steps: int) -> list[float]:
    """Milliseconds of the kernel's in each of so many steps."""
    log.configure(Log(level="warning"))
    return uvloop.run(_steps(model, scratch, processes, steps))


async def _steps(model: Path, scratch: Path, processes: int, steps: int) -> list[float]:
    tree = {
        "models": str(model.parent),
        "state": str(scratch),
        "workspace": str(scratch / "workspace"),
        "engine": {"slots": _SLOTS, "context": _CONTEXT},
        "memory": {"ram_mb": 1},
    }
    engine = Timed()
    kernel = Kernel(msgspec.convert(tree, Config), lambda: engine)
    served = await kernel.models.load(model.stem)
    engine.watch()
    crowd = Crowd(kernel, engine)
    await crowd.grow(processes)
    on_disk = sum(entry.tier is Tier.DISK for entry in served.paging.pager.entries())
    if on_disk < processes - _SLOTS - _IN_MEMORY:
        raise BenchError(f"only {on_disk} of {processes} images are on disk")
    turns = (process for _ in range(steps) for process in crowd.processes)  # the longest silent first
    samples = [await crowd.step(lambda: next(turns)) for _ in range(steps)]
    served.paging.pager.check_integrity()
    await kernel.models.stop()
    return samples
