"""Many kernels with an engine each, and who gets which job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from benchmarks.simulator.clock import Clock
from benchmarks.simulator.costs import Costs
from benchmarks.simulator.jobs import Job, Life
from benchmarks.simulator.node import Node

Placement = Callable[[list[Node]], Node]


@dataclass(slots=True)
class Outcome:
    """What became of the jobs; `seconds` from the first one's coming to the last one's end."""

    seconds: float = 0.0
    steps: int = 0
    lives: list[Life] = field(default_factory=list)

    @property
    def throughput(self) -> float:
        """Tokens said a second."""
        return sum(life.job.tokens for life in self.lives) / self.seconds


def in_turn() -> Placement:
    """One node after the other."""
    order = count()
    return lambda nodes: nodes[next(order) % len(nodes)]


def least_loaded() -> Placement:
    """The node with the fewest live processes; of these the first."""
    return lambda nodes: min(nodes, key=lambda node: node.live)


def simulate(
    jobs: Iterable[Job], costs: Costs, slots: int, nodes: int = 1, place: Placement | None = None
) -> Outcome:
    """Run the jobs, which are in the order of their coming, to their end."""
    clock, outcome, place = Clock(), Outcome(), place or in_turn()
    kernels = [Node(clock, costs, slots, outcome.lives.append) for _ in range(nodes)]
    pids, coming = count(1), iter(jobs)

    def come(job: Job) -> None:
        place(kernels).submit(next(pids), job)
        _await(clock, coming, come)

    _await(clock, coming, come)
    clock.run()
    begin = min((life.job.at for life in outcome.lives), default=0.0)
    outcome.seconds = max((life.ended for life in outcome.lives), default=0.0) - begin
    outcome.steps = sum(kernel.steps for kernel in kernels)
    return outcome


def _await(clock: Clock, coming: Iterator[Job], come: Callable[[Job], None]) -> None:
    """Have the next job come when it is due."""
    job = next(coming, None)
    if job is not None:
        clock.at(job.at, lambda: come(job))


def jain(values: Iterable[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything (Jain, Chiu, Hawe 1984)."""
    some = list(values)
    squares = sum(value * value for value in some)
    return sum(some) ** 2 / (len(some) * squares) if squares else 1.0
