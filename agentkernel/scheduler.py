"""Who holds which slot of one engine; pure.

Rules
1. `assign` returns the changes that bring the slots in line; applying nothing leaves them valid.
2. A runnable process waits only while every slot is held by a runnable one, or settles.
3. Slots go to those whom `shares` says: fair between owners, then by weight between an owner's processes:
   a process weighs as its priority does, and a fifth less by each step of `nice`. Of an owner's processes of
   one priority those with deadlines go first, the earliest of all, until the others have waited for long.
4. A holder that has said a quantum of tokens and is a quantum ahead of one that waits gives way to it; to a
   critical one it gives way at once, unless it is behind that one itself. Its work and its place are kept.
5. A holder that can't run keeps its slot, and with it its context, until somebody needs it;
   the one idle longest gives way first.
6. A slot changes hands no sooner than `settle` seconds after it was granted, so that moving contexts in and
   out costs a bounded part of the time; for a critical process it does.
7. A holder that has said a quantum gives way to one whose deadline goes before it, and to none that it goes
   before.
8. The lowest free slot goes out first: an engine decodes a run of neighbouring slots at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from agentkernel.process import PRIORITIES, Priority
from agentkernel.shares import Shares


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

_STEP = 1.25  # of `nice`, as in Linux: a step is about a tenth of the processor, between two alike


@dataclass(slots=True)
class _Task:
    rank: int
    arrival: int
    runnable: bool = True
    slot: int | None = None
    granted: bool = False
    since: float = 0.0  # when it got its slot
    answered: int = 0  # tokens it said since then


class Scheduler:
    """Slots and the processes that want them."""

    def __init__(
        self,
        slots: int,
        weights: Sequence[float] = (1.0, 2.0, 4.0, 8.0),
        quantum: int = 32,
        *,
        preempt: bool = True,
    ) -> None:
        """`weights` are those of PRIORITIES, `quantum` is tokens; without `preempt` rule 4 does not hold."""
        self.slots = slots
        self._preempt = preempt
        self.due: float | None = None  # when `assign` has something to do that it could not do yet
        self._weights = weights
        self._free = list(range(slots))  # a heap
        self._tasks: dict[int, _Task] = {}
        self._shares = Shares(quantum)
        self._holders: dict[int, None] = {}
        self._idle: dict[int, None] = {}  # holders that can't run, longest idle first
        self._again: dict[int, None] = {}  # holders that can run again
        self._arrivals = count(1)

    def __repr__(self) -> str:
        return f"<Scheduler slots={self.slots} free={len(self._free)} tasks={len(self._tasks)}>"

    @property
    def waiting(self) -> int:
        """How many processes could run and have no slot."""
        return len(self._shares)

    @property
    def busy(self) -> bool:
        """Whether any process could run."""
        return len(self._holders) > len(self._idle) or len(self._shares) > 0

    def weight(self, priority: Priority, nice: int = 0) -> float:
        """What a process of that priority gets of its owner's share, beside another's."""
        return self._weights[PRIORITIES.index(priority)] / _STEP**nice

    def add(self, pid: int, priority: Priority, owner: int = 0, nice: int = 0) -> None:
        """A new runnable process."""
        task = self._tasks[pid] = _Task(PRIORITIES.index(priority), next(self._arrivals))
        self._shares.add(pid, owner, self.weight(priority, nice), task.rank)
        self._shares.want(pid)
        self._shares.wait(pid, task.arrival)

    def remove(self, pid: int) -> None:
        """Forget a process and free its slot."""
        task = self._tasks.pop(pid, None)
        if task is None:
            return
        if task.slot is not None:
            heapq.heappush(self._free, task.slot)
        for holders in (self._holders, self._idle, self._again):
            holders.pop(pid, None)
        self._shares.remove(pid)

    def reset(self) -> None:
        """The engine lost every context: nobody holds a slot."""
        self._free = list(range(self.slots))
        for holders in (self._holders, self._idle, self._again):
            holders.clear()
        for pid, task in self._tasks.items():
            task.slot, task.granted = None, False
            if task.runnable:
                self._shares.wait(pid, task.arrival)

    def set_runnable(self, pid: int, *, runnable: bool) -> None:
        """Say whether the process could use a slot now."""
        task = self._tasks[pid]
        before, task.runnable = task.runnable, runnable
        if runnable:
            self._shares.want(pid)
        else:
            self._shares.rest(pid)
        if task.slot is not None:
            (self._again if runnable else self._idle)[pid] = None
            (self._idle if runnable else self._again).pop(pid, None)
            task.granted = task.granted and runnable
        elif runnable and not before:
            task.arrival = next(self._arrivals)
            self._shares.wait(pid, task.arrival)

    def set_priority(self, pid: int, priority: Priority, nice: int = 0) -> None:
        """Change the class, or the weight within it; keeps the place."""
        task = self._tasks[pid]
        task.rank = PRIORITIES.index(priority)
        self._shares.set_weight(pid, self.weight(priority, nice), task.rank)

    def set_deadline(self, pid: int, deadline: float) -> None:
        """Say by when the process should have what it wants; infinity is whenever."""
        self._shares.set_deadline(pid, deadline)

    def commit(self, used: Mapping[int, int], answers: Iterable[int]) -> None:
        """Processes were served so many tokens, prompts and answers alike; `answers` are who said one."""
        for pid, tokens in used.items():
            if pid in self._tasks:
                self._shares.charge(pid, tokens)
        for pid in answers:
            if pid in self._tasks:
                self._tasks[pid].answered += 1

    def slot(self, pid: int) -> int | None:
        """The slot the process holds."""
        return self._tasks[pid].slot

    def set_lane(self, pid: int, lane: str) -> None:
        """Count the process among those of a lane, which has no part in who gets a slot."""
        self._shares.set_lane(pid, lane)

    def queued(self, lane: str) -> int:
        """How many processes of a lane could run and have no slot."""
        return self._shares.waiting(lane)

    @property
    def free(self) -> int:
        """Slots that nobody runs in or waits for."""
        return max(0, len(self._free) + len(self._idle) - self.waiting)

    def places(self, pid: int, now: float = 0.0) -> tuple[int, int]:
        """The process's place among those that wait for a slot, and among those of its lane, from 1; or 0."""
        if pid not in self._shares:
            return 0, 0
        order, lane = self._shares.order(now), self._shares.lane(pid)
        place = order.index(pid) + 1
        return place, sum(self._shares.lane(other) == lane for other in order[:place])

    def position(self, pid: int, now: float = 0.0) -> int:
        """The first of its places."""
        return self.places(pid, now)[0]

    def earlier(self, pid: int, now: float = 0.0) -> int:
        """How many of those that wait would go before the process for their deadlines."""
        return self._shares.earlier(pid, now)

    @property
    def running(self) -> list[int]:
        """Who runs in a slot."""
        return [pid for pid in self._holders if self._tasks[pid].granted]

    @property
    def quantum(self) -> int | None:
        """The tokens after which a holder may have to give way; None when it never has to."""
        return self._shares.quantum if self._preempt else None

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
        while (found := self._shares.first(now)) is not None:
            turn, first = found
            if not self._free:
                victim = self._victim(turn, first, now, settle)
                if victim is None:
                    break
                if self._goes_on(victim, first, now):
                    self._shares.exchange(turn, victim)
                    self._tasks[victim].answered = 0
                    continue
                changes.append(self._release(victim))
            task = self._tasks[first]
            task.slot, task.granted = heapq.heappop(self._free), True
            task.since, task.answered = now, 0
            self._holders[first] = None
            self._shares.take(turn, first)
            changes.append(Grant(first, task.slot))
        return changes

    def check_integrity(self) -> None:
        """Raise ValueError unless every slot is free or held by exactly one process."""
        held = [t.slot for t in self._tasks.values() if t.slot is not None]
        if sorted(held + self._free) != list(range(self.slots)):
            raise ValueError(f"slots leaked: held {sorted(held)}, free {sorted(self._free)}")

    def _victim(self, turn: int, first: int, now: float, settle: float) -> int | None:
        """The holder whose turn is over when one waits for a turn that is its own, or another's.

        Without one, `due` may say when.
        """
        urgent = self._tasks[first].rank == len(PRIORITIES) - 1
        settled = now - settle
        for pid in self._idle:
            if urgent or self._tasks[pid].since <= settled:
                return pid
        if self._idle:
            self.due = min(self._tasks[pid].since for pid in self._idle) + settle
        if not self._preempt:
            return None
        yielding = []
        for pid in self._holders:
            task = self._tasks[pid]
            at_once = urgent and task.rank < len(PRIORITIES) - 1
            served = task.answered >= self._shares.quantum and task.since <= settled
            if at_once or served:
                excess = self._shares.excess(pid, turn)
                behind = served and self._is_behind(pid, first, excess, now)
                if behind or (at_once and excess > 0):
                    yielding.append((excess, pid))
        return max(yielding)[1] if yielding else None

    def _is_behind(self, holder: int, first: int, excess: float, now: float) -> bool:
        """Whether the turn of a holder that has had its quantum is over."""
        return excess > 1 or self._shares.goes_before(first, holder, now)

    def _goes_on(self, holder: int, first: int, now: float) -> bool:
        """Whether a holder whose turn is over has another, before one that waits."""
        shares, runnable = self._shares, self._tasks[holder].runnable
        return runnable and shares.goes_before(holder, first, now) and not shares.overdue(first)

    def _release(self, pid: int) -> Revoke:
        task = self._tasks[pid]
        slot = task.slot
        if slot is None:
            raise ValueError(f"PID {pid} holds no slot")
        task.slot, task.granted = None, False
        self._holders.pop(pid)
        self._idle.pop(pid, None)
        heapq.heappush(self._free, slot)
        if task.runnable:
            self._shares.wait(pid, task.arrival)
        return Revoke(pid, slot)
