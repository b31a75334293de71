"""A process's own memory, as the kernel gives it: writes that wait, reads, forks, soft prompts."""

from __future__ import annotations

import struct

import pytest

from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import State, Wait
from tests.by_hand import ME, OTHER, boot, run, settle, words

MIB = 1 << 20
ROOM = {"process_ram_mb": 1, "process_disk_mb": 0}  # a MiB in all


async def code(awaitable):
    with pytest.raises(KernelError) as caught:
        await awaitable
    return caught.value.code


async def booted(folder, **memory):
    memory = {**ROOM, **memory}
    bench = await boot(folder, engine={"context": 256}, state=str(folder / "state"), memory=memory)
    bench.kernel.events.subscribe(ME, bench.screen)
    return bench


def test_what_was_written_is_read_back_and_goes_with_the_process(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec()
        assert await bench.kernel.write_memory(ME, 1, 5, b"hello") == 1
        assert await bench.kernel.read_memory(ME, 1, 0, None) == b"\0" * 5 + b"hello"
        assert await bench.kernel.read_memory(ME, 1, 6, 3) == b"ell"
        assert await code(bench.kernel.read_memory(ME, 1, 6, 9)) == "MEMR_INVALID"
        assert await code(bench.kernel.read_memory(OTHER, 1, 0, 1)) == "FORBIDDEN"
        assert await code(bench.kernel.write_memory(OTHER, 1, 0, b"x")) == "FORBIDDEN"
        bench.kernel.kill(ME, 1)
        assert bench.kernel.memory.usage().alloc_bytes == 0
        assert await code(bench.kernel.read_memory(ME, 1, 0, 1)) == "PID_NOT_FOUND"

    run(main())


def test_children_have_a_copy(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec(interactive=True, max_tokens=1)
        bench.finish()
        await bench.kernel.write_memory(ME, 1, 0, b"parent")
        await bench.kernel.fork(ME, 1, 1, bench.screen)
        await bench.kernel.write_memory(ME, 2, 0, b"child!")
        assert await bench.kernel.read_memory(ME, 1, 0, None) == b"parent"
        assert await bench.kernel.read_memory(ME, 2, 0, None) == b"child!"

    run(main())


def test_over_its_room_a_write_waits_and_its_process_with_it(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        first, second = await bench.exec(max_tokens=200), await bench.exec(max_tokens=20)
        bench.step(2)
        await bench.kernel.write_memory(ME, 1, 0, b"1" * MIB)
        assert await bench.kernel.write_memory(ME, 2, 0, b"2" * MIB) is None
        assert (second.state, second.wait) == (State.WAITING, Wait.MEMORY)
        bench.step(3)
        assert (first.generated, second.generated) == (5, 2)
        bench.kernel.kill(ME, 1)
        await settle()
        assert second.state is State.RUNNING
        assert await bench.kernel.read_memory(ME, 2, 0, None) == b"2" * MIB
        told = [event for event in bench.screen.events if event["kind"] == "memory_written"]
        assert told == [{"kind": "memory_written", "pid": 2, "ok": True, "error": ""}]
        bench.finish()
        assert bench.screen.text[2] == words(20)

    run(main())


def test_a_process_that_waits_for_something_else_goes_on_waiting_for_that(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec(max_tokens=200)
        second = await bench.exec(interactive=True, max_tokens=1)
        bench.step(2)
        await bench.kernel.write_memory(ME, 1, 0, b"1" * MIB)
        assert await bench.kernel.write_memory(ME, 2, 0, b"2") is None
        bench.kernel.kill(ME, 1)
        await settle()
        assert second.wait is Wait.INPUT

    run(main())


@pytest.mark.parametrize("resume_first", [False, True])
def test_a_suspended_process_comes_back_to_its_wait_for_memory(tmp_path, resume_first):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec(max_tokens=200)
        second = await bench.exec(max_tokens=20)
        await bench.kernel.write_memory(ME, 1, 0, b"1" * MIB)
        assert await bench.kernel.write_memory(ME, 2, 0, b"2") is None
        bench.kernel.suspend(ME, 2)
        if resume_first:
            bench.kernel.resume(ME, 2, None)
            assert second.wait is Wait.MEMORY
        bench.kernel.kill(ME, 1)
        await settle()
        if not resume_first:
            assert second.state is State.SUSPENDED
            bench.kernel.resume(ME, 2, None)
        assert second.state is State.RUNNING

    run(main())


@pytest.mark.parametrize("go_on", ["continue_output", "send_input"])
def test_nothing_a_client_says_gets_round_a_write_that_waits(tmp_path, go_on):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec(max_tokens=200)
        second = await bench.exec(interactive=True, max_tokens=5)
        await bench.kernel.write_memory(ME, 1, 0, b"1" * MIB)
        if go_on == "continue_output":
            bench.step(2)
            bench.kernel.stop_output(ME, 2)
        else:
            bench.step(5)
        assert await bench.kernel.write_memory(ME, 2, 0, b"2") is None
        assert second.wait in (Wait.EVENT, Wait.INPUT)
        if go_on == "continue_output":
            bench.kernel.continue_output(ME, 2)
        else:
            await bench.kernel.send_input(ME, 2, "more", bench.screen)
        assert second.wait is Wait.MEMORY
        bench.kernel.kill(ME, 1)
        await settle()
        assert second.state is State.RUNNING

    run(main())


def test_a_prefix_there_is_no_room_for_leaves_the_process_waiting(tmp_path):
    async def main():
        bench = await booted(tmp_path, process_ram_mb=0)
        process = await bench.exec("hello", memory_prefix=True, max_tokens=3)
        assert await code(bench.kernel.write_memory(ME, 1, 0, rows(7))) == "MEMW_FAILED"
        assert (process.wait, process.soft) == (Wait.MEMORY, b"")

    run(main())


def test_who_is_killed_while_its_write_waits_leaves_nothing(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec(max_tokens=200)
        await bench.exec(max_tokens=20)
        await bench.kernel.write_memory(ME, 1, 0, b"1" * MIB)
        await bench.kernel.write_memory(ME, 2, 0, b"2")
        bench.kernel.kill(ME, 2)
        await settle()
        bench.kernel.kill(ME, 1)
        await settle()
        assert bench.kernel.memory.usage().alloc_bytes == 0
        bench.kernel.memory.check_integrity()
        assert "memory_written" not in bench.screen.kinds()

    run(main())


def test_with_the_other_policy_it_is_refused(tmp_path):
    async def main():
        bench = await booted(tmp_path, when_full="refuse")
        process = await bench.exec()
        await bench.kernel.write_memory(ME, 1, 0, b"1" * MIB)
        assert await code(bench.kernel.write_memory(ME, 1, MIB, b"2")) == "MEMW_FAILED"
        assert process.state is State.RUNNING

    run(main())


def test_what_can_never_fit_is_refused_at_once(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec()
        assert await code(bench.kernel.write_memory(ME, 1, 0, b"1" * (MIB + 1))) == "MEMW_FAILED"

    run(main())


def rows(count):
    """So many rows of a scripted engine's embeddings."""
    return struct.pack(f"<{count}f", *range(count))


def test_a_memory_prefix_comes_before_the_prompt(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        process = await bench.exec("hello", memory_prefix=True, max_tokens=3)
        bench.finish()
        assert (process.wait, bench.screen.text) == (Wait.MEMORY, {})
        await bench.kernel.write_memory(ME, 1, 0, rows(7))
        assert process.tokens == [port.SOFT] * 7 + list(b"hello")
        assert process.prompt_tokens == 12
        bench.finish()
        assert bench.screen.text[1] == words(3)

    run(main())


def test_a_prefix_is_one_write_and_survives_the_engine(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        process = await bench.exec("hello", memory_prefix=True, interactive=True, max_tokens=3)
        assert await code(bench.kernel.write_memory(ME, 1, 4, rows(7))) == "MEMW_INVALID"
        assert await code(bench.kernel.write_memory(ME, 1, 0, rows(300))) == "MEMORY_ADMISSION"
        assert process.wait is Wait.MEMORY
        await bench.kernel.write_memory(ME, 1, 0, rows(7))
        bench.step(2)
        await bench.kernel.write_memory(ME, 1, 0, b"something else")
        bench.engine.die()
        await settle()
        bench.finish()
        reopened = bench.sent(port.Grant)
        assert reopened
        assert process.soft == rows(7)
        assert process.tokens.count(port.SOFT) == 7
        assert bench.screen.text[1] == words(3)

    run(main())


def test_rows_are_nobody_elses_prefix(tmp_path):
    """Tokens that stand for embeddings are equal, and mean different things."""

    async def main():
        bench = await booted(tmp_path)
        for pid in (1, 2):
            await bench.exec("hello", memory_prefix=True, max_tokens=3)
            await bench.kernel.write_memory(ME, pid, 0, rows(40))
            bench.finish()
        assert [grant.donor for grant in bench.sent(port.Grant)] == [0, 0]

    run(main())


def test_children_of_a_process_without_its_prefix_wait_for_theirs(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec("hello", memory_prefix=True, max_tokens=3)
        (child,) = await bench.kernel.fork(ME, 1, 1, bench.screen)
        assert child.wait is Wait.MEMORY
        await bench.kernel.write_memory(ME, 2, 0, rows(2))
        bench.finish()
        assert bench.screen.text == {2: words(3)}

    run(main())
