"""What a real engine does, as its kernel hears of it: every step and every image moved, in numbers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from agentkernel.engine import port
from benchmarks.simulator.costs import Move, Row, Work, work


@dataclass(slots=True)
class Observation:
    """A run of jobs: seconds from the first one's coming to the last one's end, and all that the engine did.

    In milliseconds: `ms` of each step, `between` two, `lags` until the kernel has decided on one, `admits` of
    each EXEC.
    """

    seconds: float = 0.0
    works: list[Work] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    outs: list[Move] = field(default_factory=list)
    ins: list[Move] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    admits: list[float] = field(default_factory=list)


class Watch:
    """Sees what a loaded model's engine reports, on its way to the kernel."""

    def __init__(self, engine: port.Engine, slot: Callable[[int], int | None]) -> None:
        """`slot` tells a process's slot."""
        self.seen = Observation()
        self._filled: defaultdict[int, int] = defaultdict(int)  # tokens, by PID
        self._slot, self._slots = slot, dict[int, int]()
        self._heard = 0.0  # when the last step's report came
        self._moving = 0.0  # milliseconds since then
        self._engine, self._on_step, self._on_paged = engine, engine.on_step, engine.on_paged
        engine.on_step, engine.on_paged = self._step, self._paged

    def end(self) -> None:
        """See no more."""
        self._engine.on_step, self._engine.on_paged = self._on_step, self._on_paged

    def _step(self, step: port.Step) -> None:
        now, seen = time.perf_counter(), self.seen
        rows = []
        news = {output.pid: output.filled for output in step.outputs}
        for pid, filled in (step.reading | news).items():
            n = filled - self._filled[pid]
            if (slot := self._slot(pid)) is not None:  # else it has lost it since the step
                self._slots[pid] = slot
            if n > 0:
                rows.append(Row(self._slots[pid], n, self._filled[pid]))
            self._filled[pid] = filled
        seen.works.append(work(rows, reads=step.prompt > 0))
        seen.ms.append(step.ms)
        if self._heard:
            seen.between.append(max(0.0, (now - self._heard) * 1e3 - step.ms - self._moving))
        self._heard, self._moving = now, 0.0
        self._on_step(step)
        seen.lags.append((time.perf_counter() - now) * 1e3)

    def _paged(self, event: port.Paged) -> None:
        if event.op in ("out", "in") and event.tokens:
            (self.seen.outs if event.op == "out" else self.seen.ins).append(Move(event.tokens, event.ms))
            self._moving += event.ms
        self._on_paged(event)
