"""A simulator over the kernel's own scheduler predicts how long a load takes within 15 %.

The scheduler is the kernel's, chunks and batches are composed by the engine's own functions, and what a step
takes is fitted, just before each load, to a load of another kind on the same kernel and engine. Four loads:
equal streams, four priorities, a crowd of processes of every size and priority on few slots, and processes
that come back after they have thought. Their processes begin at once, and sockets are left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench import Bench, apart
from benchmarks.figures import Figure, Side
from benchmarks.fitted import calibration, costs, settings
from benchmarks.observed import observe
from benchmarks.simulator.cluster import simulate
from benchmarks.simulator.jobs import CLASSES, Job

_MODEL, _CONTEXT = "135m", 512
_OFF = 0.15


@dataclass(frozen=True, slots=True)
class Load:
    """A load, and the slots it runs on."""

    name: str
    slots: int
    jobs: list[Job]


def loads(pick: Callable[[int, int], int]) -> list[Load]:
    """What is predicted; `pick` chooses between a full and a smoke run's size."""
    rng = random.Random(1)
    crowd, agents = pick(200, 16), pick(24, 10)
    streams = [Job(0.0, (pick(128, 32),), pick(64, 16)) for _ in range(16)]
    classes = [Job(0.0, (pick(64, 24),), pick(64, 16), priority=CLASSES[i % 4]) for i in range(16)]
    mixed = [
        Job(0.0, (rng.randint(8, 48),), rng.randint(8, 24), priority=rng.choice(CLASSES))
        for _ in range(crowd)
    ]
    rounds = [Job(0.0, (64, 16, 16), pick(16, 8), think=0.2) for _ in range(agents)]
    return [
        Load("16 equal streams", 16, streams),
        Load("16 streams of four priorities", 16, classes),
        Load(f"mixed load of {crowd} processes on 8 slots", 8, mixed),
        Load(f"{agents} agents of three turns on 8 slots", 8, rounds),
    ]


def run(bench: Bench) -> list[Figure]:
    """Rounds of all loads, each behind a load that the costs are fitted to."""
    some = loads(bench.pick)
    predicted: dict[str, list[float]] = {load.name: [] for load in some}
    taken: dict[str, list[float]] = {load.name: [] for load in some}
    for _ in range(bench.pick(3, 1)):
        for slots in (16, 8):
            mine = [load for load in some if load.slots == slots]
            for load, guess, seconds in _predict(bench, slots, mine):
                predicted[load.name].append(guess)
                taken[load.name].append(seconds)
    return [_figure(bench, load, predicted[load.name], taken[load.name]) for load in some]


def _predict(bench: Bench, slots: int, some: list[Load]) -> list[tuple[Load, float, float]]:
    """Each load with the seconds that were predicted for it, and those that it took."""
    lists = [jobs for load in some for jobs in (calibration(bench, slots), load.jobs)]
    engine = settings(bench, slots, _CONTEXT)
    seen = apart(observe, bench.model(_MODEL), bench.scratch, engine, lists)
    return [
        (load, simulate(load.jobs, costs(before), slots).seconds, real.seconds)
        for load, before, real in zip(some, seen[::2], seen[1::2], strict=True)
    ]


def _figure(bench: Bench, load: Load, predicted: list[float], taken: list[float]) -> Figure:
    sides = [Side("predicted", "s", predicted), Side("taken", "s", taken)]
    off = [abs(guess / seconds - 1) for guess, seconds in zip(predicted, taken, strict=True)]
    about = {"model": bench.model(_MODEL).stem} | settings(bench, load.slots, _CONTEXT)
    return Figure(f"prediction off, {load.name}", "", off, at_most=_OFF, settings=about, sides=sides)
