"""Who is admitted: as many as its lane takes, and who can be in time.

Rules
1. A lane that is full refuses, and says when it may not be any more, or has who asks so wait for it.
2. Nobody overtakes those who wait; their owners take turns. Who leaves is out of the list at once.
3. Who was let in counts as queued until its process is, unless a slot is free for it: no lane is overrun.
4. What is told of the future was measured, or is not told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from agentkernel.config import Limits
from agentkernel.errors import KernelError
from agentkernel.estimates import Left, Load, Pace
from agentkernel.events import Events
from agentkernel.lanes import Waitlist
from agentkernel.plan import LANES, Lane
from agentkernel.process import Owner, Process, Sink
from agentkernel.serving import Served


@dataclass(slots=True, eq=False)
class Waiting:
    """An EXEC, its PID to be, and where its output will go; `told` is the place that was last told of."""

    pid: int
    owner: Owner
    lane: Lane
    sink: Sink | None
    told: int = 0
    let_in: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class _Door:
    """One model's: who waits in front of it, and who has passed and is no process yet."""

    def __init__(self) -> None:
        self.lists: dict[Lane, Waitlist[Waiting]] = {lane: Waitlist() for lane in LANES}
        self.passing: Counter[Lane] = Counter()


class Admission:
    """The lanes of every model."""

    def __init__(self, limits: Limits, events: Events) -> None:
        self._events, self._most = events, limits.waiting
        bounds = (limits.queued, limits.queued_batch, limits.queued_background)
        self._bounds = dict(zip(LANES, bounds, strict=True))
        self._doors: WeakKeyDictionary[Served, _Door] = WeakKeyDictionary()
        self._waiting: dict[Waiting, Served] = {}
        self._untold: set[Served] = set()

    def __repr__(self) -> str:
        return f"<Admission waiting={len(self._waiting)}>"

    def waiting(self, served: Served, lane: Lane) -> int:
        """How many wait until the lane has room for them."""
        return len(self._door(served).lists[lane])

    def check(self, served: Served, lane: Lane, *, wait: bool) -> None:
        """Raise BUSY for who can neither pass nor wait."""
        waiting = self.waiting(served, lane)
        if self._room(served, lane) or (wait and waiting < self._most):
            return
        queued, load = served.scheduler.queued(lane), load_of(served)
        place = served.scheduler.waiting + waiting + 1
        details: dict[str, Any] = {
            "position": queued + waiting + 1,
            "estimate_ms": load and load.slot_ms(place),
            "retry_after_ms": load and load.end_ms(waiting + 1),
        }
        known = " ".join(f"{key}={value}" for key, value in details.items() if value is not None)
        raise KernelError(
            "BUSY", f"{queued} processes wait for a slot: {known}", {"queued": queued, **details}
        )

    @contextlib.asynccontextmanager
    async def passed(self, served: Served, who: Waiting) -> AsyncIterator[None]:
        """Begin once the lane has room. Raises SHUTTING_DOWN; CancelledError when who asked is gone."""
        with served.expecting():
            try:
                await self._pass(served, who)
                yield
            finally:  # its process is queued, or runs, a round of the event loop later
                asyncio.get_running_loop().call_soon(self._is_through, served, who)

    def gone(self, sink: Sink) -> None:
        """A client is gone: what it asked for waits no more."""
        for who, served in list(self._waiting.items()):
            if who.sink is sink:
                self._strike(served, who)
                who.let_in.cancel()

    def close(self) -> None:
        """Nobody is let in any more."""
        for who, served in list(self._waiting.items()):
            self._strike(served, who)
            if not who.let_in.done():
                who.let_in.set_exception(KernelError("SHUTTING_DOWN"))

    def _door(self, served: Served) -> _Door:
        door = self._doors.get(served)
        if door is None:
            door = self._doors[served] = _Door()
            served.on_room = partial(self._let_in, served)
        return door

    async def _pass(self, served: Served, who: Waiting) -> None:
        door = self._door(served)
        if self._room(served, who.lane):
            door.passing[who.lane] += 1
            who.let_in.set_result(None)
            return
        self._waiting[who] = served
        door.lists[who.lane].add(who.owner.id, who)
        self._tell_soon(served)
        try:
            await who.let_in
        finally:
            self._strike(served, who)

    def _is_through(self, served: Served, who: Waiting) -> None:
        if who.let_in.done() and not who.let_in.cancelled() and who.let_in.exception() is None:
            self._door(served).passing[who.lane] -= 1
        self._let_in(served)

    def _room(self, served: Served, lane: Lane) -> bool:
        """Whether the next who asks may pass."""
        return not self.waiting(served, lane) and self._below(served, lane)

    def _below(self, served: Served, lane: Lane) -> bool:
        scheduler, passing = served.scheduler, self._door(served).passing
        unplaced = min(passing[lane], max(0, passing.total() - scheduler.free))
        return scheduler.queued(lane) + unplaced < self._bounds[lane]

    def _let_in(self, served: Served) -> None:
        """Let in whom there is room for."""
        door = self._door(served)
        for lane, waitlist in door.lists.items():
            while waitlist and self._below(served, lane):
                who = waitlist.take()
                door.passing[lane] += 1
                who.let_in.set_result(None)
                self._tell_soon(served)

    def _strike(self, served: Served, who: Waiting) -> None:
        self._waiting.pop(who, None)
        self._door(served).lists[who.lane].remove(who.owner.id, who)
        self._tell_soon(served)

    def _tell_soon(self, served: Served) -> None:
        """Places have changed: tell of them, once for all that happens now."""
        if served not in self._untold:
            self._untold.add(served)
            asyncio.get_running_loop().call_soon(self._tell, served)

    def _tell(self, served: Served) -> None:
        self._untold.discard(served)
        load = load_of(served)
        for lane, waitlist in self._door(served).lists.items():
            for place, who in enumerate(waitlist.order(), 1):
                if who.told != place:
                    who.told, ends = place, load and load.end_ms(place)
                    where = {"lane": lane, "position": place, "estimate_ms": ends}
                    self._events.tell(who.owner, "queued", pid=who.pid, **where)


def load_of(served: Served) -> Load | None:
    """What the model has to do for those that run; None until its rates are measured, and while it is out."""
    rates, scheduler = served.paging.pager.rates, served.scheduler
    if rates.prefill.value is None or rates.step.value is None or not served.up:
        return None
    running = [
        Left(max(0, len(process.tokens) - served.paging.tokens(process.pid)[1]), process.budget)
        for process in map(served.processes.__getitem__, scheduler.running)
    ]
    return Load(Pace(rates.prefill.value, rates.step.value), scheduler.slots, scheduler.quantum, running)


def slot_ms(served: Served, place: int) -> int | None:
    """How long who has that place among those that wait for a slot will, if that was measured; None for 0."""
    load = load_of(served) if place else None
    return None if load is None else load.slot_ms(place)


def check_deadlines(process: Process, served: Served, now: float) -> None:
    """Raise DEADLINE_UNREACHABLE for a new process that can't have its answer in time, at best."""
    given, load = process.deadlines, load_of(served)
    if process.parent or load is None:
        return
    place = served.scheduler.earlier(process.pid, now) + 1
    estimates = load.answer_ms(place, len(process.tokens), process.budget)
    waited = round((now - process.created) * 1e3)
    for most, takes, what in zip(
        (given.ttft_ms, given.deadline_ms), estimates, ("first token", "answer"), strict=True
    ):
        if most and takes + waited > most:
            text = f"the {what} would take {takes + waited} ms, which is more than {most}"
            raise KernelError("DEADLINE_UNREACHABLE", text, {"estimate_ms": takes + waited})
