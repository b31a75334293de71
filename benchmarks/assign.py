"""With 10,000 processes, saying who gets which slot takes the scheduler at most 1 ms.

Processes of a hundred owners and four priorities, half of them with deadlines, all want one of sixteen slots;
their quanta are over again and again. Timed is `assign` alone, once a step.
"""

from __future__ import annotations

import random
import time
from statistics import fmean

from agentkernel.scheduler import Scheduler
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.simulator.jobs import CLASSES

_SLOTS, _OWNERS, _STEP = 16, 100, 0.05  # seconds
_SPELL = 100  # steps that a mean is taken of


def run(bench: Bench) -> list[Figure]:
    """Many steps of one scheduler."""
    processes = bench.pick(10_000, 1000)
    delays = measure(processes, bench.pick(5000, 500))
    means = [fmean(delays[i : i + _SPELL]) for i in range(0, len(delays), _SPELL)]
    settings: dict[str, object] = {"processes": processes, "slots": _SLOTS, "owners": _OWNERS}
    name = f"assign with {processes:,} processes"
    return [
        Figure(f"{name}, mean", "ms", means, at_most=1, settings=settings),
        Figure(f"{name}, p99", "ms", delays, "p99", at_most=1, settings=settings),
    ]


def measure(processes: int, steps: int) -> list[float]:
    """Milliseconds of `assign` in each of so many steps."""
    rng, scheduler = random.Random(1), Scheduler(_SLOTS)
    for pid in range(processes):
        scheduler.add(pid, rng.choice(CLASSES), pid % _OWNERS)
        if pid % 2:
            scheduler.set_deadline(pid, steps * _STEP * rng.random())
    scheduler.assign(0.0)
    delays = []
    for step in range(1, steps + 1):
        running = scheduler.running
        scheduler.commit(dict.fromkeys(running, 1), running)
        began = time.perf_counter()
        scheduler.assign(step * _STEP)
        delays.append(round((time.perf_counter() - began) * 1e3, 4))
    return delays
