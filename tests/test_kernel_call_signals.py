"""Whatever is asked of a process, or happens, while it waits for a tool or a person."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.process import State, Wait
from tests.by_hand import ME, Screen, die, run, settle, words
from tests.callers import (
    ASK,
    NO_FILES,
    WORK,
    audited,
    calling,
    context,
    events,
    outcomes,
    rest,
)

WORDS = len(WORK.split(" "))

# Signals and the like, in each of the three waits

WAITS = {
    Wait.SYSCALL: (WORK, {}),
    Wait.APPROVAL: (WORK, {"approve": ["python"]}),
    Wait.ANSWER: (ASK, {}),
}


async def waiting(folder: Path, wait: Wait, **fields):
    """A process that waits so, and what ends its wait with the result `done`."""
    said, asked = WAITS[wait]
    bench = await calling(folder, {"go": said, "done": words(20)}, limits={"term_grace_tokens": 4})
    process = await bench.exec("go", **{"paths": NO_FILES, **asked, **fields})
    await rest(bench)
    assert (process.state, process.wait) == (State.WAITING, wait)

    async def proceed() -> None:
        if wait is Wait.ANSWER:
            bench.kernel.answer(ME, process.pid, "done")
        else:
            if wait is Wait.APPROVAL:
                bench.kernel.approve(ME, process.pid, 1)
            await settle()
            bench.kernel.gate.jail.end()
        await settle()

    return bench, process, proceed


each_wait = pytest.mark.parametrize("wait", list(WAITS), ids=lambda wait: wait.value)


@each_wait
def test_a_wait_ends_with_what_it_waits_for(tmp_path: Path, wait: Wait) -> None:
    async def main() -> None:
        bench, process, proceed = await waiting(tmp_path, wait)
        await asyncio.sleep(5)
        assert process.state is State.WAITING
        await proceed()
        assert process.state is State.RUNNING
        await rest(bench)
        assert process.reason == "stop"
        now = bench.kernel.clock()
        assert sum(process.times(now).values()) == pytest.approx(process.elapsed(now))
        assert process.times(now)["syscall" if wait is Wait.SYSCALL else "waiting"] == pytest.approx(5)

    run(main())


@each_wait
@pytest.mark.parametrize("signal", ["kill", "term"])
def test_a_signal_ends_a_call_with_its_process_and_its_jail(tmp_path: Path, wait: Wait, signal: str) -> None:
    async def main() -> None:
        bench, process, _ = await waiting(tmp_path, wait)
        getattr(bench.kernel, signal)(ME, 1)
        await settle()
        assert process.state is (State.KILLED if signal == "kill" else State.TERMINATED)
        assert bench.kernel.gate.jail.running == []
        assert bench.kernel.gate.people.of(1) is None
        assert 1 in bench.screen.ends
        assert len(events(bench, "session_finished")) == 1
        with pytest.raises(KernelError, match="PID_NOT_FOUND"):
            bench.kernel.approve(ME, 1, 1)
        tool = "ask_human" if wait is Wait.ANSWER else "python"
        assert outcomes(bench) == [(1, tool, "CANCELLED")]
        assert [event["outcome"] for event in events(bench, "syscall_finished")] == ["CANCELLED"]
        assert bench.kernel._changing == set()

    run(main())


@each_wait
def test_a_call_goes_on_while_its_process_is_suspended(tmp_path: Path, wait: Wait) -> None:
    async def main() -> None:
        bench, process, proceed = await waiting(tmp_path, wait)
        bench.kernel.suspend(ME, 1)
        await proceed()
        assert process.state is State.SUSPENDED
        assert context(process) == "go|done"
        assert not bench.engine.step()
        bench.kernel.resume(ME, 1, None)
        await settle()
        assert process.state is State.RUNNING
        await rest(bench)
        assert process.reason == "stop"

    run(main())


@each_wait
def test_a_process_resumed_before_its_call_is_over_waits_as_before(tmp_path: Path, wait: Wait) -> None:
    async def main() -> None:
        bench, process, proceed = await waiting(tmp_path, wait)
        bench.kernel.suspend(ME, 1)
        await settle()
        bench.kernel.resume(ME, 1, None)
        assert (process.state, process.wait) == (State.WAITING, wait)
        assert not bench.engine.step()
        await proceed()
        await rest(bench)
        assert process.reason == "stop"

    run(main())


@each_wait
def test_what_a_waiting_process_can_not_do(tmp_path: Path, wait: Wait) -> None:
    async def main() -> None:
        bench, process, proceed = await waiting(tmp_path, wait, interactive=True)
        kernel = bench.kernel
        for refused in (kernel.stop_output, kernel.continue_output):
            with pytest.raises(KernelError, match="WRONG_STATE"):
                refused(ME, 1)
        with pytest.raises(KernelError, match="WRONG_STATE"):
            await kernel.send_input(ME, 1, "more", bench.screen)
        with pytest.raises(KernelError, match="WRONG_STATE"):
            await kernel.fork(ME, 1, 1, bench.screen)
        assert (process.state, process.wait, len(kernel.table)) == (State.WAITING, wait, 1)
        await proceed()
        await rest(bench)
        assert (process.wait, process.reason) == (Wait.INPUT, "stop")

    run(main())


def test_a_snapshot_of_a_waiting_process_can_be_gone_on_from(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": "[[ASK: a?]]"})  # words short enough to be kept
        process = await bench.exec("go")
        await rest(bench)
        await bench.kernel.snapshot(ME, 1, "here")
        other = await bench.exec("hello", **{"from": "here"}, interactive=True)
        await rest(bench)
        assert context(other) == "go|hello"
        assert process.wait is Wait.ANSWER
        bench.kernel.answer(ME, 1, "done")
        await rest(bench)
        assert process.reason == other.reason == "stop"

    asyncio.run(main())  # the time that passes while a file is written is short


@each_wait
@pytest.mark.parametrize("policy", ["kill", "detach", "suspend"])
def test_a_client_that_leaves_during_a_call(tmp_path: Path, wait: Wait, policy: str) -> None:
    async def main() -> None:
        bench, process, proceed = await waiting(tmp_path, wait, on_disconnect=policy)
        bench.kernel.disconnected(bench.screen)
        await settle()
        if policy == "kill":
            assert (process.state, process.reason) == (State.KILLED, "disconnected")
            assert bench.kernel.gate.jail.running == []
            return
        await proceed()
        other = Screen()
        if policy == "suspend":
            assert process.state is State.SUSPENDED
            bench.kernel.resume(ME, 1, other)
        await rest(bench)
        assert process.reason == "stop"
        assert other.text.get(1) == (words(20) if policy == "suspend" else None)

    run(main())


@each_wait
def test_an_engine_that_dies_during_a_call_is_not_noticed(tmp_path: Path, wait: Wait) -> None:
    async def main() -> None:
        bench, process, proceed = await waiting(tmp_path, wait, interactive=True)
        await die(bench)
        assert (process.state, process.wait, len(bench.engines)) == (State.WAITING, wait, 2)
        assert not bench.engine.step()
        await proceed()
        await rest(bench)
        assert context(process) == "go|done"
        assert bench.screen.text[1] == f"{WAITS[wait][0]}\n{words(20)}"

    run(main())


@each_wait
def test_a_broken_model_ends_calls_with_their_processes(tmp_path: Path, wait: Wait) -> None:
    async def main() -> None:
        bench, process, _ = await waiting(tmp_path, wait)
        for _ in range(3):
            await die(bench)
        assert (process.state, process.reason) == (State.FAILED, "engine_failed")
        assert bench.kernel.gate.jail.running == []

    run(main())


@each_wait
def test_a_draining_kernel_waits_for_tools_but_not_for_people(tmp_path: Path, wait: Wait) -> None:
    async def main() -> None:
        bench, process, proceed = await waiting(tmp_path, wait)
        drained = asyncio.get_running_loop().create_task(bench.kernel.drain(60))
        await settle()
        if wait is Wait.SYSCALL:
            assert process.state is State.WAITING
            await proceed()
            await rest(bench)
        await drained
        assert process.reason == ("stop" if wait is Wait.SYSCALL else "shutdown")
        await bench.kernel.close()
        assert len(audited(bench)) == 1

    run(main())


def test_a_drain_that_is_over_ends_a_call_and_writes_it_down(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process, _ = await waiting(tmp_path, Wait.SYSCALL)
        await bench.kernel.drain(1)
        await bench.kernel.close()
        assert process.reason == "shutdown"
        assert outcomes(bench) == [(1, "python", "CANCELLED")]

    run(main())
