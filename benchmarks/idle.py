"""A thousand idle connections cost the kernel process at most 30 MB.

Resident memory of the kernel process before and after so many clients have connected, said HELLO and
had a PING answered; a fresh kernel for each sample, since an allocator keeps what it once had.
"""

from __future__ import annotations

import asyncio

from benchmarks.bench import Bench, Kernel
from benchmarks.client import clients
from benchmarks.figures import Figure

_MB = 1e6


def run(bench: Bench) -> list[Figure]:
    """One sample a kernel."""
    model = bench.model("llama-1m")
    connections = bench.pick(1000, 100)
    samples = []
    for _ in range(bench.pick(5, 1)):
        with bench.kernel(model, slots=1, context=512) as kernel:
            samples.append(asyncio.run(_growth(kernel, connections)) / _MB)
    name = f"{connections:,} idle connections"
    settings = {"model": model.stem, "connections": connections}
    return [Figure(name, "MB", samples, at_most=30, settings=settings)]


async def _growth(kernel: Kernel, connections: int) -> int:
    """Bytes of resident memory that so many idle clients add."""
    async with clients(kernel) as (first,):
        await first.ask("PING")
        before = kernel.process.memory_info().rss
        async with clients(kernel, connections) as idle:
            await asyncio.gather(*(client.ask("PING") for client in idle))
            return int(kernel.process.memory_info().rss - before)
