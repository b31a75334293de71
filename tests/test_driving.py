"""Who drives a process, under any order of starts, take-overs, ends and goings, beside a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agentkernel.driving import Drivers
from agentkernel.errors import KernelError
from agentkernel.process import Process
from tests.by_hand import Screen
from tests.test_process import process

PIDS, SINKS = (1, 2), (0, 1, 2)


@dataclass
class One:
    """A process that lives, and by place who drives it and who did."""

    process: Process
    drives: int | None
    drove: set[int] = field(default_factory=set)
    epoch: int = 1
    told: int = 0


class DrivingMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.drivers = Drivers()
        self.sinks = {place: Screen() for place in SINKS}
        self.live: dict[int, One] = {}

    @rule(pid=st.sampled_from(PIDS), place=st.sampled_from(SINKS), seen=st.booleans())
    def start(self, pid: int, place: int, seen: bool) -> None:
        """It begins; or comes back, when nobody drives it."""
        if pid not in self.live:
            one = self.live[pid] = One(process(pid), place if seen else None)
            one.process.on_change = lambda _process: setattr(one, "told", one.told + 1)
            if seen:
                self.drivers.begin(pid, self.sinks[place])

    @rule(pid=st.sampled_from(PIDS), place=st.sampled_from(SINKS))
    def take(self, pid: int, place: int) -> None:
        if (one := self.live.get(pid)) is not None:
            told = one.told
            self.drivers.take(one.process, self.sinks[place])
            one.drove = (one.drove | ({one.drives} - {None})) - {place}
            one.drives, one.epoch = place, one.epoch + 1
            assert one.told == told + 1  # it is written down

    @rule(pid=st.sampled_from(PIDS))
    def end(self, pid: int) -> None:
        self.drivers.end(pid)
        self.live.pop(pid, None)

    @rule(place=st.sampled_from(SINKS))
    def leave(self, place: int) -> None:
        """The connection is closed; who comes then is another."""
        self.drivers.gone(self.sinks[place])
        self.sinks[place] = Screen()
        for one in self.live.values():
            one.drove.discard(place)
            one.drives = None if one.drives == place else one.drives

    @invariant()
    def who_drove_it_may_not_and_everybody_else_may(self) -> None:
        for one in getattr(self, "live", {}).values():
            assert one.process.epoch == one.epoch
            for place, sink in self.sinks.items():
                assert self.may(one, sink, None) is (place not in one.drove)
                assert [self.may(one, sink, one.epoch + more) for more in (-1, 0, 1)] == [False, True, False]

    @invariant()
    def nobody_is_remembered_who_is_gone(self) -> None:
        if hasattr(self, "live"):
            known = {id(sink) for sink in self.sinks.values()}
            assert self.drivers._now.keys() | self.drivers._former.keys() <= self.live.keys()
            assert {id(sink) for sink in self.drivers._now.values()} <= known
            assert {id(sink) for former in self.drivers._former.values() for sink in former} <= known

    def may(self, one: One, sink: Screen, epoch: int | None) -> bool:
        try:
            self.drivers.check(one.process, sink, epoch)
        except KernelError:
            return False
        return True


TestDriving = DrivingMachine.TestCase
TestDriving.settings = settings(max_examples=60, stateful_step_count=30)


def test_who_drove_it_is_told_the_epoch() -> None:
    drivers, one, two = Drivers(), Screen(), Screen()
    taken = process(7)
    drivers.begin(7, one)
    drivers.take(taken, two)
    with pytest.raises(KernelError, match="STALE_EPOCH: PID 7 was taken over: its epoch is 2") as caught:
        drivers.check(taken, one, None)
    assert caught.value.details == {"epoch": 2}
    drivers.check(taken, two, None)
