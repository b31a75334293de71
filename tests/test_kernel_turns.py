"""Interactive processes: turns, what is kept between them, and the kernel's way down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.engine import port
from agentkernel.engine.scripted import ScriptedEngine
from agentkernel.errors import KernelError
from agentkernel.process import State, Wait
from tests.by_hand import ME, Bench, Gated, Screen, boot, run, settle, words


def send(bench: Bench, text: str, pid: int = 1):
    return bench.kernel.send_input(ME, pid, text, bench.screen)


async def code(awaitable) -> str:
    with pytest.raises(KernelError) as caught:
        await awaitable
    return caught.value.code


def test_an_interactive_process_answers_turn_after_turn_and_keeps_its_context(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: f"re: {text}")
        bench.kernel.events.subscribe(ME, bench.screen)
        process = await bench.exec("one", interactive=True)
        bench.finish()
        assert (process.state, process.wait, process.reason) == (State.WAITING, Wait.INPUT, "stop")
        assert await send(bench, "two") is process
        bench.finish()
        assert bench.screen.text[1] == "re: onere: two"
        assert len(process.tokens) == process.prompt_tokens + process.generated
        assert process.generated == 4
        assert bench.sent(port.Grant) == [port.Grant(1, 0)] * 2
        assert bench.sent(port.Revoke) == []
        turns = [event for event in bench.screen.events if event["kind"] == "turn_finished"]
        assert [(turn["reason"], turn["tokens_generated"]) for turn in turns] == [("stop", 2)] * 2
        assert bench.screen.ends == {}

    run(main())


def test_max_tokens_bounds_a_turn_and_the_quota_the_process(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(interactive=True, max_tokens=3, limits={"max_tokens": 7})
        for turn in (1, 2):
            bench.finish()
            assert (process.generated, process.reason) == (3 * turn, "length")
            await send(bench, "more")
        bench.finish()
        assert (process.state, process.reason, process.generated) == (State.DONE, "quota", 7)
        assert bench.screen.text[1] == words(3) + words(3) + words(1)

    run(main())


def test_a_turn_that_hit_its_limit_can_be_continued(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(interactive=True, max_tokens=3)
        bench.finish()
        bench.kernel.continue_output(ME, 1)
        bench.finish()
        assert (process.wait, process.generated, bench.screen.text[1]) == (Wait.INPUT, 6, words(6))

    run(main())


def test_a_turn_that_came_to_its_end_cannot_be_continued(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: "done")
        await bench.exec(interactive=True)
        bench.finish()
        with pytest.raises(KernelError, match="WRONG_STATE"):
            bench.kernel.continue_output(ME, 1)

    run(main())


def test_input_to_a_stopped_turn_replaces_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: f"re: {text} and so on")
        await bench.exec("one", interactive=True)
        bench.step(2)
        bench.kernel.stop_output(ME, 1)
        await send(bench, "two")
        bench.finish()
        assert bench.screen.text[1] == "re: onere: two and so on"

    run(main())


@pytest.mark.parametrize("interactive", [False, True])
def test_only_a_process_that_waits_for_input_takes_it(tmp_path: Path, interactive: bool) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(interactive=interactive)
        bench.step(2)
        assert await code(send(bench, "x")) == "WRONG_STATE"
        bench.kernel.suspend(ME, 1)
        assert await code(send(bench, "x")) == "WRONG_STATE"
        bench.kernel.resume(ME, 1, None)
        assert process.state is State.RUNNING
        if not interactive:
            bench.kernel.stop_output(ME, 1)
            assert await code(send(bench, "x")) == "WRONG_STATE"
        assert await code(send(bench, "x", pid=2)) == "PID_NOT_FOUND"

    run(main())


@pytest.mark.parametrize("stopped", [False, True])
def test_input_that_does_not_fit_leaves_the_process_where_it_was(tmp_path: Path, stopped: bool) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"context": 64})
        process = await bench.exec(interactive=True, max_tokens=3)
        bench.step(2)
        if stopped:
            bench.kernel.stop_output(ME, 1)
        else:
            bench.step()
        before = (process.state, process.wait, list(process.tokens))
        assert await code(send(bench, "x" * 64)) == "MEMORY_ADMISSION"
        assert (process.state, process.wait, process.tokens) == before
        bench.kernel.continue_output(ME, 1)
        bench.finish()
        assert bench.screen.text[1] == words(3 if stopped else 6)

    run(main())


def test_input_brings_output_to_a_process_that_had_lost_its_reader(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: text)
        gone, back = Screen(), Screen()
        await bench.exec("one", sink=gone, interactive=True, on_disconnect="detach")
        bench.finish()
        bench.kernel.disconnected(gone)
        await bench.kernel.send_input(ME, 1, "two", back)
        bench.finish()
        assert (gone.text[1], back.text[1]) == ("one", "two")

    run(main())


def test_a_turn_that_ends_while_new_input_is_on_its_way_does_not_hold_it_up(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, make=Gated)
        process = await bench.exec(interactive=True, max_tokens=3)
        bench.step(2)
        bench.kernel.stop_output(ME, 1)
        bench.engine.gate.clear()
        asked = asyncio.ensure_future(send(bench, "next"))
        await settle()
        late = port.Step(1, 1.0, 1, [port.Output(1, [7], b"!", 3, "length")])
        bench.engine.on_step(late)
        bench.engine.gate.set()
        await asked
        assert process.state is State.RUNNING
        bench.finish()
        assert bench.screen.text[1] == words(2) + "!" + words(3)

    run(main())


@pytest.mark.parametrize("signal", ["kill", "suspend", "stop_output"])
def test_a_signal_while_new_input_is_on_its_way_holds(tmp_path: Path, signal: str) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, make=Gated)
        process = await bench.exec(interactive=True, max_tokens=3)
        bench.finish()
        bench.engine.gate.clear()
        asked = asyncio.ensure_future(send(bench, "next"))
        await settle()
        getattr(bench.kernel, signal)(ME, 1)
        bench.engine.gate.set()
        await asyncio.wait([asked])
        bench.finish()
        assert bench.screen.text[1] == words(3)
        if signal == "kill":
            assert (asked.exception().code, process.state) == ("PID_NOT_FOUND", State.KILLED)
            return
        bench.kernel.continue_output(ME, 1) if signal == "stop_output" else bench.kernel.resume(ME, 1, None)
        bench.finish()
        assert bench.screen.text[1] == words(3) * 2

    run(main())


# The way down


def test_draining_ends_what_waits_and_lets_the_rest_finish(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 4})
        waits = await bench.exec(interactive=True, max_tokens=1)
        sleeps, runs = [await bench.exec(max_tokens=4) for _ in range(2)]
        slow = Screen()
        slow.full = True
        behind = await bench.exec(sink=slow, max_tokens=4)
        bench.kernel.suspend(ME, 2)
        bench.step()
        draining = asyncio.ensure_future(bench.kernel.drain(60))
        await settle()
        assert await code(bench.exec()) == "SHUTTING_DOWN"
        assert (waits.state, sleeps.reason) == (State.TERMINATED, "shutdown")
        assert (runs.state, behind.state) == (State.RUNNING, State.WAITING)
        slow.full = False
        bench.kernel.readable(4)
        bench.finish()
        await draining
        assert [process.reason for process in (runs, behind)] == ["length", "length"]
        assert [*bench.screen.ends, *slow.ends] == [1, 2, 3, 4]
        assert bench.kernel.models.served == {}
        assert bench.kernel.clock() - bench.kernel.started < 60

    run(main())


def test_what_does_not_finish_in_time_is_ended(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        processes = [await bench.exec() for _ in range(3)]
        waiter = asyncio.ensure_future(bench.kernel.wait(ME, 3, None))
        await bench.kernel.drain(7)
        assert bench.kernel.clock() - bench.kernel.started == pytest.approx(7)
        assert {(p.state, p.reason) for p in processes} == {(State.TERMINATED, "shutdown")}
        assert set(bench.screen.ends) == {1, 2, 3}
        assert (await waiter).pid == 3

    run(main())


def test_a_turn_that_ends_while_draining_is_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(interactive=True, max_tokens=3)
        draining = asyncio.ensure_future(bench.kernel.drain(60))
        await settle()
        bench.finish()
        await draining
        assert (process.state, process.reason, process.generated) == (State.TERMINATED, "shutdown", 3)
        assert bench.kernel.clock() == bench.kernel.started

    run(main())


@pytest.mark.parametrize("opened", [False, True])
def test_a_process_being_admitted_while_the_kernel_stops_is_refused(tmp_path: Path, opened: bool) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, make=Gated)
        bench.engine.gate.clear()
        asked = asyncio.ensure_future(bench.exec())
        await settle()
        draining = asyncio.ensure_future(bench.kernel.drain(60))
        if opened:
            bench.engine.gate.set()
            await settle()
        await draining
        bench.engine.gate.set()
        assert await code(asked) == "SHUTTING_DOWN"
        assert len(bench.kernel.table) == 0

    run(main())


def test_draining_an_idle_kernel_takes_no_time(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        await bench.kernel.drain(60)
        assert bench.kernel.clock() == bench.kernel.started
        await bench.kernel.drain(0)

    run(main())


class Refusing(ScriptedEngine):
    """Refuses further turns, and takes its time over it."""

    gate = asyncio.Event()

    async def open(self, request: port.Open | port.Append) -> list[int]:
        if isinstance(request, port.Append):
            await self.gate.wait()
            raise KernelError("MEMORY_ADMISSION", "it does not fit")
        return await super().open(request)


@pytest.mark.parametrize("signal", ["stop_output", "suspend"])
def test_input_that_is_refused_leaves_the_process_waiting_for_input_whatever_came_between(
    tmp_path: Path, signal: str
) -> None:
    async def main() -> None:
        Refusing.gate = asyncio.Event()
        bench = await boot(tmp_path, make=lambda script: Refusing(script, auto=False))
        process = await bench.exec(interactive=True, max_tokens=3)
        bench.finish()
        asked = asyncio.ensure_future(send(bench, "next"))
        await settle()
        getattr(bench.kernel, signal)(ME, 1)
        Refusing.gate.set()
        await asyncio.wait([asked])
        if signal == "suspend":
            bench.kernel.resume(ME, 1, None)
        assert (process.state, process.wait) == (State.WAITING, Wait.INPUT)

    run(main())


def test_a_process_goes_on_only_once_its_input_is_in_its_context(tmp_path: Path) -> None:
    """Whatever it is told meanwhile; tokens of an answer that came first would be taken for the input's."""

    async def main() -> None:
        bench = await boot(tmp_path, make=Gated)
        process = await bench.exec(interactive=True, max_tokens=5)
        bench.finish()
        bench.engine.gate.clear()
        sending = asyncio.ensure_future(send(bench, "again"))
        await settle()
        bench.kernel.stop_output(ME, 1)
        bench.kernel.continue_output(ME, 1)
        bench.step(3)
        assert bench.screen.text[1] == words(5)
        bench.engine.gate.set()
        await sending
        bench.finish()
        assert process.tokens[10:16] == [256, *b"again"]
        assert bench.screen.text[1] == words(5) * 2

    run(main())


def test_a_process_takes_one_input_at_a_time(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, make=Gated)
        await bench.exec(interactive=True, max_tokens=5)
        bench.finish()
        bench.engine.gate.clear()
        sending = asyncio.ensure_future(send(bench, "again"))
        await settle()
        bench.kernel.suspend(ME, 1)
        bench.kernel.resume(ME, 1, None)
        assert await code(send(bench, "twice")) == "WRONG_STATE"
        with pytest.raises(KernelError, match="WRONG_STATE"):
            bench.kernel.continue_output(ME, 1)
        bench.engine.gate.set()
        await sending
        bench.finish()
        assert bench.screen.text[1] == words(5) * 2

    run(main())
