"""At least 2,000 processes a second are started and killed again, with the journal on.

Sixteen connections each start a process and kill it as soon as they know its PID, over and over. EXEC is
answered when the process is admitted and its birth is synced, KILL when its end is.
"""

from __future__ import annotations

import asyncio
import math
import time

import uvloop

from benchmarks.bench import Bench, Kernel
from benchmarks.client import Connection, clients
from benchmarks.figures import Figure
from benchmarks.prompts import letters, request

_CONNECTIONS, _PROMPT = 16, 32
_LIMIT = 400  # tokens: no process is to end before it is killed


def run(bench: Bench) -> list[Figure]:
    """Several runs on one kernel."""
    model, seconds = bench.model("llama-1m"), bench.pick(5.0, 0.5)
    with bench.kernel(model, 8, 512) as kernel:
        uvloop.run(_churn(kernel, seconds / 5))  # warm up
        samples = [uvloop.run(_churn(kernel, seconds)) for _ in range(bench.pick(5, 1))]
    settings: dict[str, object] = {"model": model.stem, "connections": _CONNECTIONS, "seconds": seconds}
    return [Figure("EXEC and KILL", "1/s", samples, at_least=2000, settings=settings)]


async def _churn(kernel: Kernel, seconds: float) -> float:
    """Pairs a second."""
    async with clients(kernel, _CONNECTIONS) as connections:
        began = time.monotonic()
        counts = await asyncio.gather(*(pairs(each, end=began + seconds) for each in connections))
        return sum(counts) / (time.monotonic() - began)


async def pairs(connection: Connection, most: float = math.inf, end: float = math.inf) -> int:
    """EXEC and KILL one after the other, so often at most and until then; how often."""
    payload, count = request(letters(_PROMPT, 1), _LIMIT, 1), 0
    while count < most and time.monotonic() < end:
        pid = (await connection.ask("EXEC", payload)).data["pid"]
        await connection.ask("KILL", str(pid).encode())
        count += 1
    return count
