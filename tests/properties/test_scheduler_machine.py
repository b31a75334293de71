"""The scheduler under any order of calls, beside a model of who may run and who holds what."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentkernel.process import PRIORITIES
from agentkernel.scheduler import Grant, Revoke, Scheduler

QUANTUM = 5
priorities = st.sampled_from(PRIORITIES)
niceness = st.just(0) | st.integers(-20, 19)


@dataclass(slots=True)
class Wanted:
    """What the model knows of one process; `running` when the last change let it run."""

    priority: str
    arrival: int
    runnable: bool = True
    slot: int | None = None
    running: bool = False

    said: int = 0  # tokens, since it got its slot


class SchedulerMachine(RuleBasedStateMachine):
    @initialize(slots=st.integers(1, 4))
    def begin(self, slots: int) -> None:
        self.scheduler = Scheduler(slots, quantum=QUANTUM)
        self.model: dict[int, Wanted] = {}
        self.idle: list[int] = []  # holders that can't run, longest first
        self.clock = 0

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    @rule(priority=priorities, nice=niceness)
    def add(self, priority: str, nice: int) -> None:
        pid = self.tick()
        self.model[pid] = Wanted(priority, pid)
        self.scheduler.add(pid, priority, nice=nice)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        pid = data.draw(st.sampled_from(sorted(self.model)))
        del self.model[pid]
        self.idle = [each for each in self.idle if each != pid]
        self.scheduler.remove(pid)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), runnable=st.booleans())
    def set_runnable(self, data: st.DataObject, runnable: bool) -> None:
        pid = data.draw(st.sampled_from(sorted(self.model)))
        task = self.model[pid]
        if runnable and not task.runnable and task.slot is None:
            task.arrival = self.tick()
        task.runnable = runnable
        task.running = task.running and runnable
        if runnable:
            self.idle = [each for each in self.idle if each != pid]
        elif task.slot is not None and pid not in self.idle:
            self.idle.append(pid)
        self.scheduler.set_runnable(pid, runnable=runnable)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), priority=priorities, nice=niceness)
    def set_priority(self, data: st.DataObject, priority: str, nice: int) -> None:
        pid = data.draw(st.sampled_from(sorted(self.model)))
        self.model[pid].priority = priority
        self.scheduler.set_priority(pid, priority, nice)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), deadline=st.sampled_from([1.0, 5.0, 9.0, float("inf")]))
    def set_deadline(self, data: st.DataObject, deadline: float) -> None:
        self.scheduler.set_deadline(data.draw(st.sampled_from(sorted(self.model))), deadline)

    @rule()
    def reset(self) -> None:
        for task in self.model.values():
            task.slot, task.running = None, False
        self.idle.clear()
        self.scheduler.reset()

    @rule(steps=st.integers(1, 2 * QUANTUM))
    def serve(self, steps: int) -> None:
        running = [pid for pid, task in self.model.items() if task.running]
        for _ in range(steps):
            self.scheduler.commit(dict.fromkeys(running, 1), running)
        for pid in running:
            self.model[pid].said += steps

    @rule()
    def assign(self) -> None:
        for change in self.scheduler.assign():
            task = self.model[change.pid]
            assert 0 <= change.slot < self.scheduler.slots
            if isinstance(change, Revoke):
                self.revoked(change)
                continue
            assert isinstance(change, Grant)
            assert task.runnable
            assert not task.running
            if task.slot is None:
                taken = {other.slot for other in self.model.values()}
                assert change.slot == min(set(range(self.scheduler.slots)) - taken)
                task.said = 0
            task.slot, task.running = change.slot, True
        self.nobody_waits_beside_a_slot_that_could_be_had()
        assert self.scheduler.assign() == []

    def revoked(self, change: Revoke) -> None:
        """The holder idle longest goes first; a running one has had its quantum, or is less urgent."""
        task = self.model[change.pid]
        assert task.slot == change.slot
        if not task.runnable:
            assert change.pid == self.idle.pop(0)
        else:
            assert not self.idle
            urgent = any(pid for pid, other in self.waiting() if other.priority == "critical")
            assert task.said >= QUANTUM or (urgent and task.priority != "critical")
        task.slot, task.running = None, False

    def waiting(self) -> list[tuple[int, Wanted]]:
        """Runnable processes that don't run."""
        return [(pid, task) for pid, task in self.model.items() if task.runnable and not task.running]

    def nobody_waits_beside_a_slot_that_could_be_had(self) -> None:
        holders = [task for task in self.model.values() if task.slot is not None]
        if self.waiting():
            assert len(holders) == self.scheduler.slots
            assert all(task.running for task in holders)

    @invariant()
    def slots_are_conserved_and_known(self) -> None:
        self.scheduler.check_integrity()
        assert {pid: self.scheduler.slot(pid) for pid in self.model} == {
            pid: task.slot for pid, task in self.model.items()
        }

    @invariant()
    def who_waits_has_a_place_of_its_own(self) -> None:
        waiting = {pid for pid, task in self.waiting() if task.slot is None}
        places = {pid: self.scheduler.position(pid) for pid in self.model}
        assert sorted(places[pid] for pid in waiting) == list(range(1, len(waiting) + 1))
        assert not any(place for pid, place in places.items() if pid not in waiting)
        assert self.scheduler.waiting == len(waiting)


SchedulerMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=60)
TestScheduler = SchedulerMachine.TestCase
