"""Calls in the kernel: what a process waits for meanwhile, how its turn goes on, what ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import State, Wait
from tests.by_hand import ME, Screen, die, run, settle, words
from tests.callers import (
    ASK,
    NO_FILES,
    SUM,
    WORK,
    Slow,
    audited,
    call,
    calling,
    context,
    events,
    outcomes,
    rest,
)

WORDS = len(WORK.split(" "))


def test_a_call_stops_the_turn_and_its_result_joins_the_context(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": f"Let me see.\n{SUM}", "5": "It is 5."})
        process = await bench.exec("go")
        await rest(bench)
        assert bench.screen.text[1] == f"Let me see.\n{SUM}\nIt is 5."
        assert context(process) == ""  # it has ended
        assert (process.state, process.reason, process.syscalls, process.called) == (State.DONE, "stop", 1, 1)
        assert process.generated == len(f"Let me see.\n{SUM}".split(" ")) + 3
        assert outcomes(bench) == [(1, "calc", "ok")]
        assert bench.kernel.counters["execs"] == 1

    run(main())


def test_text_behind_a_call_is_neither_shown_nor_generated(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": f"{SUM} and so on and on", "5": "It is 5."})
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        assert bench.screen.text[1] == f"{SUM}\nIt is 5."
        assert context(process) == "go|5"

    run(main())


def test_the_time_of_a_call_is_a_phase_of_its_own_and_times_add_up(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("sleep", seconds=30)})
        process = await bench.exec("go")
        for _ in range(4):
            bench.engine.step()
        assert (process.state, process.wait, process.phase) == (State.WAITING, Wait.SYSCALL, "syscall")
        await asyncio.sleep(31)
        await rest(bench)
        times = process.times(bench.kernel.clock())
        assert times["syscall"] == pytest.approx(30)
        assert sum(times.values()) == pytest.approx(process.elapsed(bench.kernel.clock()))
        assert "|ok: slept 30 seconds" not in bench.screen.text[1]

    run(main())


def test_a_slot_is_for_others_during_a_call_and_nothing_is_read_twice(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": "yes"}, engine={"slots": 1})
        served, jail = bench.kernel.models.current(), bench.kernel.gate.jail
        first = await bench.exec("go", paths=NO_FILES)
        await rest(bench)
        assert first.wait is Wait.SYSCALL
        second = await bench.exec("x" * 50)
        await asyncio.sleep(1)  # the slot settles
        await rest(bench)
        assert second.reason == "stop"
        assert [revoke.keep for revoke in bench.sent(port.Revoke) if revoke.pid == 1] == [True]
        before = served.prompt_tokens
        jail.end()
        await asyncio.sleep(1)
        await rest(bench)
        assert first.reason == "stop"
        assert served.prompt_tokens - before <= len("|done") + 1
        assert bench.screen.text[1] == f"{WORK}\nyes"

    run(main())


def test_several_calls_follow_each_other_within_one_turn(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("calc", expression="1+1"), "2": call("calc", expression="2*2"), "4": "so 4"}
        bench = await calling(tmp_path, said)
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        assert context(process).startswith("go|2|4")
        (finished,) = events(bench, "turn_finished")
        assert (process.wait, process.called, finished["tokens_generated"]) == (Wait.INPUT, 2, 8)
        await bench.kernel.send_input(ME, 1, "more", bench.screen)
        await rest(bench)
        assert events(bench, "turn_finished")[-1]["tokens_generated"] == 1
        assert [entry["call"] for entry in audited(bench)] == [1, 2]

    run(main())


def test_max_tokens_counts_on_behind_a_result(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": words(100)})
        process = await bench.exec("go", max_tokens=10)
        await rest(bench)
        assert (process.generated, process.reason) == (10, "length")
        assert bench.screen.text[1] == f"{SUM}\n{words(7)}"

    run(main())


def test_a_quota_counts_on_behind_a_result(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": words(100)})
        process = await bench.exec("go", limits={"max_tokens": 10})
        await rest(bench)
        assert (process.generated, process.reason) == (10, "quota")

    run(main())


@pytest.mark.parametrize(("fields", "reason"), [({}, "length"), ({"limits": {"max_tokens": 3}}, "quota")])
def test_a_call_that_ends_with_the_last_token_is_not_made(tmp_path: Path, fields, reason: str) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})
        process = await bench.exec("go", **({"max_tokens": 3} if reason == "length" else fields))
        await rest(bench)
        assert (process.state, process.reason, process.called) == (State.DONE, reason, 0)
        assert outcomes(bench) == []

    run(main())


def test_a_new_limit_during_a_call_holds_behind_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": words(50)})
        process = await bench.exec("go", paths=NO_FILES)
        await rest(bench)
        bench.kernel.set_quota(ME, 1, WORDS + 4, None)
        bench.kernel.gate.jail.end()
        await rest(bench)
        assert (process.generated, process.reason) == (WORDS + 4, "quota")

    run(main())


def test_a_limit_set_while_a_result_is_appended_lets_no_turn_grow(tmp_path: Path) -> None:
    """The engine counts the new part of the turn from its start, and so does the limit."""

    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": words(50)}, make=Slow)
        process = await bench.exec("go", max_tokens=10)
        bench.engine.gate.clear()
        await rest(bench)
        assert process.calls
        bench.kernel.set_quota(ME, 1, 1000, None)
        bench.engine.gate.set()
        await rest(bench)
        assert (process.generated, process.reason) == (10, "length")

    run(main())


def test_an_interactive_process_takes_input_behind_its_calls_but_not_within(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": "well", "next": SUM, "5": "five"})
        process = await bench.exec("go", interactive=True, paths=NO_FILES)
        await rest(bench)
        with pytest.raises(KernelError, match="WRONG_STATE"):
            await bench.kernel.send_input(ME, 1, "next", bench.screen)
        bench.kernel.gate.jail.end()
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "next", bench.screen)
        await rest(bench)
        assert context(process) == "go|done|next|5"
        assert bench.screen.text[1] == f"{WORK}\nwell{SUM}\nfive"

    run(main())


def test_a_second_process_is_not_held_up_by_the_first_ones_call(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "other": SUM, "5": "five"})
        await bench.exec("go", paths=NO_FILES)
        other = await bench.exec("other")
        await rest(bench)
        assert other.reason == "stop"

    run(main())


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


# The moment in which a result is appended


async def appending(folder: Path, **fields):
    """A process whose result is on its way into the context."""
    bench = await calling(folder, {"go": SUM, "5": words(20)}, make=Slow, limits={"term_grace_tokens": 4})
    process = await bench.exec("go", **fields)
    bench.engine.gate.clear()
    await rest(bench)
    assert (process.wait, process.called, len(audited(bench))) == (Wait.SYSCALL, 1, 1)
    return bench, process


@pytest.mark.parametrize("signal", ["kill", "term"])
def test_a_signal_while_a_result_is_appended(tmp_path: Path, signal: str) -> None:
    async def main() -> None:
        bench, process = await appending(tmp_path)
        getattr(bench.kernel, signal)(ME, 1)
        bench.engine.gate.set()
        await rest(bench)
        assert process.state.ended
        assert bench.screen.text[1] == f"{SUM}\n"
        assert outcomes(bench) == [(1, "calc", "ok")]
        assert bench.kernel._changing == set()

    run(main())


def test_suspended_while_a_result_is_appended(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await appending(tmp_path)
        bench.kernel.suspend(ME, 1)
        bench.engine.gate.set()
        await settle()
        assert process.state is State.SUSPENDED
        bench.kernel.resume(ME, 1, None)
        await rest(bench)
        assert process.reason == "stop"

    run(main())


def test_suspended_and_resumed_while_a_result_is_appended(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await appending(tmp_path)
        bench.kernel.suspend(ME, 1)
        bench.kernel.resume(ME, 1, None)
        await settle()
        assert not bench.engine.step()
        bench.engine.gate.set()
        await rest(bench)
        assert (process.reason, bench.screen.text[1]) == ("stop", f"{SUM}\n{words(20)}")

    run(main())


def test_an_engine_that_dies_while_a_result_is_appended(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await appending(tmp_path, interactive=True)
        dead = bench.engine
        dead.die()
        dead.gate.set()
        await rest(bench)
        assert bench.screen.text[1] == f"{SUM}\n{words(20)}"
        assert context(process) == "go|5"

    run(main())


def test_no_fork_or_snapshot_has_half_a_result(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await appending(tmp_path)
        with pytest.raises(KernelError, match="WRONG_STATE"):
            await bench.kernel.fork(ME, 1, 1, bench.screen)
        bench.engine.gate.set()
        await settle()
        bench.step(3)
        (child,) = await bench.kernel.fork(ME, 1, 1, bench.screen)
        await rest(bench)
        assert child.reason == process.reason == "stop"
        assert bench.screen.text[child.pid] == words(20).removeprefix(words(3))

    run(main())


# Steps that come too late


@pytest.mark.parametrize("held", ["stop_output", "suspend"])
def test_a_call_in_the_step_behind_a_stop_is_made_and_the_stop_holds(tmp_path: Path, held: str) -> None:
    """The engine's step was under way when its process was stopped."""

    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": "well"})
        process = await bench.exec("go", paths=NO_FILES)
        bench.step(WORDS - 1)
        step = bench.engine._batcher.step()
        getattr(bench.kernel, held)(ME, 1)
        bench.engine.on_step(step)
        await settle()
        assert (process.state, process.wait) == (
            (State.WAITING, Wait.EVENT) if held == "stop_output" else (State.SUSPENDED, None)
        )
        assert bench.kernel.gate.jail.running == ["1.1"]
        if held == "stop_output":
            bench.kernel.continue_output(ME, 1)
        else:
            bench.kernel.resume(ME, 1, None)
        assert (process.state, process.wait) == (State.WAITING, Wait.SYSCALL)
        bench.kernel.gate.jail.end()
        await rest(bench)
        assert (process.reason, bench.screen.text[1]) == ("stop", f"{WORK}\nwell")

    run(main())


