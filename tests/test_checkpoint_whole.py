"""The processes of a checkpoint come back all of them or none, and then all is as it was."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkernel import checkpoints
from agentkernel.errors import KernelError
from agentkernel.jail.port import Limits
from agentkernel.memory import PAGE
from agentkernel.process import Process, State
from agentkernel.syscalls.succession import Successor
from tests.by_hand import ME, Bench, run, settle
from tests.callers import rest
from tests.checkpointed import (
    assert_sound,
    at_once,
    back,
    refused,
    restore,
    workspaces,
)
from tests.kept import no_room
from tests.test_recovery import TALK, born, leave, said, to_the_end

SMALL = {"memory": {"process_ram_mb": 1, "process_disk_mb": 0}}


@pytest.fixture(autouse=True)
def threadless(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)


async def two(bench: Bench) -> list[Process]:
    """Two processes with memory and a file each, saved while they wait for input, and ended later."""
    made = [await bench.exec("talk", interactive=True, max_tokens=3) for _ in range(2)]
    await rest(bench)
    for process in made:
        await bench.kernel.write_memory(ME, process.pid, 0, bytes(32 * PAGE))
        await bench.kernel.put_file(ME, process.pid, "file", b"then")
    await bench.kernel.checkpoint(ME, None, "tale")
    for process in made:
        await bench.kernel.put_file(ME, process.pid, "file", b"later")
        await bench.kernel.put_file(ME, process.pid, "another", b"later")
        await bench.kernel.send_input(ME, process.pid, "sum", bench.screen)
        await to_the_end(bench)
        bench.kernel.kill(ME, process.pid)
    return made


async def nothing_comes_back(bench: Bench, code: str, *, as_new: bool = False) -> None:
    """RESTORE fails with the code, and all is as it was."""
    before = bench.kernel.memory.usage(), workspaces(bench), len(bench.kernel.table)
    texts = [said(bench, pid) for pid in (1, 2)]
    ends = [bench.kernel.find(ME, pid).marker(0) for pid in (1, 2)]
    assert await refused(restore(bench, as_new=as_new)) == code
    await settle()
    assert bench.kernel.memory.usage().alloc_bytes == before[0].alloc_bytes
    assert (workspaces(bench), len(bench.kernel.table)) == before[1:]
    assert [said(bench, pid) for pid in (1, 2)] == texts
    assert [bench.kernel.find(ME, pid).marker(0) for pid in (1, 2)] == ends
    assert_sound(bench)


async def none_but_then_all(bench: Bench, code: str, trouble: Any, *, as_new: bool) -> None:
    """While the trouble lasts nobody comes back, after it both do."""
    with trouble:
        await nothing_comes_back(bench, code, as_new=as_new)
    again = await back(bench, as_new=as_new)
    assert [process.offset for process in again] == [8, 8]
    assert_sound(bench)
    for process in again:
        assert await bench.kernel.get_file(ME, process.pid, "file") == b"then"
        assert await bench.kernel.list_files(ME, process.pid, ".") == ([("file", False, 4)], True)
        assert await bench.kernel.read_memory(ME, process.pid, 0, None) == bytes(32 * PAGE)
    await leave(bench)


@contextlib.contextmanager
def memory_taken(bench: Bench) -> Iterator[None]:
    bench.kernel.memory._ram -= 1
    bench.kernel.memory._total -= 1
    yield
    bench.kernel.memory._ram += 1
    bench.kernel.memory._total += 1


@contextlib.contextmanager
def workspace_full(bench: Bench) -> Iterator[None]:
    """No room for the second one's file."""
    successor = bench.kernel.gate.successor

    async def full(pid: int) -> Successor:
        found = await successor(pid)
        if pid % 2 == 0:
            found._files._limits = Limits(workspace_files=0)
        return found

    bench.kernel.gate.successor = full
    yield
    bench.kernel.gate.successor = successor


@contextlib.contextmanager
def table_full(bench: Bench) -> Iterator[None]:
    bench.kernel.table._live_limit = 1
    yield
    bench.kernel.table._live_limit = 10


@contextlib.contextmanager
def damaged(bench: Bench) -> Iterator[None]:
    """The second one's record is not one."""
    reader_read = checkpoints.Reader.read

    def read(reader: checkpoints.Reader, member: str) -> bytes:
        data = reader_read(reader, member)
        return data[:-3] if member == "2/record" else data

    checkpoints.Reader.read = read
    yield
    checkpoints.Reader.read = reader_read


@contextlib.contextmanager
def journal_full_at_last(bench: Bench) -> Iterator[None]:
    """When all is there but what the journal has of it."""
    journal = bench.kernel.recorder.journal
    revive = journal.revive

    def refuse(*arguments: Any) -> None:
        with no_room(bench):
            revive(*arguments)

    journal.revive = refuse
    yield
    journal.revive = revive


TROUBLES: dict[str, tuple[str, Callable[[Bench], Any]]] = {
    "memory": ("MEMW_FAILED", memory_taken),
    "workspace": ("RESTORE_FAILED", workspace_full),
    "table": ("SPAWN_FAILED", table_full),
    "record": ("RESTORE_FAILED", damaged),
    "journal": ("JOURNAL_FULL", no_room),
    "journal at last": ("JOURNAL_FULL", journal_full_at_last),
}


@pytest.mark.parametrize("as_new", [False, True])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_when_one_can_t_come_back_none_does_and_all_is_as_it_was(
    tmp_path: Path, trouble: str, as_new: bool
) -> None:
    code, make = TROUBLES[trouble]

    async def main() -> None:
        bench = await born(tmp_path / "here", **SMALL)
        await two(bench)
        await none_but_then_all(bench, code, make(bench), as_new=as_new)

    run(main())


def test_when_the_engine_takes_one_of_them_no_more_none_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here", **SMALL)
        await two(bench)
        opening = bench.engine.open

        async def open_(request: Any) -> Any:
            if request.pid == 4:
                raise KernelError("MEMORY_ADMISSION", "no room")
            return await opening(request)

        bench.engine.open = open_
        assert await refused(restore(bench, as_new=True)) == "RESTORE_FAILED"
        assert not len(bench.kernel.table)
        assert bench.kernel.memory.usage().alloc_bytes == 0
        assert bench.kernel.find(ME, 3).state is State.KILLED
        assert_sound(bench)
        await leave(bench)

    run(main())


def test_one_that_is_killed_on_its_way_back_takes_all_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here", **SMALL)
        await two(bench)
        bench.engine.gate.clear()
        restoring = asyncio.ensure_future(restore(bench))
        while not len(bench.kernel.table):
            await settle()
        bench.kernel.kill(ME, 2)
        bench.engine.gate.set()
        assert await refused(restoring) == "RESTORE_FAILED"
        assert not len(bench.kernel.table)
        assert_sound(bench)
        await leave(bench)

    run(main())


def test_an_engine_that_dies_on_the_way_is_nothing_to_those_that_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here", **SMALL)
        await two(bench)
        bench.engine.gate.clear()
        restoring = asyncio.ensure_future(restore(bench))
        while not len(bench.kernel.table):
            await settle()
        bench.engine.gate.set()
        bench.engine.die()
        await restoring
        for pid in (1, 2):
            bench.kernel.continue_output(ME, pid)
        await to_the_end(bench)
        assert said(bench, 1) == said(bench, 2) == TALK[:17]
        assert_sound(bench)
        await leave(bench)

    run(main())
