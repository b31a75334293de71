"""Who holds which slot of one engine; pure.

Rules
1. `assign` returns the changes that bring the slots in line; applying nothing leaves them valid.
2. A runnable process waits only while every slot is held by a runnable one.
3. Waiting processes go by priority, then by arrival; a holder that can run is not displaced.
4. A holder that can't run keeps its slot, and with it its context, until somebody needs it;
   the one idle longest gives way first.
5. A slot changes hands no sooner than `settle` seconds after it was granted, so that moving contexts in and
   out costs a bounded part of the time.
6. The lowest free slot goes out first: an engine decodes a run of neighbouring slots at once.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count

from agentkernel.process import PRIORITIES


@dataclass(frozen=True, slots=True)
class Grant:
    """Let the process run in the slot; it may hold it already."""

    pid: int
    slot: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """Take the slot from the process; its context is dropped there."""

    pid: int
    slot: int


Change = Grant | Revoke


@dataclass(slots=True)
class _Task:
    rank: int
    arrival: int
    runnable: bool = True
    slot: int | None = None
    granted: bool = False
    since: float = 0.0  # when it got its slot


class Scheduler:
    """Slots and the processes that want them."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._free = list(range(slots))  # a heap
        self._tasks: dict[int, _Task] = {}
        self._queue: list[tuple[int, int, int]] = []  # -rank, arrival, pid
        self._idle: dict[int, None] = {}  # holders that can't run, longest idle first
        self._again: dict[int, None] = {}  # holders that can run again
        self._waiting: set[int] = set()  # runnable without a slot
        self._arrivals = count(1)
        self.due: float | None = None  # when `assign` has something to do that it could not do yet

    def __repr__(self) -> str:
        return f"<Scheduler slots={self.slots} free={len(self._free)} tasks={len(self._tasks)}>"

    @property
    def waiting(self) -> int:
        """How many processes could run and have no slot."""
        return len(self._waiting)

    def add(self, pid: int, priority: str) -> None:
        """A new runnable process."""
        task = self._tasks[pid] = _Task(PRIORITIES.index(priority), next(self._arrivals))
        self._enqueue(pid, task)

    def remove(self, pid: int) -> None:
        """Forget a process and free its slot."""
        task = self._tasks.pop(pid, None)
        if task is not None and task.slot is not None:
            heapq.heappush(self._free, task.slot)
        self._idle.pop(pid, None)
        self._again.pop(pid, None)
        self._waiting.discard(pid)

    def reset(self) -> None:
        """The engine lost every context: nobody holds a slot."""
        self._free = list(range(self.slots))
        self._idle.clear()
        self._again.clear()
        for pid, task in self._tasks.items():
            task.slot, task.granted = None, False
            if task.runnable:
                self._enqueue(pid, task)

    def set_runnable(self, pid: int, *, runnable: bool) -> None:
        """Say whether the process could use a slot now."""
        task = self._tasks[pid]
        before, task.runnable = task.runnable, runnable
        if task.slot is not None:
            (self._again if runnable else self._idle)[pid] = None
            (self._idle if runnable else self._again).pop(pid, None)
            task.granted = task.granted and runnable
        elif not runnable:
            self._waiting.discard(pid)
        elif not before:
            task.arrival = next(self._arrivals)
            self._enqueue(pid, task)

    def set_priority(self, pid: int, priority: str) -> None:
        """Change the class; keeps the place within it."""
        task = self._tasks[pid]
        task.rank = PRIORITIES.index(priority)
        if task.slot is None and task.runnable:
            self._enqueue(pid, task)

    def slot(self, pid: int) -> int | None:
        """The slot the process holds."""
        return self._tasks[pid].slot

    def position(self, pid: int) -> int:
        """How many processes are served before this one; 0 when it holds a slot."""
        task = self._tasks[pid]
        if task.slot is not None or not task.runnable:
            return 0
        mine = (-task.rank, task.arrival)
        waiting = (t for t in self._tasks.values() if t.runnable and t.slot is None)
        return 1 + sum((-t.rank, t.arrival) < mine for t in waiting)

    def assign(self, now: float = 0.0, settle: float = 0.0) -> list[Change]:
        """The changes due now, in the order they must be applied; sets `due`."""
        changes: list[Change] = []
        for pid in self._again:
            task = self._tasks[pid]
            if not task.granted and task.slot is not None:
                task.granted = True
                changes.append(Grant(pid, task.slot))
        self._again.clear()
        self.due = None
        while self._free or self._idle:
            if not self._free and (victim := self._victim(now, settle)) is None:
                break
            first = self._next()
            if first is None:
                self.due = None
                break
            if not self._free and victim is not None:
                del self._idle[victim]
                changes.append(self._release(victim))
            task = self._tasks[first]
            task.slot, task.granted, task.since = heapq.heappop(self._free), True, now
            self._waiting.discard(first)
            changes.append(Grant(first, task.slot))
        return changes

    def check_integrity(self) -> None:
        """Raise ValueError unless every slot is free or held by exactly one process."""
        held = [t.slot for t in self._tasks.values() if t.slot is not None]
        if sorted(held + self._free) != list(range(self.slots)):
            raise ValueError(f"slots leaked: held {sorted(held)}, free {sorted(self._free)}")

    def _victim(self, now: float, settle: float) -> int | None:
        """The holder that gives way next; without one, `due` says when there is."""
        for pid in self._idle:
            if self._tasks[pid].since + settle <= now:
                return pid
        if self._waiting and self._idle:
            self.due = min(self._tasks[pid].since for pid in self._idle) + settle
        return None

    def _release(self, pid: int) -> Revoke:
        task = self._tasks[pid]
        slot = task.slot
        if slot is None:
            raise ValueError(f"PID {pid} holds no slot")
        task.slot, task.granted = None, False
        heapq.heappush(self._free, slot)
        return Revoke(pid, slot)

    def _enqueue(self, pid: int, task: _Task) -> None:
        heapq.heappush(self._queue, (-task.rank, task.arrival, pid))
        self._waiting.add(pid)

    def _next(self) -> int | None:
        while self._queue:
            rank, arrival, pid = heapq.heappop(self._queue)
            task = self._tasks.get(pid)
            if task is None or (-task.rank, task.arrival) != (rank, arrival):
                continue  # it ended, or stands elsewhere in the queue by now
            if task.runnable and task.slot is None:
                return pid
        return None
