"""A kernel with one engine, simulated: the kernel's own scheduler decides, the engine's steps take time.

Rules
1. The engine goes on by itself. What the kernel decides on a step's report reaches it while it is at the next
   one, and holds from that one's end on.
2. Whoever loses its slot goes on from an image later. What moving it takes the engine pays between steps, and
   the scheduler hears of it as it would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agentkernel.config import Engine as EngineSettings
from agentkernel.config import Scheduler as Settings
from agentkernel.pages import Rates
from agentkernel.scheduler import Grant, Scheduler
from benchmarks.simulator.clock import Clock
from benchmarks.simulator.costs import Costs
from benchmarks.simulator.engine import Engine, Report, Sequence
from benchmarks.simulator.jobs import Job, Life

_TICK = 1e-3  # seconds


@dataclass(slots=True)
class _Process:
    life: Life
    turn: int = 0
    wanted: float = 0.0  # since when it wants its turn
    waits: bool = True  # for the slot of that turn
    silent: bool = True  # in that turn, up to now


class Node:
    """A kernel and its engine on the clock; `on_end` hears of everybody's end."""

    def __init__(
        self, clock: Clock, costs: Costs, slots: int, on_end: Callable[[Life], None] = lambda _life: None
    ) -> None:
        settings = Settings()
        self._clock, self._costs, self._on_end = clock, costs, on_end
        self._scheduler = Scheduler(slots, settings.weights, settings.quantum)
        self._rates = Rates()
        self._engine = Engine(costs, EngineSettings().batch, settings.max_step_ms, self._moved)
        self._live: dict[int, _Process] = {}
        self._inbox: list[Callable[[], float]] = []
        self._idle = True
        self._admitted = 0.0  # when whoever came before has been admitted
        self._timer = 0.0  # when it is asked again by itself
        self.steps = 0

    @property
    def live(self) -> int:
        """How many have come and not ended."""
        return len(self._live)

    def submit(self, pid: int, job: Job) -> None:
        """The job comes now."""
        self._live[pid] = _Process(Life(job), wanted=self._clock.now)
        self._admitted = max(self._admitted, self._clock.now) + self._costs.admit / 1e3
        self._clock.at(self._admitted, partial(self._admit, pid, job))

    def _admit(self, pid: int, job: Job) -> None:
        scheduler = self._scheduler
        weight = scheduler.weight(job.priority)
        first, *later = job.prompts
        self._engine.sequences[pid] = Sequence(pid, weight, first, job.answer, hasty=bool(later))
        scheduler.add(pid, job.priority, job.owner)
        self._assign()

    def _begin_turn(self, pid: int) -> None:
        """The process has thought, and wants its next turn."""
        process = self._live[pid]
        process.wanted, process.waits, process.silent = self._clock.now, True, True
        job = process.life.job
        self._tell(partial(self._engine.append, pid, job.prompts[process.turn], job.answer))
        self._scheduler.set_runnable(pid, runnable=True)
        self._assign()

    def _assign(self) -> None:
        now, engine = self._clock.now, self._engine
        for change in self._scheduler.assign(now, self._rates.settle):
            if isinstance(change, Grant):
                process = self._live[change.pid]
                if process.waits:
                    process.waits = False
                    process.life.waits.append(now - process.wanted)
                self._tell(partial(engine.grant, change.pid, change.slot))
            else:
                self._tell(partial(engine.revoke, change.pid, change.slot))
        if self._scheduler.due is not None:
            when = max(self._scheduler.due, now + _TICK)
            if not now < self._timer <= when:  # else it is asked again before
                self._timer = when
                self._clock.at(when, self._assign)

    def _tell(self, command: Callable[[], float]) -> None:
        """Have the engine do something at its next step's edge, which is now when it sleeps."""
        self._inbox.append(command)
        if self._idle:
            self._idle = False
            self._clock.at(self._clock.now, self._edge)

    def _edge(self) -> None:
        """The engine is between two steps."""
        inbox, self._inbox = self._inbox, []
        ms = sum(command() for command in inbox)
        if not self._engine.busy:
            self._idle = not self._inbox
            return
        report = self._engine.step()
        self.steps += 1
        end = self._clock.now + (ms + report.ms + self._costs.between) / 1e3
        self._clock.at(end, self._edge)
        self._clock.at(end + self._costs.lag / 1e3, partial(self._hear, report, end))

    def _hear(self, report: Report, end: float) -> None:
        """The kernel takes a step's report."""
        self._scheduler.commit(report.used, report.said)
        for pid in report.said:
            process = self._live[pid]
            if process.silent:
                process.silent = False
                process.life.firsts.append(end - process.wanted)
        for pid in report.over:
            self._turn_over(pid)
        self._assign()

    def _turn_over(self, pid: int) -> None:
        process = self._live[pid]
        process.turn += 1
        if process.turn < len(process.life.job.prompts):
            self._scheduler.set_runnable(pid, runnable=False)
            self._clock.at(self._clock.now + process.life.job.think, partial(self._begin_turn, pid))
            return
        self._scheduler.remove(pid)
        self._tell(partial(self._engine.close, pid))
        del self._live[pid]
        process.life.ended = self._clock.now
        self._on_end(process.life)

    def _moved(self, out: bool, ms: float) -> None:  # noqa: FBT001 - as the engine says it
        (self._rates.page_out if out else self._rates.page_in).observe(1, ms)
