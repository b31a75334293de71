"""Beside 1,000 idle connections 200 active ones send 1,000 short commands a second, and 99 of 100 are
answered within 5 ms; asked without a pause, the kernel answers at least 5,000 a second.

Open loop first: PING, STATUS, PS and GET_GEN in turns, due at Poisson moments fixed beforehand and spread
over the active connections; a delay counts from the moment when the command was due. Then a storm: 64 of the
connections each send the next command as soon as they have the answer. No process runs.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from contextlib import ExitStack
from itertools import cycle

from agentkernel.cpu import SHORT_SLICE, set_slice
from benchmarks.bench import Bench, Kernel
from benchmarks.client import Connection, clients
from benchmarks.figures import Figure
from benchmarks.latency import moments, precise_loop

_VERBS = ("PING", "STATUS", "PS", "GET_GEN")
_RATE, _STORMING, _HEAD_START = 1000.0, 64, 0.2  # commands a second; connections; seconds


def run(bench: Bench) -> list[Figure]:
    """All on one kernel."""
    set_slice(SHORT_SLICE)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    model, idle, active = bench.model("llama-1m"), bench.pick(1000, 50), bench.pick(200, 10)
    with (
        bench.kernel(model, 1, 512) as kernel,
        asyncio.Runner(loop_factory=precise_loop) as runner,
    ):
        delays, storms = runner.run(_measure(bench, kernel, idle, active))
    settings: dict[str, object] = {"model": model.stem, "idle": idle, "active": active, "rate": _RATE}
    who = f"beside {idle:,} idle connections"
    return [
        Figure(f"short command of {active} {who}", "ms", delays, "p99", at_most=5, settings=settings),
        Figure(f"storm of short commands {who}", "1/s", storms, at_least=5000, settings=settings),
    ]


async def _measure(bench: Bench, kernel: Kernel, idle: int, active: int) -> tuple[list[float], list[float]]:
    """Delays in ms of the open loop, and answers a second in each spell of the storm."""
    async with clients(kernel, active) as some:
        with ExitStack() as open_:
            for _ in range(idle):  # which no event loop has to look at
                open_.enter_context(socket.create_connection((kernel.host, kernel.port)))
            delays = await _open_loop(some, bench.pick(20.0, 0.5))
            spell = bench.pick(3.0, 0.3)
            return delays, [await _storm(some[:_STORMING], spell) for _ in range(bench.pick(5, 1))]


async def _open_loop(some: list[Connection], seconds: float) -> list[float]:
    begin, delays = time.monotonic() + _HEAD_START, list[float]()

    async def one(connection: Connection, verb: str, due: float) -> None:
        await asyncio.sleep(due - time.monotonic())
        delays.append(((await connection.ask(verb)).at - due) * 1e3)

    async with asyncio.TaskGroup() as group:
        for connection, verb, after in zip(cycle(some), cycle(_VERBS), moments(_RATE, seconds), strict=False):
            group.create_task(one(connection, verb, begin + after))
    return delays


async def _storm(some: list[Connection], seconds: float) -> float:
    end = time.monotonic() + seconds

    async def endless(connection: Connection) -> int:
        count = 0
        while time.monotonic() < end:
            await connection.ask(_VERBS[count % len(_VERBS)])
            count += 1
        return count

    return sum(await asyncio.gather(*map(endless, some))) / seconds
