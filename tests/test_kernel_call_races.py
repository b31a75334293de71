"""What happens while a result is being appended, and calls that come with a step too late."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.process import State, Wait
from tests.by_hand import ME, run, settle, words
from tests.callers import (
    NO_FILES,
    SUM,
    WORK,
    Slow,
    audited,
    calling,
    context,
    outcomes,
    rest,
)

WORDS = len(WORK.split(" "))

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
