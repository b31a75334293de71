"""An engine that decodes nothing: it composes its steps as the real one does, and says what they would take.

Rules
1. Who is in a step, the size of chunks and the rows are from the real engine's own functions; a test holds
   its steps to the batcher's.
2. Only counts of tokens are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agentkernel.engine.worker.composing import Composer
from agentkernel.paging import SHORTEST_PREFIX
from benchmarks.simulator.costs import Costs, Row, work


@dataclass(slots=True)
class Sequence:
    """A process inside the engine: tokens of its context, those that its slot has, and those of its image."""

    pid: int
    weight: float
    tokens: int
    left: int  # of its turn
    hasty: bool = False
    said: int = 0  # tokens of its turn
    filled: int = 0
    image: int = 0
    slot: int | None = None
    credit: float = 0.0

    @property
    def pending(self) -> int:
        """Tokens that its slot lacks."""
        return self.tokens - self.filled

    @property
    def patient(self) -> bool:
        """Whether it has not begun its answer, and may wait for others to have their prompts read."""
        return not (self.said or self.hasty)


@dataclass(slots=True)
class Report:
    """A step: tokens computed by PID, who said one, whose turn is over, and what it takes in ms."""

    ms: float
    used: dict[int, int] = field(default_factory=dict)
    said: list[int] = field(default_factory=list)
    over: list[int] = field(default_factory=list)


class Engine:
    """Its sequences, by PID; `on_move` hears of each image moved, whether out, and of its milliseconds."""

    def __init__(
        self, costs: Costs, batch: int, max_step_ms: float, on_move: Callable[[bool, float], None]
    ) -> None:
        self.sequences: dict[int, Sequence] = {}
        self._runnable: dict[int, Sequence] = {}
        self._costs, self._on_move = costs, on_move
        self._composer = Composer(max_step_ms, batch)

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._runnable)

    def grant(self, pid: int, slot: int) -> float:
        """Let it run in the slot, with its image where it has one; the milliseconds that takes."""
        sequence, ms = self.sequences[pid], 0.0
        if sequence.slot != slot:
            sequence.slot = slot
            sequence.filled, sequence.image = min(sequence.image, sequence.tokens - 1), 0
            if sequence.filled:
                ms = self._moved(out=False, tokens=sequence.filled)
        if sequence.left:
            self._runnable[pid] = sequence
        return ms

    def revoke(self, pid: int, _slot: int) -> float:
        """Take its slot and keep its context as an image; the milliseconds that takes."""
        sequence = self.sequences[pid]
        self._runnable.pop(pid, None)
        sequence.image, sequence.filled, sequence.slot = sequence.filled, 0, None
        return self._moved(out=True, tokens=sequence.image) if sequence.image else 0.0

    def append(self, pid: int, tokens: int, answer: int) -> float:
        """The process's next turn."""
        sequence = self.sequences[pid]
        sequence.tokens += tokens
        sequence.left, sequence.said = answer, 0
        return 0.0

    def close(self, pid: int) -> float:
        """Forget it, but for an image of its context, for others; the milliseconds that takes."""
        self._runnable.pop(pid, None)
        tokens = self.sequences.pop(pid).filled
        return self._moved(out=True, tokens=tokens) if tokens >= SHORTEST_PREFIX else 0.0

    def step(self) -> Report:
        """One decode of all that run."""
        report, placed = Report(0.0), []
        for sequence, n in self._composer.rows(list(self._runnable.values())):
            placed.append(Row(sequence.slot or 0, n, sequence.filled))
            sequence.filled += n
            report.used[sequence.pid] = n
            if sequence.filled == sequence.tokens:
                self._say(sequence, report)
        tokens = sum(report.used.values())
        reads = tokens > len(report.said)
        report.ms = self._costs.of(work(placed, reads=reads))
        self._composer.observe(tokens, report.ms, prompt=reads)
        return report

    def _say(self, sequence: Sequence, report: Report) -> None:
        report.said.append(sequence.pid)
        sequence.tokens += 1
        sequence.left -= 1
        sequence.said += 1
        if not sequence.left:
            report.over.append(sequence.pid)
            del self._runnable[sequence.pid]

    def _moved(self, *, out: bool, tokens: int) -> float:
        ms = self._costs.moving(out=out, tokens=tokens)
        self._on_move(out, ms)
        return ms
