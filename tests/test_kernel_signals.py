"""Signals to a process in each of its states, disconnects, events and the way down."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import Process, State, Wait
from tests.by_hand import ADMIN, MARKER, ME, OTHER, Bench, Screen, boot, run, words

LIVE = ("queued", "admitted", "running", "stopped", "waiting", "behind", "suspended")


async def in_state(bench: Bench, which: str) -> Process:
    """A process with PID 3 in one of the live states; PIDs 1 and 2 may hold the slots."""
    for _ in range(2):
        await bench.exec()
    if which != "queued":
        bench.kernel.kill(ME, 1)
    process = await bench.exec(interactive=True, max_tokens=3)
    if which not in ("queued", "admitted"):
        bench.step()
        bench.screen.full = which == "behind"
        bench.step()
        bench.screen.full = False
    if which == "stopped":
        bench.kernel.stop_output(ME, 3)
    elif which == "waiting":
        bench.step()
    elif which == "suspended":
        bench.kernel.suspend(ME, 3)
    states = {"queued": "Ready", "admitted": "Running", "running": "Running", "suspended": "Suspended"}
    waits = {"stopped": Wait.EVENT, "waiting": Wait.INPUT, "behind": Wait.OUTPUT}
    assert (process.state.value, process.wait) == (states.get(which, "Waiting"), waits.get(which))
    return process


@pytest.mark.parametrize("which", LIVE)
def test_after_kill_there_is_nothing_but_the_marker(tmp_path: Path, which: str) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await in_state(bench, which)
        before = bench.screen.text.get(3)
        assert bench.kernel.kill(ME, 3) is process
        assert bench.screen.dropped[-1] == 3
        late = port.Step(1, 1.0, 1, [port.Output(3, [7], b" late", 9)])
        bench.engine.on_step(late)
        bench.step(5)
        assert bench.screen.text.get(3) == before
        assert re.fullmatch(MARKER % (3, process.generated), bench.screen.ends[3])
        assert (process.state, process.reason) == (State.KILLED, "killed")
        with pytest.raises(KernelError, match="PID_NOT_FOUND: PID 3 has ended"):
            bench.kernel.kill(ME, 3)

    run(main())


def test_killing_frees_the_slot_for_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        waiting = await in_state(bench, "queued")
        bench.kernel.kill(ME, 2)
        assert waiting.state is State.RUNNING

    run(main())


def test_signals_to_nobody_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        kernel = (await boot(tmp_path)).kernel
        for signal in (kernel.kill, kernel.term, kernel.suspend, kernel.stop_output, kernel.continue_output):
            with pytest.raises(KernelError, match="PID_NOT_FOUND: PID 1 is unknown"):
                signal(ME, 1)
        assert kernel.counters["signals"] == 0

    run(main())


def test_a_terminated_process_finishes_its_sentence(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: 'One two. Three "four." Five six.')
        process = await bench.exec()
        bench.step(3)
        bench.kernel.term(ME, 1)
        assert process.state is State.RUNNING
        bench.finish()
        assert bench.screen.text[1] == 'One two. Three "four."'
        assert (process.state, process.reason) == (State.TERMINATED, "terminated")

    run(main())


def test_a_sentence_without_end_is_cut_when_the_grace_is_used_up(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, limits={"term_grace_tokens": 4})
        process = await bench.exec()
        bench.step(3)
        bench.kernel.term(ME, 1)
        bench.finish()
        assert (bench.screen.text[1], process.reason) == (words(7), "terminated")

    run(main())


def test_a_process_that_gave_way_in_its_sentence_finishes_it_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 1}, limits={"term_grace_tokens": 4})
        process = await bench.exec()
        bench.step(3)
        await bench.exec(priority="critical", max_tokens=2)
        assert process.state is State.READY
        bench.kernel.term(ME, 1)
        bench.finish()
        assert (bench.screen.text[1], process.reason) == (words(7), "terminated")

    run(main())


def test_a_second_term_does_not_wait_for_the_sentence(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec()
        bench.step(3)
        bench.kernel.term(ME, 1)
        bench.kernel.term(ME, 1)
        assert process.state is State.TERMINATED
        assert bench.screen.text[1] == words(3)

    run(main())


@pytest.mark.parametrize("which", sorted({*LIVE} - {"running"}))
def test_a_process_that_is_not_in_a_sentence_terminates_at_once(tmp_path: Path, which: str) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await in_state(bench, which)
        bench.kernel.term(ME, 3)
        assert (process.state, process.reason) == (State.TERMINATED, "terminated")
        assert 3 in bench.screen.ends

    run(main())


@pytest.mark.parametrize("fields", [{"max_tokens": 4}, {"stop": " w3"}])
def test_an_interactive_process_that_is_terminated_ends_with_its_turn(tmp_path: Path, fields: dict) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(interactive=True, **fields)
        bench.step(2)
        bench.kernel.term(ME, 1)
        bench.finish()
        assert process.state is State.TERMINATED
        assert process.reason == "terminated"

    run(main())


def test_a_suspended_process_loses_nothing_and_keeps_its_slot_until_it_is_needed(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(max_tokens=5)
        bench.step(2)
        bench.kernel.suspend(ME, 1)
        bench.step(3)
        assert (process.state, bench.screen.text[1]) == (State.SUSPENDED, words(2))
        bench.kernel.resume(ME, 1, None)
        bench.step(1)
        bench.kernel.suspend(ME, 1)
        for _ in range(2):
            await bench.exec(max_tokens=1)
        assert bench.sent(port.Revoke) == [port.Revoke(1, keep=True)]
        bench.finish()
        bench.kernel.resume(ME, 1, None)
        bench.finish()
        assert (process.reason, bench.screen.text[1]) == ("length", words(5))

    run(main())


@pytest.mark.parametrize("which", ["queued", "running", "stopped", "waiting"])
def test_a_resumed_process_is_where_it_was(tmp_path: Path, which: str) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await in_state(bench, which)
        before = (process.state, process.wait)
        bench.kernel.suspend(ME, 3)
        assert (process.state, process.wait) == (State.SUSPENDED, None)
        bench.kernel.resume(ME, 3, None)
        assert (process.state, process.wait) == before

    run(main())


def test_a_turn_that_ended_while_suspended_waits_for_input_when_resumed(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(interactive=True, max_tokens=3)
        bench.step(2)
        bench.kernel.suspend(ME, 1)
        late = port.Step(1, 1.0, 1, [port.Output(1, [7], b" late", 3, "length")])
        bench.engine.on_step(late)
        assert process.state is State.SUSPENDED
        bench.kernel.resume(ME, 1, None)
        assert (process.state, process.wait, process.reason) == (State.WAITING, Wait.INPUT, "length")
        assert bench.screen.text[1] == words(2) + " late"

    run(main())


@pytest.mark.parametrize(
    ("method", "states"),
    [
        ("suspend", ["suspended"]),
        ("resume", sorted({*LIVE} - {"suspended"})),
        ("stop_output", ["waiting", "suspended"]),
        ("continue_output", ["queued", "admitted", "running", "suspended"]),
    ],
)
def test_a_signal_out_of_place_is_refused_and_changes_nothing(
    tmp_path: Path, method: str, states: list[str]
) -> None:
    async def main() -> None:
        for which in states:
            bench = await boot(tmp_path)
            process = await in_state(bench, which)
            before = (process.state, process.wait, len(bench.engine.sent), dict(bench.kernel.counters))
            arguments = (ME, 3, None) if method == "resume" else (ME, 3)
            with pytest.raises(KernelError, match="WRONG_STATE"):
                getattr(bench.kernel, method)(*arguments)
            after = (process.state, process.wait, len(bench.engine.sent), dict(bench.kernel.counters))
            assert after == before, which
            await bench.kernel.close()

    run(main())


def test_stopped_output_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec()
        bench.step(2)
        for _ in range(2):
            bench.kernel.stop_output(ME, 1)
            bench.step(2)
        assert (process.wait, bench.screen.text[1]) == (Wait.EVENT, words(2))
        bench.kernel.continue_output(ME, 1)
        bench.step(2)
        assert bench.screen.text[1] == words(4)

    run(main())


def test_what_a_gone_clients_processes_do_is_their_own_choice(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 4})
        gone = Screen()
        killed, detached, suspended = [
            await bench.exec(sink=gone, on_disconnect=choice, max_tokens=6)
            for choice in ("kill", "detach", "suspend")
        ]
        stays = await bench.exec()
        bench.step(2)
        bench.kernel.disconnected(gone)
        assert (killed.state, killed.reason) == (State.KILLED, "disconnected")
        assert (detached.state, suspended.state, stays.state) == (
            State.RUNNING,
            State.SUSPENDED,
            State.RUNNING,
        )
        back = Screen()
        bench.kernel.resume(ME, 3, back)
        bench.step(4)
        assert (detached.state, detached.generated) == (State.DONE, 6)
        assert back.text[3] == words(4, start=2)
        assert gone.text == {pid: words(2) for pid in (1, 2, 3)}
        assert (gone.ends, set(back.ends)) == ({}, {3})
        assert bench.screen.text[4] == words(6)

    run(main())


def test_a_detached_process_does_not_wait_for_the_reader_that_left(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        gone = Screen()
        gone.full = True
        process = await bench.exec(sink=gone, on_disconnect="detach", max_tokens=3)
        bench.step(2)
        assert process.wait is Wait.OUTPUT
        bench.kernel.disconnected(gone)
        bench.finish()
        assert (process.state, process.generated) == (State.DONE, 3)

    run(main())


def test_a_suspended_process_stays_so_when_its_client_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(on_disconnect="suspend")
        bench.kernel.suspend(ME, 1)
        bench.kernel.disconnected(bench.screen)
        assert (process.state, process.sink) == (State.SUSPENDED, None)

    run(main())


def test_subscribers_learn_what_they_may_see(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        mine, others, all_ = Screen(), Screen(), Screen()
        for owner, screen in ((ME, mine), (OTHER, others), (ADMIN, all_)):
            bench.kernel.events.subscribe(owner, screen)
        await bench.exec(max_tokens=2)
        await bench.exec(owner=OTHER, sink=Screen())
        bench.step(2)
        bench.kernel.kill(OTHER, 2)
        bench.kernel.disconnected(mine)
        bench.kernel.emit("model_changed", model="x")
        assert mine.events[0] == {
            "kind": "session_started", "pid": 1, "workload": "general", "priority": "normal"
        }  # fmt: skip
        finished = mine.events[1]
        assert finished.pop("elapsed_secs") == sum(finished.pop("times").values()) >= 0
        assert finished == {
            "kind": "session_finished", "pid": 1, "state": "Done", "reason": "length", "tokens_generated": 2
        }  # fmt: skip
        assert others.kinds() == ["session_started", "session_finished", "model_changed"]
        assert [event.get("pid") for event in all_.events] == [1, 2, 1, 2, None]
        assert len(mine.events) == 2

    run(main())


def test_a_client_is_streamed_to_while_a_process_of_its_goes_on_by_itself(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        kernel, screen = bench.kernel, Screen()
        await bench.exec(sink=screen)
        assert (kernel.streams_to(screen), kernel.streams_to(bench.screen)) == (True, False)
        kernel.stop_output(ME, 1)
        assert not kernel.streams_to(screen)
        kernel.continue_output(ME, 1)
        assert kernel.streams_to(screen)
        kernel.suspend(ME, 1)
        assert not kernel.streams_to(screen)
        kernel.resume(ME, 1, None)
        assert kernel.streams_to(screen)
        kernel.kill(ME, 1)
        assert not kernel.streams_to(screen)

    run(main())
