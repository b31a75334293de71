"""Checkpoints that can't be written, and processes that can't come back: all of them or none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from agentkernel import checkpoints
from agentkernel.errors import KernelError
from agentkernel.jail.port import Limits
from agentkernel.memory import PAGE
from agentkernel.process import Process, State
from agentkernel.replacing import replacing
from agentkernel.syscalls.succession import Successor
from tests.by_hand import ADMIN, ME, OTHER, Bench, run, settle
from tests.callers import rest
from tests.checkpointed import at_once, back, carried, one_back, saved
from tests.fake_jail import BROKEN
from tests.gguf_files import write_model
from tests.kept import MIXED, assert_kept, no_room
from tests.test_recovery import TALK, born, leave, said, to_the_end

SMALL = {"memory": {"process_ram_mb": 1, "process_disk_mb": 0}}


@pytest.fixture(autouse=True)
def threadless(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)


async def refused(asked: Awaitable[Any]) -> str:
    """The code of the error."""
    with pytest.raises(KernelError) as caught:
        await asked
    return caught.value.code


def restore(bench: Bench, name: str = "tale", *, as_new: bool = False) -> Awaitable[Any]:
    return bench.kernel.restore(ME, name, as_new=as_new)


def files(bench: Bench) -> dict[str, bytes]:
    """What is in the folder of checkpoints."""
    folder = Path(bench.kernel.config.state) / "checkpoints"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def workspaces(bench: Bench) -> dict[str, bytes]:
    """All files of all processes."""
    root = Path(bench.kernel.config.workspace)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_sound(bench: Bench) -> None:
    """Tables, memory, scheduler and journal agree, and nothing is held or awaited."""
    kernel = bench.kernel
    assert_kept(kernel)
    kernel.memory.check_integrity()
    assert all(pid > 0 for pid in kernel.memory._spaces)
    assert not kernel.table._promised
    assert not kernel._frozen
    assert not kernel._changing - {process.pid for process in kernel.table}
    for served in kernel.models.served.values():
        served.scheduler.check_integrity()
        assert set(served.processes) == {process.pid for process in kernel.table}


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


# What can't be brought back


def test_a_pid_that_is_not_its_own_is_refused_and_a_new_one_isn_t(tmp_path: Path) -> None:
    """It lives, another has it, another had it, or nobody knows who had it."""

    async def main() -> None:
        bench = await born(tmp_path / "here")
        process = await bench.exec("talk")
        bench.step(3)
        await bench.kernel.checkpoint(ME, process.pid, "tale")
        assert await refused(restore(bench)) == "RESTORE_BUSY"
        there = await carried(bench, tmp_path / "there")
        await leave(bench)
        other = await there.exec("sum", interactive=True)
        assert other.pid == process.pid
        assert await refused(restore(there)) == "RESTORE_BUSY"
        there.kernel.kill(ME, other.pid)
        assert await refused(restore(there)) == "RESTORE_BUSY"
        (again,) = await back(there, as_new=True)
        assert again.pid == 2
        assert_sound(there)
        await leave(there)

    run(main())


def test_a_pid_of_which_nothing_is_known_but_that_it_was_given_is_refused(tmp_path: Path) -> None:
    """Its journal is gone, with what it said; a workspace of that PID may be anybody's."""

    async def main() -> None:
        forgetful = {"journal": {**MIXED["journal"], "ended": 1}}
        bench = await born(tmp_path / "here", **forgetful)
        await saved(bench, await bench.exec("talk"))
        await bench.exec("sum")
        await to_the_end(bench)
        while bench.kernel.recorder.journal.maintain(0.0):
            pass
        assert await refused(restore(bench)) == "RESTORE_BUSY"
        there = await carried(bench, tmp_path / "there")
        await leave(bench)
        await leave(there)
        (tmp_path / "there" / "workspace" / "1").mkdir(parents=True)
        (tmp_path / "there" / "workspace" / "1" / "file").write_bytes(b"whose?")
        there = await born(tmp_path / "there")
        assert await refused(restore(there)) == "RESTORE_BUSY"
        assert workspaces(there) == {"1/file": b"whose?"}
        await leave(there)

    run(main())


def test_one_that_is_forgotten_while_it_comes_back_does_not(tmp_path: Path, monkeypatch: Any) -> None:
    async def main() -> None:
        forgetful = {"journal": {**MIXED["journal"], "ended": 1}}
        bench = await born(tmp_path / "here", **forgetful)
        await saved(bench, await bench.exec("talk"))
        await bench.exec("sum")
        await to_the_end(bench)
        fill = bench.kernel._fill

        async def forgotten(*arguments: Any) -> None:
            await fill(*arguments)
            while bench.kernel.recorder.journal.maintain(0.0):
                pass

        monkeypatch.setattr(bench.kernel, "_fill", forgotten)
        assert await refused(restore(bench)) == "RESTORE_BUSY"
        assert_sound(bench)
        await leave(bench)

    run(main())


