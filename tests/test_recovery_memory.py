"""Processes' memory, brought back by the next kernel as it was acknowledged."""

from __future__ import annotations

import asyncio
import shutil
import threading
from contextlib import contextmanager
from random import Random

import pytest

from agentkernel.client import Client
from agentkernel.errors import KernelError
from agentkernel.journal.errors import JournalFullError
from agentkernel.journal.opening import FILE_NAME, read_only
from agentkernel.journal.verification import verify
from agentkernel.memory import PAGE
from agentkernel.process import State, Wait
from tests.by_hand import ME, boot, run, settle
from tests.conftest import start_kernel

MIB = 1 << 20
ROOM = {"process_ram_mb": 4, "process_disk_mb": 0}


def content(size, seed=0):
    """Bytes unlike any other's."""
    return Random(seed).randbytes(size)


async def booted(folder, durability="mixed", **memory):
    """A kernel that keeps what it does in the folder's `state`."""
    settings = {"journal": {"durability": durability}, "memory": ROOM | memory}
    bench = await boot(folder, engine={"context": 256}, **settings)
    bench.kernel.events.subscribe(ME, bench.screen)
    await bench.kernel.recover()
    return bench


class Crashes:
    """Kernels that come after one was left as it is, each with a copy of its files."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0

    async def next(self, durability="mixed", **memory):
        self.count += 1
        after = self.folder.parent / f"{self.folder.name}-{self.count}"
        shutil.copytree(self.folder, after)
        with read_only(after / "state" / FILE_NAME) as db:
            assert verify(db).faults == ()
        bench = await booted(after, durability, **memory)
        bench.kernel.memory.check_integrity()
        return bench


@pytest.fixture
def crashes(tmp_path):
    folder = tmp_path / "first"
    folder.mkdir()
    return Crashes(folder)


async def memory_of(bench, pid=1):
    return await bench.kernel.read_memory(ME, pid, 0, None)


async def code(awaitable):
    with pytest.raises(KernelError) as caught:
        await awaitable
    return caught.value.code


async def until(comes):
    """Let everybody go on until it comes."""
    while not comes():  # noqa: ASYNC110 - no event
        await asyncio.sleep(0)


async def parent(bench):
    """A process that waits for input, and so can be forked at any time."""
    process = await bench.exec(interactive=True, max_tokens=1)
    bench.finish()
    await until(lambda: process.wait is Wait.INPUT)


def held(usage):
    return usage.alloc_bytes, usage.free_blocks


@pytest.mark.parametrize("durability", ["mixed", "power"])
def test_what_was_acknowledged_is_read_back_bit_for_bit(crashes, durability):
    async def main():
        bench = await booted(crashes.folder, durability)
        await parent(bench)
        await bench.kernel.write_memory(ME, 1, 3 * PAGE + 5, content(2 * PAGE))
        await bench.kernel.write_memory(ME, 1, 4 * PAGE, b"again")
        await bench.kernel.write_memory(ME, 1, 40 * PAGE, content(20 * PAGE, seed=2) + b"the last")
        after = await crashes.next(durability)
        expected = bytearray(60 * PAGE + 8)
        expected[3 * PAGE + 5 : 5 * PAGE + 5] = content(2 * PAGE)
        expected[4 * PAGE : 4 * PAGE + 5] = b"again"
        expected[40 * PAGE :] = content(20 * PAGE, seed=2) + b"the last"
        assert await memory_of(after) == await memory_of(bench) == expected
        assert held(after.kernel.memory.usage(1)) == held(bench.kernel.memory.usage(1))
        await after.kernel.write_memory(ME, 1, 60 * PAGE + 8, b"goes on")
        again = await Crashes(crashes.folder.parent / "first-1").next(durability)
        assert await memory_of(again) == bytes(expected) + b"goes on"

    run(main())


def test_a_fork_and_its_parent_have_each_their_own_and_share_the_rest(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        await bench.kernel.write_memory(ME, 1, 0, content(8 * PAGE))
        await bench.kernel.fork(ME, 1, 2, bench.screen)
        await bench.kernel.write_memory(ME, 1, PAGE, b"parent")
        await bench.kernel.write_memory(ME, 2, 2 * PAGE, b"child")
        after = await crashes.next()
        for pid in (1, 2, 3):
            assert await memory_of(after, pid) == await memory_of(bench, pid)
            assert held(after.kernel.memory.usage(pid)) == held(bench.kernel.memory.usage(pid))
        assert held(after.kernel.memory.usage()) == held(bench.kernel.memory.usage())
        after.kernel.kill(ME, 1)
        assert await memory_of(after, 3) == content(8 * PAGE)

    run(main())


def test_a_fork_keeps_what_its_parent_s_write_has_not_yet_kept(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        writing = asyncio.ensure_future(bench.kernel.write_memory(ME, 1, 0, content(MIB)))
        await until(lambda: bench.kernel.memory.size(1))
        await bench.kernel.fork(ME, 1, 1, bench.screen)
        assert await memory_of(bench, 2) == content(MIB)
        after = await crashes.next()
        assert await memory_of(after, 2) == content(MIB)
        await writing

    run(main())


def test_a_write_that_was_not_acknowledged_is_there_whole_or_not_at_all(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        await bench.kernel.write_memory(ME, 1, 0, content(MIB))
        writing = asyncio.ensure_future(bench.kernel.write_memory(ME, 1, 0, content(MIB, seed=2)))
        database = bench.kernel.recorder.journal._database
        commits = database.commits
        await until(lambda: database.commits >= commits + 3)
        assert not writing.done()
        after = await crashes.next()
        assert await memory_of(after) == content(MIB)
        await writing
        assert await memory_of(await crashes.next()) == content(MIB, seed=2)

    run(main())


def test_of_writes_at_once_the_one_that_took_effect_last_is_kept(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        writes = [(0, content(MIB, seed=1)), (PAGE, b"short"), (7, content(PAGE, seed=3)), (0, b"end")]
        await asyncio.gather(*(bench.kernel.write_memory(ME, 1, *write) for write in writes))
        assert await memory_of(await crashes.next()) == await memory_of(bench)

    run(main())


def test_whoever_stops_waiting_leaves_memory_and_journal_alike(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        writing = asyncio.ensure_future(bench.kernel.write_memory(ME, 1, 0, content(MIB)))
        await until(lambda: bench.kernel.memory.size(1))
        writing.cancel()
        await bench.kernel.write_memory(ME, 1, MIB, b"more")
        assert await memory_of(await crashes.next()) == content(MIB) + b"more"

    run(main())


def test_a_write_that_waited_for_room_is_kept_before_it_is_told_of(crashes):
    async def main():
        bench = await booted(crashes.folder, process_ram_mb=1)
        await parent(bench)
        await parent(bench)
        await bench.kernel.write_memory(ME, 1, 0, content(MIB))
        assert await bench.kernel.write_memory(ME, 2, 0, content(MIB, seed=2)) is None
        bench.kernel.kill(ME, 1)
        await until(lambda: "memory_written" in bench.screen.kinds())
        after = await crashes.next(process_ram_mb=1)
        assert await memory_of(after, 2) == content(MIB, seed=2)

    run(main())


def test_of_a_process_that_has_ended_nothing_stays(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        await bench.kernel.write_memory(ME, 1, 0, content(MIB))
        await bench.kernel.fork(ME, 1, 1, bench.screen)
        bench.kernel.kill(ME, 1)
        bench.kernel.kill(ME, 2)
        journal = bench.kernel.recorder.journal
        while journal.maintain(0.0):
            pass
        with journal._database.reading() as db:
            assert db.execute("SELECT count(*) FROM pages").fetchone() == (0,)
            assert db.execute("SELECT count(*) FROM contents").fetchone() == (0,)
        after = await crashes.next()
        assert after.kernel.memory.usage().alloc_bytes == 0

    run(main())


def test_overwriting_it_again_and_again_takes_no_more_room(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        journal = bench.kernel.recorder.journal
        for seed in range(6):
            await bench.kernel.write_memory(ME, 1, 0, content(MIB, seed))
        with journal._database.reading() as db:
            assert db.execute("SELECT count(*) FROM contents").fetchone()[0] <= 3 * MIB // PAGE

    run(main())


@pytest.fixture
def full(monkeypatch):
    """Switches whether the disk has room for contents of pages."""

    def refuse(gone, rows):
        raise JournalFullError("no room for pages")

    def switch(bench, *, on):
        journal = bench.kernel.recorder.journal
        monkeypatch.undo()
        if on:
            monkeypatch.setattr(journal, "_exchange", refuse)

    return switch


def test_on_a_full_disk_the_writer_is_told_and_the_next_write_takes_it_along(crashes, full):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        await bench.kernel.write_memory(ME, 1, 0, b"old" + content(2 * PAGE))
        full(bench, on=True)
        assert await code(bench.kernel.write_memory(ME, 1, 0, b"new")) == "JOURNAL_FULL"
        assert await code(bench.kernel.fork(ME, 1, 1, bench.screen)) == "JOURNAL_FULL"
        assert (await memory_of(bench))[:3] == b"new"
        assert (await memory_of(await crashes.next()))[:3] == b"old"
        full(bench, on=False)
        await bench.kernel.write_memory(ME, 1, PAGE, b"more")
        assert await memory_of(await crashes.next()) == await memory_of(bench)
        assert (await memory_of(bench))[:3] == b"new"
        assert [process.pid for process in bench.kernel.table] == [1]

    run(main())


def test_what_is_taken_along_late_is_no_part_of_a_later_write(crashes, full):
    """It is read back bite by bite, and a write that takes effect meanwhile is in the journal whole."""

    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        full(bench, on=True)
        await code(bench.kernel.write_memory(ME, 1, 0, content(40 * PAGE)))
        full(bench, on=False)
        first = asyncio.ensure_future(bench.kernel.write_memory(ME, 1, 0, b"first"))
        commits = bench.kernel.recorder.journal._database.commits
        await until(lambda: bench.kernel.recorder.journal._database.commits > commits)
        second = asyncio.ensure_future(bench.kernel.write_memory(ME, 1, 0, b"2" * 40 * PAGE))
        await first
        found = await memory_of(await crashes.next())
        assert found in (b"first" + content(40 * PAGE)[5:], b"2" * 40 * PAGE)
        await second

    run(main())


def test_a_write_is_told_of_when_it_is_on_the_disk(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        database, reached = bench.kernel.recorder.journal._database, threading.Event()
        begun = threading.Event()
        database._sync = lambda _: (begun.set(), reached.wait())
        writing = asyncio.ensure_future(bench.kernel.write_memory(ME, 1, 0, b"power"))
        await until(lambda: begun.is_set() or writing.done())
        assert not writing.done()
        reached.set()
        await writing

    run(main())


def test_a_write_that_waited_for_room_and_finds_the_disk_full_says_so(crashes, full):
    async def main():
        bench = await booted(crashes.folder, process_ram_mb=1)
        await parent(bench)
        process = await bench.exec(max_tokens=20)
        await bench.kernel.write_memory(ME, 1, 0, content(MIB))
        assert await bench.kernel.write_memory(ME, 2, 0, b"2") is None
        full(bench, on=True)
        bench.kernel.kill(ME, 1)
        await until(lambda: "memory_written" in bench.screen.kinds())
        (told,) = [event for event in bench.screen.events if event["kind"] == "memory_written"]
        assert (told["ok"], told["error"]) == (False, "JOURNAL_FULL: no room for pages")
        assert process.state is State.RUNNING

    run(main())


def test_memory_that_no_longer_fits_ends_its_process(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        await parent(bench)
        await bench.kernel.write_memory(ME, 1, 0, content(PAGE))
        await bench.kernel.write_memory(ME, 2, 0, content(2 * MIB))
        after = await crashes.next(process_ram_mb=1)
        assert [process.pid for process in after.kernel.table] == [1]
        assert after.kernel.table.find(2).reason == "memory_lost"
        assert await memory_of(after) == content(PAGE)

    run(main())


def test_without_durability_nothing_is_kept(crashes):
    async def main():
        bench = await booted(crashes.folder, "off")
        await parent(bench)
        await bench.kernel.write_memory(ME, 1, 0, content(MIB))
        await settle()
        with bench.kernel.recorder.journal._database.reading() as db:
            assert db.execute("SELECT count(*) FROM contents").fetchone() == (0,)

    run(main())


def test_a_kernel_that_stops_in_the_middle_of_a_write_finishes_it(crashes):
    async def main():
        bench = await booted(crashes.folder)
        await parent(bench)
        writing = asyncio.ensure_future(bench.kernel.write_memory(ME, 1, 0, content(MIB)))
        await until(lambda: bench.kernel.memory.size(1))
        await bench.kernel.drain(0)
        await bench.kernel.close()
        await writing
        assert await memory_of(await crashes.next()) == content(MIB)

    run(main())


@contextmanager
def killed(kernel):
    """A kernel that gets SIGKILL at the end."""
    try:
        yield kernel
    finally:
        kernel.process.kill()
        kernel.process.wait()
        kernel.process.stdout.close()


def test_after_kill_9_of_the_kernel_its_clients_find_what_they_wrote(models_dir, tmp_path):
    data = content(8 * MIB - 100)
    with killed(start_kernel(tmp_path, models_dir)) as kernel, Client(kernel.host, kernel.port) as client:
        # The client may be seen to go before the kernel is killed.
        pid = client.exec("hello", interactive=True, max_tokens=2, on_disconnect="detach").pid
        client.memw(pid, data)
        client.memw(pid, b"again", 5)
        (child,) = client.fork(pid).children
        client.memw(child, b"child")
    with killed(start_kernel(tmp_path, models_dir)) as kernel, Client(kernel.host, kernel.port) as client:
        assert client.memr(pid).data == data[:5] + b"again" + data[10:]
        assert client.memr(child).data == b"child" + b"again" + data[10:]