@pytest.mark.parametrize("held", ["stop_output", "suspend"])
def test_a_stop_outlasts_a_call(tmp_path: Path, held: str) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": "well"})
        process = await bench.exec("go", paths=NO_FILES)
        bench.step(WORDS - 1)
        step = bench.engine._batcher.step()
        getattr(bench.kernel, held)(ME, 1)
        bench.engine.on_step(step)
        await settle()
        bench.kernel.gate.jail.end()
        await rest(bench)
        assert bench.screen.text[1] == f"{WORK}\n"
        (bench.kernel.continue_output(ME, 1) if held == "stop_output" else bench.kernel.resume(ME, 1, None))
        await rest(bench)
        assert (process.reason, bench.screen.text[1]) == ("stop", f"{WORK}\nwell")

    run(main())


def test_a_stop_outlasts_an_approval_while_suspended(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": "well"})
        process = await bench.exec("go", approve=["calc"])
        bench.step(2)
        step = bench.engine._batcher.step()
        bench.kernel.stop_output(ME, 1)
        bench.engine.on_step(step)
        await settle()
        bench.kernel.suspend(ME, 1)
        bench.kernel.approve(ME, 1, 1)
        await settle()
        bench.kernel.resume(ME, 1, None)
        assert (process.state, process.wait) == (State.WAITING, Wait.EVENT)
        assert not bench.engine.step()
        bench.kernel.continue_output(ME, 1)
        await rest(bench)
        assert (process.reason, bench.screen.text[1]) == ("stop", f"{SUM}\nwell")

    run(main())


def test_a_call_in_the_step_behind_a_slow_readers_stop_waits_for_its_result(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": "well"})
        process = await bench.exec("go", paths=NO_FILES)
        bench.step(WORDS - 2)
        bench.screen.full = True
        bench.step()
        assert process.wait is Wait.OUTPUT
        bench.engine._batcher.sequence(1).held = False  # a step had begun when the hold came
        bench.engine._batcher._settle(bench.engine._batcher.sequence(1))
        bench.step()
        await settle()
        assert process.calls
        bench.screen.full = False
        bench.kernel.readable(1)
        assert (process.state, process.wait) == (State.WAITING, Wait.SYSCALL)
        bench.kernel.gate.jail.end()
        await rest(bench)
        assert (process.reason, bench.screen.text[1]) == ("stop", f"{WORK}\nwell")

    run(main())


def test_a_process_told_to_end_makes_no_call(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": f"a {SUM}".replace(" TOOL", "\nTOOL")})
        process = await bench.exec("go")
        bench.step()
        bench.kernel.term(ME, 1)
        await rest(bench)
        assert (process.state, process.reason, process.called) == (State.TERMINATED, "terminated", 0)

    run(main())


# Contexts that are full


def test_a_result_too_long_for_the_context_is_cut_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK}, engine={"context": 256})
        process = await bench.exec("go", paths=NO_FILES, interactive=True)
        await rest(bench)
        bench.kernel.gate.jail.end("é".encode() * 400)
        await rest(bench)
        assert process.reason == "stop"
        result = context(process).partition("|")[2].encode("latin-1").decode()
        kept, note = result.rsplit("\n", 1)
        assert note == "[cut: 800 bytes in all]"
        assert set(kept) == {"é"}
        assert len(kept.encode()) == 200

    run(main())


def test_a_result_that_can_not_be_cut_enough_ends_the_process(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"x" * 247: WORK}, engine={"context": 256})
        process = await bench.exec("x" * 247, paths=NO_FILES)
        await rest(bench)
        bench.kernel.gate.jail.end(b"y" * 400)
        await rest(bench)
        assert (process.state, process.reason) == (State.DONE, "context_full")

    run(main())


def test_old_turns_give_way_to_a_result(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"a" * 40: "yes", "go": WORK, "z" * 60: "well"}
        bench = await calling(tmp_path, said, engine={"context": 100})
        process = await bench.exec("a" * 40, paths=NO_FILES, interactive=True, context_strategy="slide")
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await rest(bench)
        bench.kernel.gate.jail.end(b"z" * 60)
        await rest(bench)
        assert context(process).endswith("go|" + "z" * 60)
        assert "a" not in context(process)
        assert len(events(bench, "context_slid")) == 1
        assert (process.wait, process.reason) == (Wait.INPUT, "stop")

    run(main())


def test_a_call_and_its_result_give_way_together(tmp_path: Path) -> None:
    """A result is no turn of its own: it never stands without its call."""

    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": "five"}, engine={"context": 64})
        process = await bench.exec("go", interactive=True, context_strategy="slide")
        await rest(bench)
        for text in ("next", "b" * 50):
            await bench.kernel.send_input(ME, 1, text, bench.screen)
            await rest(bench)
        assert context(process) == "|next|" + "b" * 50

    run(main())
