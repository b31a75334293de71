"""A hundred thousand processes over sixty-four engines are simulated within five minutes.

The kernel's own scheduler decides on each engine; what steps take was measured on this machine's engine just
before. Processes of 1,000 owners and four priorities come at random moments, as many
a second as nine tenths of what the engines can do; each has one or two turns of 16 to 64 new and 4 to 16
generated tokens, and thinks between them. They are placed in turn, or where the fewest live. *Wait* is from
wanting a turn to having a slot, *first token* from wanting it to its first token; Jain's index is of the
tokens a second, read and said, that processes of one priority had.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.fitted import measured
from benchmarks.simulator.cluster import Outcome, in_turn, jain, least_loaded, simulate
from benchmarks.simulator.costs import Costs
from benchmarks.simulator.jobs import CLASSES, Job

_SLOTS, _OWNERS, _MODEL = 16, 1000, "135m"
_LOAD = 0.9  # of what the engines can do
_MOST = 2000  # samples of a distribution that a report keeps


def run(bench: Bench) -> list[Figure]:
    """Both placements of the same processes."""
    model = bench.model(_MODEL)
    costs = measured(bench, model, _SLOTS)
    engines, processes = bench.pick(64, 4), bench.pick(100_000, 400)
    rate = _LOAD * engines * _capacity(costs)
    figures = []
    for name, place in (("in turn", in_turn()), ("least loaded", least_loaded())):
        began = time.perf_counter()
        outcome = simulate(islice(coming(rate), processes), costs, _SLOTS, engines, place)
        seconds = time.perf_counter() - began
        about = {"model": model.stem, "slots": _SLOTS, "engines": engines, "processes": processes}
        about |= {
            "rate": rate,
            "placement": name,
            "costs": {key: getattr(costs, key) for key in costs.__slots__},
        }
        figures += _figures(
            f"{processes:,} processes over {engines} engines, {name}", outcome, seconds, about
        )
    return figures


def coming(rate: float) -> Iterator[Job]:
    """So many a second for ever, the same ones each time."""
    rng, at = random.Random(1), 0.0
    while True:
        at += rng.expovariate(rate)
        prompts = tuple(rng.randint(16, 64) for _ in range(rng.randint(1, 2)))
        answer, think = rng.randint(4, 16), rng.expovariate(0.5)
        yield Job(at, prompts, answer, think, rng.choice(CLASSES), rng.randrange(_OWNERS))


def _capacity(costs: Costs) -> float:
    """Processes a second that one engine can do: of so many that come at once."""
    some = [replace(job, at=0.0, think=0.0) for job in islice(coming(1), 20 * _SLOTS)]
    return len(some) / simulate(some, costs, _SLOTS).seconds


def _figures(name: str, outcome: Outcome, seconds: float, about: dict[str, object]) -> list[Figure]:
    waits = sorted(wait for life in outcome.lives for wait in life.waits)
    firsts = sorted(first for life in outcome.lives for first in life.firsts)
    rates = [life.rate for life in outcome.lives if life.job.priority == "normal"]
    return [
        Figure(f"simulating {name}", "s", [seconds], at_most=300, settings=about),
        Figure(f"{name}: throughput", "tokens/s", [outcome.throughput], settings=about),
        Figure(f"{name}: wait", "s", _thinned(waits), settings=about),
        Figure(f"{name}: wait, p99", "s", _thinned(waits), "p99", settings=about),
        Figure(f"{name}: first token", "s", _thinned(firsts), settings=about),
        Figure(f"{name}: first token, p99", "s", _thinned(firsts), "p99", settings=about),
        Figure(f"{name}: Jain's index", "", [jain(rates)], settings=about),
    ]


def _thinned(values: list[float]) -> list[float]:
    """Some of the sorted values, at equal distances: of the same distribution."""
    step = max(1, len(values) // _MOST)
    return [round(value, 4) for value in values[step // 2 :: step]]
