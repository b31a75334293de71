"""What happens while processes are being saved, and when they are saved by themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentkernel.checkpoints import Checkpoints
from agentkernel.errors import KernelError
from agentkernel.memory import PAGE
from tests.by_hand import ADMIN, ME, OTHER, Bench, run, settle
from tests.callers import rest
from tests.checkpointed import at_once, back, saved
from tests.kept import MIXED, assert_kept
from tests.test_recovery import TALK, born, leave, said, to_the_end

EVERY = {"journal": {**MIXED["journal"], "checkpoint_minutes": 10.0}}


class Slowly:
    """`to_thread` by which a checkpoint is begun when the test says so; all else is done at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = asyncio.Event()
        monkeypatch.setattr(asyncio, "to_thread", self)

    async def __call__(self, work: Any, *arguments: Any) -> Any:
        if getattr(work, "__func__", None) is Checkpoints.write:
            await self.gate.wait()
        return work(*arguments)


async def saving(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> tuple[Slowly, asyncio.Future[Any]]:
    """All are being saved, and their files have not been read yet."""
    slowly = Slowly(monkeypatch)
    task = asyncio.ensure_future(bench.kernel.checkpoint(ME, None, "tale"))
    await settle()
    assert bench.kernel._frozen
    return slowly, task


def names(bench: Bench, owner: Any) -> list[tuple[str, str, int]]:
    """Owner, name and number of processes of all checkpoints that the owner sees."""
    found = (each.manifest for each in bench.kernel.checkpoints.visible(owner))
    return [(each.owner, each.name, len(each.processes)) for each in found]


def test_what_a_process_says_and_writes_meanwhile_is_not_in_it(tmp_path: Path, monkeypatch: Any) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("talk")
        bench.step(4)
        await bench.kernel.write_memory(ME, 1, 0, b"before")
        slowly, task = await saving(bench, monkeypatch)
        before = process.generated
        bench.step(3)
        await bench.kernel.write_memory(ME, 1, 0, b"after!")
        await bench.kernel.write_memory(ME, 1, PAGE, b"after!")
        assert process.generated == before + 3
        slowly.gate.set()
        await task
        bench.kernel.kill(ME, 1)
        (again,) = await back(bench)
        assert again.generated == before
        assert await bench.kernel.read_memory(ME, 1, 0, None) == b"before"
        bench.kernel.memory.check_integrity()
        await to_the_end(bench)
        assert said(bench, 1) == TALK
        await leave(bench)

    run(main())


@pytest.mark.parametrize("workspaces", ["keep", "remove"])
def test_a_process_that_ends_meanwhile_is_saved_as_it_stood_with_its_files(
    tmp_path: Path, monkeypatch: Any, workspaces: str
) -> None:
    """Those go only then, where they are to go with their process."""

    async def main() -> None:
        bench = await born(tmp_path, tools={"workspaces": workspaces})
        process = await bench.exec("talk", on_disconnect="detach")
        bench.step(4)
        folder = Path(bench.kernel.config.workspace) / "1"
        await bench.kernel.put_file(ME, 1, "file", b"data")
        slowly, task = await saving(bench, monkeypatch)
        bench.finish()
        await settle()
        assert process.reason == "stop"
        assert folder.exists()
        slowly.gate.set()
        await task
        await settle()
        assert folder.exists() is (workspaces == "keep")
        at_once(monkeypatch)
        (again,) = await back(bench)
        assert again.generated == 4
        assert await bench.kernel.get_file(ME, 1, "file") == b"data"
        await to_the_end(bench)
        assert said(bench, 1) == TALK
        await leave(bench)
        assert folder.exists() is (workspaces == "keep")

    run(main())


def test_what_comes_back_at_once_waits_until_its_old_files_are_gone(tmp_path: Path, monkeypatch: Any) -> None:
    """Else those who remove them would remove the new ones."""

    async def main() -> None:
        bench = await born(tmp_path)
        await bench.exec("talk", trust="confidential", on_disconnect="detach")
        await bench.kernel.put_file(ME, 1, "file", b"data")
        await bench.kernel.checkpoint(ME, 1, "tale")
        bench.kernel.kill(ME, 1)
        await back(bench)
        assert await bench.kernel.get_file(ME, 1, "file") == b"data"
        await leave(bench)

    run(main())


def test_a_kernel_that_ends_meanwhile_leaves_no_half_of_one(tmp_path: Path, monkeypatch: Any) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        await bench.exec("talk", on_disconnect="detach")
        await bench.kernel.write_memory(ME, 1, 0, b"data")
        slowly, task = await saving(bench, monkeypatch)
        await leave(bench)
        slowly.gate.set()
        await asyncio.wait([task])
        error = task.exception()
        assert isinstance(error, KernelError)
        assert error.code == "CHECKPOINT_FAILED"
        bench = await born(tmp_path)
        assert names(bench, ADMIN) == []
        assert not list((tmp_path / "state" / "checkpoints").iterdir())
        bench.finish()
        await settle()
        assert said(bench, 1) == TALK
        await leave(bench)

    run(main())


def test_one_who_stops_waiting_leaves_nothing_and_calls_go_on(tmp_path: Path, monkeypatch: Any) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("sum", on_disconnect="detach")
        slowly, task = await saving(bench, monkeypatch)
        await rest(bench)
        assert process.calls
        task.cancel()
        await asyncio.wait([task])
        await to_the_end(bench)
        assert process.reason == "stop"
        slowly.gate.set()
        await settle()
        assert names(bench, ADMIN) == []
        assert_kept(bench.kernel)
        await bench.exec("talk")
        await bench.kernel.checkpoint(ME, None, "tale")
        await leave(bench)

    run(main())


def test_each_owner_s_processes_are_saved_as_often_as_the_settings_say(
    tmp_path: Path, monkeypatch: Any
) -> None:
    at_once(monkeypatch)

    async def main() -> None:
        bench = await born(tmp_path, **EVERY)
        await asyncio.sleep(11 * 60)
        assert names(bench, ADMIN) == []  # nobody lives
        for owner in (ME, ME, OTHER, ADMIN):
            await bench.exec("talk", owner=owner)
        await asyncio.sleep(8 * 60)
        assert names(bench, ADMIN) == []
        await asyncio.sleep(2 * 60)
        found = names(bench, ADMIN)
        assert found == [("me", "auto", 2), ("other", "auto", 1), ("root", "auto", 1)]
        bench.step(5)
        await asyncio.sleep(10 * 60)
        await saved(bench, await bench.exec("talk"))
        bench.kernel.kill(ME, 1)
        bench.kernel.kill(ME, 2)
        again = await back(bench, "auto")
        assert [process.generated for process in again] == [5, 5]
        await leave(bench)
        written = bench.kernel.checkpoints.find(ME, "auto").manifest.created
        await asyncio.sleep(30 * 60)
        assert bench.kernel.checkpoints.find(ME, "auto").manifest.created == written

    run(main())


def test_one_that_could_not_be_saved_is_tried_again(tmp_path: Path, monkeypatch: Any) -> None:
    at_once(monkeypatch)

    async def main() -> None:
        bench = await born(tmp_path, limits={"checkpoints": 1}, **EVERY)
        await bench.exec("talk")
        await bench.kernel.checkpoint(ME, 1, "mine")
        await asyncio.sleep(11 * 60)
        assert names(bench, ME) == [("me", "mine", 1)]
        bench.kernel.checkpoints.drop(ME, "mine")
        await asyncio.sleep(10 * 60)
        assert names(bench, ME) == [("me", "auto", 1)]
        await leave(bench)

    run(main())
