"""Checkpoints that can't be written, and processes that can't come back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from agentkernel import checkpoints
from agentkernel.errors import KernelError
from agentkernel.replacing import replacing
from tests.by_hand import ADMIN, ME, OTHER, run
from tests.callers import rest
from tests.checkpointed import (
    assert_sound,
    at_once,
    back,
    carried,
    files,
    one_back,
    refused,
    restore,
    saved,
    workspaces,
)
from tests.fake_jail import BROKEN
from tests.gguf_files import write_model
from tests.kept import MIXED
from tests.test_recovery import TALK, born, leave, said, to_the_end


@pytest.fixture(autouse=True)
def threadless(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)


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