def test_two_at_once_of_one_checkpoint_are_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        await saved(bench, await bench.exec("talk"))
        found = await asyncio.gather(restore(bench), restore(bench), return_exceptions=True)
        codes = [each.code for each in found if isinstance(each, KernelError)]
        assert codes == ["RESTORE_BUSY"]
        await to_the_end(bench)
        assert said(bench, 1) == TALK
        assert_sound(bench)
        await leave(bench)

    run(main())


@pytest.mark.parametrize("how", ["missing", "another file", "under another name"])
def test_its_model_is_known_by_its_file_whatever_its_name(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        process = await bench.exec("talk")
        bench.step(3)
        await saved(bench, process)
        there = tmp_path / "there"
        there.mkdir()
        if how == "another file":
            write_model(there / "demo.gguf", general__name="another")
        else:
            shutil.copy(tmp_path / "here" / "demo.gguf", there / "other.gguf")
        model = {"another file": "demo", "missing": ""}.get(how, "other")
        if how == "missing":
            (there / "other.gguf").unlink()
            write_model(there / "demo2.gguf")
        elsewhere = await carried(bench, there, model=model)
        await leave(bench)
        if how == "missing":
            (there / "demo.gguf").unlink(missing_ok=True)
        if how == "under another name":
            (again,) = await back(elsewhere)
            await to_the_end(elsewhere)
            assert (again.model_id, said(elsewhere, 1)) == ("other", TALK)
        else:
            assert await refused(restore(elsewhere)) == "RESTORE_FAILED"
        assert_sound(elsewhere)
        await leave(elsewhere)

    run(main())


def test_a_trust_that_no_jail_gives_here_brings_nobody_back(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        await bench.exec("talk")
        await bench.exec("talk", trust="untrusted")
        await saved(bench)
        bench.kernel.gate.jail.verdict = BROKEN
        assert await refused(restore(bench)) == "ESANDBOX"
        assert not len(bench.kernel.table)
        assert_sound(bench)
        await leave(bench)

    run(main())


def test_a_file_of_one_s_own_that_holds_another_s_process_brings_it_back_for_administrators_alone(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        await saved(bench, await bench.exec("talk", owner=OTHER), owner=OTHER)
        (path,) = (Path(bench.kernel.config.state) / "checkpoints").iterdir()
        reader, writer = checkpoints.Reader(path), bench.kernel.checkpoints.write(ME, "mine")
        for member in reader.manifest.hashes:
            writer.add(member, reader.read(member))
        writer.finish(ME.name, "mine", reader.manifest.processes)
        assert await refused(restore(bench)) == "CHECKPOINT_NOT_FOUND"
        assert await refused(restore(bench, "mine")) == "RESTORE_FAILED"
        ((process, _),) = await bench.kernel.restore(ADMIN, "mine", as_new=False)
        assert process.owner == OTHER
        await leave(bench)

    run(main())


# All of them or none


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


# What can't be saved


class _Disk:
    """A file on a disk that has room for so many bytes more."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self._file, self._room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        if len(data) > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= len(data)
        return self._file.write(data)


def test_on_a_full_disk_nothing_is_left_but_what_had_the_name(tmp_path: Path, monkeypatch: Any) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        process = await bench.exec("talk", interactive=True, max_tokens=3)
        await rest(bench)
        await bench.kernel.write_memory(ME, 1, 0, os.urandom(3000))
        await bench.kernel.put_file(ME, 1, "file", os.urandom(3000))
        await bench.kernel.checkpoint(ME, process.pid, "tale")
        before = files(bench)
        (size,) = map(len, before.values())
        rooms = [0]

        @contextlib.contextmanager
        def small(path: Path) -> Iterator[Any]:
            with replacing(path) as file:
                yield _Disk(file, rooms[-1])

        monkeypatch.setattr(checkpoints, "replacing", small)
        for room in range(0, size, 150):
            rooms.append(room)
            for name in ("tale", "other"):
                assert await refused(bench.kernel.checkpoint(ME, 1, name)) == "CHECKPOINT_FAILED"
                assert files(bench) == before
                assert_sound(bench)
        monkeypatch.undo()
        at_once(monkeypatch)
        await one_back(bench, process)
        assert len(files(bench)) == 1
        await leave(bench)

    run(main())


def test_an_owner_has_so_many_and_may_replace_any(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here", limits={"checkpoints": 2})
        await bench.exec("talk")
        for name in ("one", "two"):
            await bench.kernel.checkpoint(ME, 1, name)
        assert await refused(bench.kernel.checkpoint(ME, 1, "three")) == "CHECKPOINT_LIMIT"
        await bench.kernel.checkpoint(ADMIN, 1, "three")
        await bench.kernel.checkpoint(ME, 1, "two")
        bench.kernel.checkpoints.drop(ME, "one")
        await bench.kernel.checkpoint(ME, 1, "three")
        assert [each.manifest.name for each in bench.kernel.checkpoints.visible(ME)] == ["three", "two"]
        assert_sound(bench)
        await leave(bench)

    run(main())
