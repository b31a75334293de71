"""REPLAY: what an ended process has said is said again, and only by who can call nothing."""

from __future__ import annotations

import asyncio

import pytest

from agentkernel.errors import KernelError
from agentkernel.process import Process
from tests.by_hand import ADMIN, ME, OTHER, Bench, boot, run, settle, words
from tests.callers import HELLO, NO_FILES, SUM, Slow, calling, rest
from tests.fake_jail import FakeJail
from tests.kept import MIXED, copied, without_threads

TALK = words(30)
SAID = {"talk": TALK, "sum": f"Well,\n{SUM}", "5": "So it is 5.", "work": HELLO, "hello": "It says hello."}


async def ended(bench: Bench, prompt: str, **fields) -> Process:
    """A process, run to its end."""
    process = await bench.exec(prompt, paths=NO_FILES, **fields)
    await rest(bench)
    if not process.state.ended:
        bench.kernel.kill(ME, process.pid)
    return process


async def replayed(bench: Bench, pid: int):
    """What REPLAY finds, the engine stepping meanwhile."""
    asked = asyncio.get_running_loop().create_task(bench.kernel.replay(ME, pid))
    while not asked.done():
        await settle()
        bench.engine.step()
    return await asked


async def leave(*benches: Bench) -> None:
    for bench in benches:
        await bench.kernel.drain(0)
        await bench.kernel.close()


@pytest.mark.parametrize(
    ("prompt", "fields"),
    [
        ("talk", {}),
        ("talk", {"max_tokens": 7}),
        ("talk", {"stop": ["w7 w8"]}),
        ("talk", {"interactive": True, "max_tokens": 5}),
        ("talk", {"limits": {"max_tokens": 4}}),
        ("sum", {}),
        ("work", {}),
    ],
)
def test_all_that_was_said_is_said_again_and_nothing_is_called(tmp_path, prompt, fields):
    async def main():
        jail = FakeJail()
        bench = await calling(tmp_path, SAID, jail, make=Slow)
        process = await ended(bench, prompt, **fields)
        jobs, calls = len(jail.jobs), bench.kernel.gate.counters["syscalls"]
        found = await replayed(bench, process.pid)
        assert (found.pid, found.tokens, found.at) == (process.pid, process.generated, None)
        assert (len(jail.jobs), bench.kernel.gate.counters["syscalls"]) == (jobs, calls)
        assert len(bench.kernel.table) == 0
        await leave(bench)

    run(main())


def test_each_turn_of_a_conversation_is_run_again_behind_what_was_heard(tmp_path):
    async def main():
        bench = await calling(tmp_path, SAID, FakeJail(), make=Slow)
        process = await bench.exec("talk", interactive=True, paths=NO_FILES)
        for text in ("sum", "talk"):
            await rest(bench)
            await bench.kernel.send_input(ME, process.pid, text, bench.screen)
        bench.step(3)  # and in the middle of the last it ends
        bench.kernel.kill(ME, process.pid)
        found = await replayed(bench, process.pid)
        assert (found.tokens, found.at) == (process.generated, None)
        await leave(bench)

    run(main())


def test_a_turn_that_went_on_after_its_limit_is_one_stretch(tmp_path):
    async def main():
        bench = await boot(tmp_path)
        process = await bench.exec(interactive=True, max_tokens=4)
        bench.finish()
        bench.kernel.continue_output(ME, process.pid)
        bench.finish()
        bench.kernel.kill(ME, process.pid)
        assert (await replayed(bench, process.pid)).tokens == 8
        await leave(bench)

    run(main())


def test_children_by_fork_are_compared_from_where_they_parted(tmp_path):
    async def main():
        bench = await boot(tmp_path)
        parent = await bench.exec(max_tokens=9)
        bench.step(4)
        (child,) = await bench.kernel.fork(ME, parent.pid, 1, bench.screen)
        await settle()
        bench.finish()
        assert (await replayed(bench, parent.pid)).tokens == 9
        found = await replayed(bench, child.pid)
        assert (found.tokens, found.at) == (child.generated, None)
        assert child.generated == 5
        await leave(bench)

    run(main())


