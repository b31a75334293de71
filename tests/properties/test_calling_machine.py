"""The kernel with processes that call, under any order of requests, answers, ends of jobs and engine deaths.

Nothing is predicted of what a process says; whatever happens, what is known of it in different places has to
agree, each call is written down once, and in the end nobody waits for ever.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentkernel.errors import KernelError
from agentkernel.process import Process, State, Wait
from agentkernel.syscalls.verification import verify
from tests.by_hand import ME, Bench, JumpingLoop, Screen, settle
from tests.callers import ASK, NO_FILES, SUM, WORK, Held, Slow, audited, call, calling
from tests.fake_jail import ended

# What the model says to a prompt, an input or a result; to anything else: "ok".
SAID = {
    "sum": f"Well,\n{SUM}",
    "work": WORK,
    "ask": ASK,
    "hear": call("receive", seconds=50),
    "tell": call("send", pid=1, text="work"),
    "sleep": call("sleep", seconds=3),
    "child": call("spawn", prompt="work"),
    "twin": call("spawn", prompt="hear", wait=False),
    "fly": call("fly", to="Rome"),
    "talk": "one two three four five six seven eight",
    "5": "So it is 5.",
    "go on": WORK,
    "again": SUM,
    "error: TOOL_NOT_FOUND: no tool named fly": call("fly", to="Rome"),
}
PROMPTS = sorted(set(SAID) - {"5", "go on", "again", "error: TOOL_NOT_FOUND: no tool named fly"})
CALLS = (Wait.SYSCALL, Wait.APPROVAL, Wait.ANSWER)
prompts = st.sampled_from(PROMPTS)
replies = st.sampled_from(["fine", "go on", "again", "fly", "x" * 300])
requests = st.fixed_dictionaries(
    {
        "prompt": prompts,
        "max_tokens": st.sampled_from([3, 8, 40, 40]),
        "max_syscalls": st.integers(0, 6),
        "interactive": st.booleans(),
        "approve": st.sampled_from([[], [], ["*"], ["python"]]),
        "on_disconnect": st.sampled_from(["kill", "detach", "suspend"]),
        "context_strategy": st.sampled_from(["stop", "slide", "summarize"]),
    }
)


class CallingMachine(RuleBasedStateMachine):
    @initialize(slots=st.integers(1, 2), context=st.sampled_from([64, 160]))
    def begin(self, slots: int, context: int) -> None:
        self.logs = structlog.testing.capture_logs()
        self.logged = self.logs.__enter__()
        self.loop, self.folder = JumpingLoop(), tempfile.TemporaryDirectory()
        self.made = {
            "engine": {"slots": slots, "context": context},
            "limits": {"processes": 6, "ended_processes": 100, "term_grace_tokens": 3},
            "tools": {"messages": 1, "approval_seconds": 60.0, "answer_seconds": 60.0, "calls": 4},
        }
        self.jail = Held()
        self.bench: Bench = self.run(calling(Path(self.folder.name), SAID, self.jail, make=Slow, **self.made))
        self.kernel, self.observer = self.bench.kernel, self.bench.screen
        self.screens = [Screen(), Screen()]
        self.processes: dict[int, Process] = {}
        self.asked: list[asyncio.Task[Any]] = []

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.everything_comes_to_an_end()
        self.run(self.kernel.drain(0))
        self.run(self.kernel.close())
        report = verify(self.kernel.config.audit_file)
        assert report.ok
        assert all(process.state.ended for process in self.processes.values())
        assert self.jail.running == []
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()
        self.logs.__exit__(None, None, None)
        assert [entry for entry in self.logged if entry["log_level"] in ("error", "critical")] == []

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(main)

    def do(self, method, *arguments) -> Any:
        """Call it in the loop."""

        async def main() -> Any:
            return method(*arguments)

        return self.run(main())

    def ask(self, request: Coroutine[Any, Any, Any]) -> None:
        """Ask the kernel something; what it answers comes when it comes."""
        self.asked.append(self.loop.create_task(request))
        self.settle()

    def settle(self) -> None:
        self.run(settle())
        for process in self.kernel.table:
            self.processes.setdefault(process.pid, process)

    def tell(self, method, *arguments) -> None:
        """Have the kernel do something; it may refuse."""
        refused = ""
        try:
            self.do(method, ME, *arguments)
        except KernelError as error:
            refused = error.code
        assert refused in ("", "WRONG_STATE", "PID_NOT_FOUND", "CALL_NOT_FOUND")
        self.settle()

    def pick(self, data: st.DataObject) -> int:
        """The PID of a live process, or of the last."""
        live = [process.pid for process in self.kernel.table]
        return data.draw(st.sampled_from(sorted({*live, max(self.processes, default=1)})))

    def asking(self, data: st.DataObject) -> int:
        """That of one that asks a person, if any."""
        asking = [p.pid for p in self.kernel.table if self.kernel.gate.people.of(p.pid) is not None]
        return data.draw(st.sampled_from(asking)) if asking else self.pick(data)

    # What clients do

    @rule(asked=requests, screen=st.integers(0, 1))
    def exec(self, asked: dict, screen: int) -> None:
        self.ask(self.bench.exec(sink=self.screens[screen], paths=NO_FILES, **asked))

    @rule(data=st.data(), text=prompts)
    def send_input(self, data: st.DataObject, text: str) -> None:
        self.ask(self.kernel.send_input(ME, self.pick(data), text, self.screens[0]))

    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        self.ask(self.kernel.fork(ME, self.pick(data), 1, self.screens[0]))

    @rule(data=st.data(), what=st.sampled_from(["kill", "term"]))
    def end(self, data: st.DataObject, what: str) -> None:
        self.tell(getattr(self.kernel, what), self.pick(data))

    @rule(data=st.data(), what=st.sampled_from(["suspend", "stop_output", "continue_output"]))
    def hold(self, data: st.DataObject, what: str) -> None:
        self.tell(getattr(self.kernel, what), self.pick(data))

    @rule(data=st.data(), screen=st.integers(0, 1))
    def resume(self, data: st.DataObject, screen: int) -> None:
        self.tell(self.kernel.resume, self.pick(data), self.screens[screen])

    @rule(data=st.data(), tokens=st.none() | st.integers(1, 40), calls=st.none() | st.integers(1, 6))
    def set_quota(self, data: st.DataObject, tokens: int | None, calls: int | None) -> None:
        self.tell(self.kernel.set_quota, self.pick(data), tokens, calls)

    @rule(data=st.data(), number=st.sampled_from([0, 0, 0, 1]), refuse=st.booleans())
    def decide(self, data: st.DataObject, number: int, refuse: bool) -> None:
        pid = self.asking(data)
        number += self.processes[pid].called if pid in self.processes else 1
        if refuse:
            self.tell(self.kernel.deny, pid, number, "no")
        else:
            self.tell(self.kernel.approve, pid, number)

    @rule(data=st.data(), text=replies)
    def answer(self, data: st.DataObject, text: str) -> None:
        self.tell(self.kernel.answer, self.asking(data), text)

    @rule(screen=st.integers(0, 1))
    def disconnect(self, screen: int) -> None:
        gone, self.screens[screen] = self.screens[screen], Screen()
        self.do(self.kernel.disconnected, gone)
        self.settle()

    @rule(screen=st.integers(0, 1))
    def fall_behind(self, screen: int) -> None:
        self.screens[screen].full = True

    @rule()
    def catch_up(self) -> None:
        for screen in self.screens:
            screen.full = False
        for process in self.kernel.table:
            self.do(self.kernel.readable, process.pid)
        self.settle()

    # What happens by itself

    @rule(count=st.integers(1, 8))
    def step(self, count: int) -> None:
        for _ in range(count):
            self.do(self.bench.step)
            self.settle()

    @rule(count=st.integers(1, 6), data=st.data(), what=st.sampled_from(["suspend", "stop_output", "term"]))
    def step_late(self, count: int, data: st.DataObject, what: str) -> None:
        """A signal while the engine makes a step."""
        self.do(self.bench.step, count)
        batcher = self.bench.engine._batcher
        if self.processes and batcher is not None and batcher.busy:
            step = batcher.step()
            stepped = [output.pid for output in step.outputs if output.end] or [self.pick(data)]
            self.tell(getattr(self.kernel, what), stepped[0])
            self.do(self.bench.engine.on_step, step)
        self.settle()

    @precondition(lambda self: self.jail.running)
    @rule(data=st.data(), output=replies, status=st.sampled_from([0, 0, 1]))
    def end_job(self, data: st.DataObject, output: str, status: int) -> None:
        key = data.draw(st.sampled_from(self.jail.running))
        self.jail._running.pop(key).set_result(ended(output.encode(), status))
        self.settle()

    @rule(shut=st.booleans())
    def gate(self, shut: bool) -> None:
        """The engine answers requests later, or those that it has not answered."""
        gate = self.bench.engine.gate
        (gate.clear if shut else gate.set)()
        self.settle()

    @rule(seconds=st.sampled_from([0.1, 2.0, 12.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))
        self.settle()

    @precondition(lambda self: not self.kernel.models.current().broken)
    @rule(seconds=st.sampled_from([30.0, 61.0]))
    def die(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))
        engine = self.bench.engine
        self.do(engine.die)
        engine.gate.set()  # what it was asked fails
        self.settle()

    # What has to agree

    @invariant()
    def who_calls_waits_and_who_waits_calls(self) -> None:
        for process in self.kernel.table:
            question = self.kernel.gate.people.of(process.pid)
            if process.calls and process.state is not State.SUSPENDED and process.wait is not Wait.EVENT:
                assert process.state is State.WAITING
                kinds = {None: Wait.SYSCALL, "approval": Wait.APPROVAL, "answer": Wait.ANSWER}
                assert process.wait is kinds[question and question.kind]
                assert process.phase == ("syscall" if process.wait is Wait.SYSCALL else "waiting")
            if not process.calls:
                assert process.wait not in CALLS
                assert question is None
                if process.state is State.SUSPENDED:
                    assert process.waiting_before not in CALLS

    @invariant()
    def what_belongs_to_calls_is_of_live_processes_that_call(self) -> None:
        live = {process.pid: process for process in self.kernel.table}
        gate = self.kernel.gate
        callers = {pid for pid, process in live.items() if process.plan.permits is not None}
        assert set(gate._callers) == set(gate.mailboxes._boxes) == callers
        assert {pid for pid, _ in gate.people._open} <= set(live)
        assert self.kernel._changing <= set(live)
        for key in self.jail.running:
            assert live[int(key.partition(".")[0])].calls
        for pid, caller in gate._callers.items():
            assert caller.call is None or live[pid].calls

    @invariant()
    def each_call_is_written_down_once(self) -> None:
        calls = (entry for entry in audited(self.bench) if entry["outcome"] != "QUOTA")  # it was none
        written = Counter(entry["pid"] for entry in calls)
        for pid, process in self.processes.items():
            caller = self.kernel.gate._callers.get(pid)
            under_way = caller is not None and caller.call is not None
            assert written[pid] == process.called - under_way
        told = Counter(event["kind"] for event in self.observer.events)
        under_way = sum(caller.call is not None for caller in self.kernel.gate._callers.values())
        assert (
            told["syscall"] == told["syscall_finished"] + under_way == self.kernel.gate.counters["syscalls"]
        )
        assert told["session_started"] == told["session_finished"] + len(self.kernel.table)

    @invariant()
    def times_add_up(self) -> None:
        now = self.loop.time() + 3
        for process in self.processes.values():
            assert sum(process.times(now).values()) == pytest.approx(process.elapsed(now))

    @invariant()
    def quotas_hold(self) -> None:
        for process in self.processes.values():
            if not process.state.ended:
                assert process.generated < process.quota_tokens
                assert process.turn_tokens <= process.turn_limit

    @invariant()
    def slots_are_conserved_and_nobody_waits_beside_a_free_one(self) -> None:
        served = self.kernel.models.current()
        served.scheduler.check_integrity()
        served.paging.pager.check_integrity()
        live = list(self.kernel.table)
        assert set(served.processes) == {process.pid for process in live}
        holders = [process for process in live if served.scheduler.slot(process.pid) is not None]
        changing = self.kernel._changing
        if any(process.state is State.READY and process.pid not in changing for process in live):
            assert len(holders) == served.load.slots or not served._up.is_set()
        running = {process.pid for process in live if process.state is State.RUNNING}
        assert running <= {process.pid for process in holders}

    @invariant()
    def requests_fail_only_as_they_may(self) -> None:
        for task in self.asked:
            if task.done():
                assert isinstance(task.exception(), KernelError | None)

    def everything_comes_to_an_end(self) -> None:
        """When all goes on that can, and everybody gets an answer, nobody waits but for input."""
        for process in self.kernel.table:
            process.quota_syscalls = min(process.quota_syscalls, process.syscalls + 3)
        for _ in range(300):
            self.gate(shut=False)
            self.catch_up()
            self.step(count=3)
            for key in self.jail.running:
                self.jail._running.pop(key).set_result(ended(b"fine"))
            self.settle()
            for process in self.kernel.table:
                self.goes_on(process)
            self.wait(seconds=1.0)
            if all(process.wait is Wait.INPUT for process in self.kernel.table):
                break
        assert [p for p in self.kernel.table if p.wait is not Wait.INPUT] == []
        assert all(task.done() for task in self.asked)

    def goes_on(self, process: Process) -> None:
        if process.state is State.SUSPENDED:
            self.tell(self.kernel.resume, process.pid, self.screens[0])
        if process.wait is Wait.EVENT:
            self.tell(self.kernel.continue_output, process.pid)
        if process.wait is Wait.APPROVAL:
            self.tell(self.kernel.approve, process.pid, process.called)
        if process.wait is Wait.ANSWER:
            self.tell(self.kernel.answer, process.pid, "fine")


CallingMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestCalling = CallingMachine.TestCase
