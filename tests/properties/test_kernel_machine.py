"""The kernel under any order of requests, signals, steps, disconnects and engine deaths, beside a model.

The model knows of each process what it was asked and what was sent of it. It does not know when a
slot is had: tokens are taken from the process, and everything else must follow from them.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentkernel.errors import KernelError
from agentkernel.process import Owner, Process, State, Wait
from tests.by_hand import MARKER, ME, OTHER, Bench, JumpingLoop, Screen, boot, settle, words

OWNERS = (ME, OTHER)
CONTEXT, GRACE, PROCESSES = 96, 3, 6
tokens = st.integers(1, 30)
screens = st.integers(0, 1)
requests = st.fixed_dictionaries(
    {
        "prompt": st.integers(1, 20).map("x".__mul__),
        "max_tokens": st.integers(1, 6),
        "limits": st.fixed_dictionaries({"max_tokens": tokens}),
        "interactive": st.sampled_from([True, True, False]),
        "on_disconnect": st.sampled_from(["kill", "detach", "suspend"]),
        "priority": st.sampled_from(["low", "normal", "critical"]),
    }
)


@dataclass
class Expected:
    """What is known of one process from outside."""

    process: Process
    owner: Owner
    screen: Screen | None
    waiter: asyncio.Task[Process]
    quota: int
    turn_limit: int
    earlier: int = 0  # tokens of the turns before this one
    turn: int = 0  # tokens of this turn
    shown: dict[Screen, str] = field(default_factory=dict)
    ended: bool = False


class KernelMachine(RuleBasedStateMachine):
    @initialize(slots=st.integers(1, 3))
    def begin(self, slots: int) -> None:
        self.logs = structlog.testing.capture_logs()
        self.logs.__enter__()
        self.loop, self.folder = JumpingLoop(), tempfile.TemporaryDirectory()
        limits = {"processes": PROCESSES, "ended_processes": 4, "term_grace_tokens": GRACE}
        engine = {"slots": slots, "context": CONTEXT}
        self.bench: Bench = self.run(boot(Path(self.folder.name), engine=engine, limits=limits))
        self.kernel = self.bench.kernel
        self.known: dict[int, Expected] = {}
        self.screens = [Screen(), Screen()]
        self.all_screens = list(self.screens)
        self.deaths: list[float] = []
        self.last_pid = 0

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.run(self.kernel.drain(0))
        assert all(process.state.ended for process in self.processes())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()
        self.logs.__exit__(None, None, None)

    def run(self, main):
        return self.loop.run_until_complete(main)

    def code(self, main) -> str:
        """The error's code of what is awaited, or nothing."""
        try:
            self.run(main)
        except KernelError as error:
            return error.code
        return ""

    def processes(self) -> list[Process]:
        return [known.process for known in self.known.values()]

    def pick(self, data: st.DataObject) -> Expected:
        """A live process, or the last that is known."""
        live = [pid for pid, known in self.known.items() if not known.ended]
        return self.known[data.draw(st.sampled_from(sorted({*live, max(self.known)})))]

    def call(self, known: Expected, allowed: bool, method, *arguments) -> bool:
        """Call a kernel method as the owner; it succeeds when allowed, else says why it can't."""
        pid, live = known.process.pid, not known.ended
        for other in OWNERS:
            if other is not known.owner and live:
                with pytest.raises(KernelError, match="FORBIDDEN"):
                    method(other, pid, *arguments)
        if live and allowed:
            method(known.owner, pid, *arguments)
            return True
        with pytest.raises(KernelError, match="WRONG_STATE" if live else "PID_NOT_FOUND"):
            method(known.owner, pid, *arguments)
        return False

    # What clients do

    @rule(owner=st.sampled_from(OWNERS), to=screens, asked=requests)
    def exec(self, owner: Owner, to: int, asked: dict) -> None:
        full, broken = len(self.kernel.table) == PROCESSES, self.kernel.models.current().broken
        code = self.code(self.bench.exec(owner=owner, sink=self.screens[to], **asked))
        assert code == ("SPAWN_FAILED" if full else "ENGINE_FAILED" if broken else "")
        self.last_pid += not full
        if code:
            return
        process = self.kernel.find(owner, self.last_pid)
        waiter = self.loop.create_task(self.kernel.wait(owner, process.pid, None))
        quota, limit = asked["limits"]["max_tokens"], asked["max_tokens"]
        self.known[process.pid] = Expected(process, owner, self.screens[to], waiter, quota, limit)
        self.run(settle())

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        known = self.pick(data)
        if self.call(known, True, self.kernel.kill):
            self.must_end(known, State.KILLED, "killed")

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def term(self, data: st.DataObject) -> None:
        known = self.pick(data)
        process = known.process
        decoding = process.state is State.RUNNING and process.phase == "decode" and not process.terminating
        if self.call(known, True, self.kernel.term):
            if decoding:
                known.turn_limit = min(known.turn_limit, known.turn + GRACE)
            else:
                self.must_end(known, State.TERMINATED, "terminated")

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def suspend(self, data: st.DataObject) -> None:
        known = self.pick(data)
        if self.call(known, known.process.state is not State.SUSPENDED, self.kernel.suspend):
            assert known.process.state is State.SUSPENDED

    @precondition(lambda self: self.known)
    @rule(data=st.data(), to=screens)
    def resume(self, data: st.DataObject, to: int) -> None:
        known = self.pick(data)
        suspended = known.process.state is State.SUSPENDED
        if self.call(known, suspended, self.kernel.resume, self.screens[to]):
            self.gains_reader(known, to)
            assert known.process.state is not State.SUSPENDED

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def stop_output(self, data: st.DataObject) -> None:
        known = self.pick(data)
        quiet = known.process.wait is Wait.INPUT or known.process.state is State.SUSPENDED
        if self.call(known, not quiet, self.kernel.stop_output):
            assert known.process.wait is Wait.EVENT

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def continue_output(self, data: st.DataObject) -> None:
        known = self.pick(data)
        process = known.process
        over = process.wait is Wait.INPUT
        if self.call(known, process.wait is Wait.EVENT or over, self.kernel.continue_output) and over:
            known.turn_limit += process.plan.max_tokens

    @precondition(lambda self: self.known)
    @rule(data=st.data(), length=st.integers(1, 20), to=screens)
    def send_input(self, data: st.DataObject, length: int, to: int) -> None:
        waiting = [pid for pid, known in self.known.items() if known.process.wait is Wait.INPUT]
        known = self.known[data.draw(st.sampled_from(waiting))] if waiting else self.pick(data)
        process = known.process
        stopped = process.wait is Wait.EVENT and process.plan.interactive
        takes = (process.wait is Wait.INPUT or stopped) and not process.terminating
        fits = len(process.tokens) + length + 1 < CONTEXT
        before = (process.state, process.wait)
        code = self.code(self.kernel.send_input(known.owner, process.pid, "y" * length, self.screens[to]))
        if known.ended:
            assert code == "PID_NOT_FOUND"
        elif not takes:
            assert code == "WRONG_STATE"
        else:
            self.gains_reader(known, to)
            assert code == ("" if fits else "MEMORY_ADMISSION")
        if code:
            assert (process.state, process.wait) == before
        else:
            known.earlier, known.turn = process.generated, 0
            known.turn_limit = process.plan.max_tokens

    @precondition(lambda self: self.known)
    @rule(data=st.data(), quota=tokens)
    def set_quota(self, data: st.DataObject, quota: int) -> None:
        known = self.pick(data)
        generated = known.process.generated
        if self.call(known, True, self.kernel.set_quota, {"max_tokens": quota}):
            known.quota = quota
            if generated >= quota:
                self.must_end(known, State.DONE, "quota")

    @precondition(lambda self: self.known)
    @rule(data=st.data(), priority=st.sampled_from(["low", "high"]))
    def set_priority(self, data: st.DataObject, priority: str) -> None:
        known = self.pick(data)
        if self.call(known, True, self.kernel.set_priority, priority):
            assert known.process.priority == priority

    @rule(to=screens)
    def disconnect(self, to: int) -> None:
        gone, self.screens[to] = self.screens[to], Screen()
        self.all_screens.append(self.screens[to])
        self.kernel.disconnected(gone)
        assert not self.kernel.streams_to(gone)
        for known in self.known.values():
            if known.screen is not gone or known.ended:
                continue
            known.screen = None
            policy = known.process.plan.on_disconnect
            if policy == "kill":
                self.must_end(known, State.KILLED, "disconnected")
            elif policy == "suspend":
                assert known.process.state is State.SUSPENDED

    @rule(to=screens)
    def fall_behind(self, to: int) -> None:
        self.screens[to].full = True

    @rule(to=screens)
    def catch_up(self, to: int) -> None:
        self.screens[to].full = False
        for pid, known in self.known.items():
            if known.screen is self.screens[to]:
                self.kernel.readable(pid)
                assert known.process.wait is not Wait.OUTPUT

    # What the engine does

    @rule(count=st.integers(1, 6))
    def step(self, count: int) -> None:
        self.bench.step(count)
        self.run(settle())
        for known in self.known.values():
            if not known.ended:
                self.follow(known, count)

    @rule(seconds=st.sampled_from([0.0, 0.5, 25.0, 61.0]))
    def die(self, seconds: float) -> None:
        if self.kernel.models.current().broken:
            return
        self.run(asyncio.sleep(seconds))
        self.deaths.append(self.loop.time())
        self.run(self.kill_engine())
        broken = len(self.deaths) >= 3 and self.deaths[-1] - self.deaths[-3] < 60
        assert self.kernel.models.current().broken == broken
        if broken:
            for known in self.known.values():
                if not known.ended:
                    self.must_end(known, State.FAILED, "engine_failed")

    async def kill_engine(self) -> None:
        self.bench.engine.die()
        await settle()

    @precondition(lambda self: self.kernel.models.current().broken)
    @rule()
    def load_again(self) -> None:
        self.run(self.kernel.models.load("demo"))
        self.deaths.clear()

    # What must follow

    def gains_reader(self, known: Expected, to: int) -> None:
        known.screen = known.screen or self.screens[to]

    def follow(self, known: Expected, steps: int) -> None:
        """After steps: what was said follows from the tokens, and so does whether there may be more."""
        process, before = known.process, known.turn
        known.turn = process.generated - known.earlier
        assert 0 <= known.turn - before <= steps
        if known.screen is not None:
            said = words(known.turn)[len(words(before)) :]
            known.shown[known.screen] = known.shown.get(known.screen, "") + said
        assert known.turn <= known.turn_limit
        assert process.generated <= known.quota
        whole = process.prompt_tokens + process.generated == CONTEXT
        over = {"length": known.turn == known.turn_limit, "terminated": known.turn == known.turn_limit}
        over |= {"quota": process.generated == known.quota, "context_full": whole}
        if process.state.ended:
            assert over[process.reason]
            state = State.TERMINATED if process.reason == "terminated" else State.DONE
            self.must_end(known, state, process.reason)
        elif any(over.values()):
            assert process.plan.interactive
            assert not over["quota"]
            assert not over["context_full"]
            assert process.wait is Wait.INPUT or process.state is State.SUSPENDED

    def must_end(self, known: Expected, state: State, reason: str) -> None:
        process = known.process
        assert (process.state, process.reason) == (state, reason)
        known.ended = True
        if known.screen is not None:
            marker = known.screen.ends[process.pid]
            assert re.fullmatch(MARKER % (process.pid, process.generated), marker)
        self.run(settle())
        assert known.waiter.result() is process

    @invariant()
    def what_was_said_was_shown_once(self) -> None:
        for pid, known in self.known.items():
            shown = {screen: screen.text[pid] for screen in self.all_screens if pid in screen.text}
            assert shown == {screen: said for screen, said in known.shown.items() if said}

    @invariant()
    def ends_are_told_once_to_who_was_there(self) -> None:
        for pid, known in self.known.items():
            told = {screen for screen in self.all_screens if pid in screen.ends}
            assert told == ({known.screen} if known.ended and known.screen else set())
            assert known.ended == known.process.state.ended == known.waiter.done()

    @invariant()
    def slots_are_conserved_and_nobody_waits_beside_a_free_one(self) -> None:
        served = self.kernel.models.current()
        served.scheduler.check_integrity()
        live = [p for p in self.processes() if not p.state.ended]
        assert set(served.processes) == {p.pid for p in live}
        assert len(self.kernel.table) == len(live)
        holders = [p for p in live if served.scheduler.slot(p.pid) is not None]
        if any(p.state is State.READY for p in live):
            assert len(holders) == served.load.slots
            settling = served.scheduler.due is not None  # one that can't run gives way soon
            assert settling or {p.state for p in holders} == {State.RUNNING}
        assert {p.pid for p in live if p.state is State.RUNNING} <= {p.pid for p in holders}

    @invariant()
    def times_add_up(self) -> None:
        now = self.loop.time() + 3
        for process in self.processes():
            assert sum(process.times(now).values()) == pytest.approx(process.elapsed(now))


KernelMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
TestKernel = KernelMachine.TestCase