def test_the_first_other_token_is_told_with_its_place_in_the_context(tmp_path):
    async def main():
        first = await boot(tmp_path / "a", lambda text: "one two three four", **MIXED)
        without_threads(first.kernel.recorder.journal)
        process = await first.exec()
        first.finish()
        heard = len(b"hello")
        await first.kernel.recorder.synced()
        to = copied(tmp_path / "a", tmp_path / "b")
        await leave(first)
        second = await boot(to, lambda text: "one two other four", **MIXED)
        without_threads(second.kernel.recorder.journal)
        await second.kernel.recover()
        found = await replayed(second, process.pid)
        assert (found.tokens, found.at) == (2, heard + 2)
        assert found.said != found.drawn
        third = await boot(copied(to, tmp_path / "c"), lambda text: "one two", **MIXED)
        without_threads(third.kernel.recorder.journal)
        await third.kernel.recover()
        found = await replayed(third, process.pid)
        assert (found.tokens, found.at, found.drawn) == (2, heard + 2, None)
        await leave(second, third)

    run(main())


def test_a_call_that_comes_where_none_was_is_not_made(tmp_path):
    async def main():
        jail = FakeJail()
        first = await calling(tmp_path / "a", {"work": TALK}, jail, make=Slow, **MIXED)
        without_threads(first.kernel.recorder.journal)
        process = await ended(first, "work")
        await first.kernel.recorder.synced()
        to = copied(tmp_path / "a", tmp_path / "b")
        await leave(first)
        second = await calling(to, {"work": HELLO}, jail, make=Slow, **MIXED)
        without_threads(second.kernel.recorder.journal)
        await second.kernel.recover()
        found = await replayed(second, process.pid)
        assert (found.tokens, jail.jobs) == (0, [])
        await leave(second)

    run(main())


def test_who_said_nothing_says_nothing_again(tmp_path):
    async def main():
        bench = await boot(tmp_path)
        process = await bench.exec()
        bench.kernel.kill(ME, process.pid)
        found = await replayed(bench, process.pid)
        assert (found.tokens, found.at) == (0, None)
        await leave(bench)

    run(main())


def test_what_can_not_be_run_again_says_why(tmp_path):
    async def main():
        bench = await boot(tmp_path)
        process = await bench.exec(interactive=True, max_tokens=2)
        bench.finish()
        with pytest.raises(KernelError, match="WRONG_STATE: PID 1 lives"):
            await bench.kernel.replay(ADMIN, process.pid)
        bench.kernel.kill(ME, process.pid)
        with pytest.raises(KernelError, match="FORBIDDEN"):
            await bench.kernel.replay(OTHER, process.pid)
        with pytest.raises(KernelError, match="PID_NOT_FOUND"):
            await bench.kernel.replay(ME, 99)
        await bench.kernel.models.unload("demo")
        (tmp_path / "demo.gguf").unlink()
        with pytest.raises(KernelError, match="REPLAY_FAILED: its model demo"):
            await bench.kernel.replay(ME, process.pid)
        await leave(bench)

    run(main())


def test_what_runs_it_ends_with_who_asked_for_it(tmp_path):
    async def main():
        bench = await boot(tmp_path)
        process = await bench.exec(max_tokens=9)
        bench.finish()
        asked = asyncio.get_running_loop().create_task(bench.kernel.replay(ME, process.pid))
        await settle()
        (runs,) = bench.kernel.table
        asked.cancel()
        await settle()
        assert (len(bench.kernel.table), runs.reason) == (0, "killed")
        again = asyncio.get_running_loop().create_task(bench.kernel.replay(ME, process.pid))
        await settle()
        (runs,) = bench.kernel.table
        bench.kernel.kill(ME, runs.pid)
        with pytest.raises(KernelError, match="REPLAY_FAILED: PID 3, which ran it, ended: killed"):
            await again
        await leave(bench)

    run(main())
