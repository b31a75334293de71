"""With 2,000 live processes whose images are on disk, the kernel's process takes at most 400 MB.

Interactive processes of private prompts, each after its first turn, on eight slots and next to no memory for
images. Then eight of them at a time have another turn, each time others, and come back from disk: what that
costs the kernel's own process in processor time is shown, by generated token.
"""

from __future__ import annotations

import asyncio

import uvloop

from benchmarks.agents import Agents, agents
from benchmarks.bench import Bench, BenchError, Kernel
from benchmarks.figures import Figure
from benchmarks.prompts import letters, request

_SLOTS, _CONTEXT, _PROMPT, _INPUT, _NEW = 8, 512, 33, 16, 16
_SPELL, _MB = 250, 1e6  # turns


def run(bench: Bench) -> list[Figure]:
    """One kernel, one crowd, several spells of activity."""
    model, processes = bench.model("135m"), bench.pick(2000, 100)
    with bench.kernel(model, _SLOTS, _CONTEXT, memory__ram_mb=1) as kernel:
        memory, costs = uvloop.run(_measure(bench, kernel, processes))
    settings = {"model": model.stem, "threads": bench.threads, "slots": _SLOTS, "prompt": _PROMPT}
    settings |= {"tokens": _NEW, "input": _INPUT}
    who = f"{processes:,} live processes"
    return [
        Figure(f"kernel's memory, {who}", "MB", [memory], at_most=400, settings=settings),
        Figure(f"kernel CPU per token, 8 of {who}", "µs", costs, settings=settings),
    ]


async def _measure(bench: Bench, kernel: Kernel, processes: int) -> tuple[float, list[float]]:
    """Megabytes of the kernel's process, and microseconds a token, spell by spell."""
    async with agents(kernel) as mine:
        pids = await asyncio.gather(*(_begin(mine, i) for i in range(processes)))
        images = len(list(bench.scratch.glob("state/images/**/*.kv")))
        if not bench.smoke and images < 0.9 * processes - _SLOTS:
            raise BenchError(f"only {images} of {processes} images are on disk")
        memory = kernel.process.memory_info().rss / _MB
        costs = []
        for i in range(bench.pick(4, 1)):
            before = kernel.cpu_seconds()
            tokens = await _spell(mine, pids[i * _SPELL : (i + 1) * _SPELL])
            costs.append((kernel.cpu_seconds() - before) / tokens * 1e6)
    return memory, costs


async def _begin(mine: Agents, seed: int) -> int:
    """Start a process, and let it have its first turn; its PID."""
    pid = await mine.start(request(letters(_PROMPT - 1, seed), _NEW, seed, interactive=True))
    await mine.turn(pid)
    return pid


async def _spell(mine: Agents, pids: list[int]) -> int:
    """Everybody has a turn, as many at a time as there are slots; the tokens generated."""
    left = iter(pids)

    async def work() -> int:
        tokens = 0
        for pid in left:
            await mine.say(pid, letters(_INPUT, pid))
            tokens += await mine.turn(pid)
        return tokens

    return sum(await asyncio.gather(*(work() for _ in range(_SLOTS))))
