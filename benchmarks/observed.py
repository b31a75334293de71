"""Jobs on the real kernel and engine, with every step seen: what the simulator is fitted to and held to.

The kernel runs in this process, its engine in its own as ever; only sockets and clients are left out.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from agentkernel import log
from agentkernel.config import Config, Log
from agentkernel.cpu import SHORT_SLICE, set_slice
from agentkernel.engine.link import EngineProcess
from agentkernel.kernel import Kernel
from agentkernel.process import Owner
from agentkernel.request import ExecRequest
from benchmarks.prompts import letters
from benchmarks.simulator.jobs import Job
from benchmarks.watch import Observation, Watch

_OWNER = Owner(1, "bench", admin=True)


class _Turns:
    """A sink of everybody's, that hears of turns' ends."""

    client = 0

    def __init__(self) -> None:
        self._over: defaultdict[int, asyncio.Queue[dict[str, Any]]] = defaultdict(asyncio.Queue)

    async def over(self, pid: int) -> None:
        """Wait for the end of the process's turn."""
        await self._over[pid].get()

    def data(self, _pid: int, _offset: int, _text: bytes) -> bool:
        """Taken."""
        return True

    def end(self, _pid: int, _offset: int, _marker: bytes) -> None:
        """Its event says so as well."""

    def drop(self, pid: int) -> None:
        """Nothing is queued."""

    def event(self, event: dict[str, Any]) -> None:
        """Something happened."""
        if event["kind"] in ("turn_finished", "session_finished"):
            self._over[event["pid"]].put_nowait(event)


def observe(
    model: Path, scratch: Path, settings: dict[str, Any], works: Sequence[Sequence[Job]]
) -> list[Observation]:
    """Run one list of jobs after the other, on one kernel with these settings of its engine."""
    log.configure(Log(level="warning"))
    set_slice(SHORT_SLICE)
    tree = {"models": str(model.parent), "state": str(scratch / "state"), "engine": settings}
    config = msgspec.convert(tree | {"workspace": str(scratch / "workspace")}, Config)
    return uvloop.run(_observe(config, model.stem, works))


async def _observe(config: Config, model: str, works: Sequence[Sequence[Job]]) -> list[Observation]:
    kernel = Kernel(config, EngineProcess)
    try:
        served = await kernel.models.load(model)
        turns, found = _Turns(), []
        kernel.events.subscribe(_OWNER, turns)
        for number, jobs in enumerate(works):
            watch = Watch(served.engine, served.scheduler.slot)
            began = time.monotonic()
            await asyncio.gather(
                *(_live(kernel, turns, job, (number, i), watch.seen) for i, job in enumerate(jobs))
            )
            watch.end()
            watch.seen.seconds = time.monotonic() - began - min(job.at for job in jobs)
            found.append(watch.seen)
        return found
    finally:
        await kernel.drain(0)
        await kernel.close()


async def _live(kernel: Kernel, turns: _Turns, job: Job, seed: tuple[int, int], seen: Observation) -> None:
    first, *later = (letters(n - (not i), *seed, i) for i, n in enumerate(job.prompts))
    request = ExecRequest(
        prompt=first,
        raw=True,
        max_tokens=job.answer,
        seed=seed[1],
        priority=job.priority,
        interactive=bool(later),
    )
    await asyncio.sleep(job.at)
    began = time.perf_counter()
    process = await kernel.exec(_OWNER, request, turns)
    seen.admits.append((time.perf_counter() - began) * 1e3)
    await turns.over(process.pid)
    for text in later:
        await asyncio.sleep(job.think)
        await kernel.send_input(_OWNER, process.pid, text, turns)
        await turns.over(process.pid)
    if later:
        kernel.kill(_OWNER, process.pid)
