"""Processes that are saved, ended and brought back, by hand and without threads."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from agentkernel.errors import KernelError
from agentkernel.process import Owner, Process
from tests.by_hand import ADMIN, ME, Bench, Screen, settle
from tests.fake_jail import FakeJail
from tests.kept import assert_kept
from tests.test_recovery import born


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on a thread's pace, nor does the clock jump meanwhile."""

    async def to_thread(work: Any, *arguments: Any) -> Any:
        await asyncio.sleep(0)
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)


async def saved(bench: Bench, process: Process | None = None, name: str = "tale", owner: Owner = ME) -> None:
    """Save a process or all, and end what was saved."""
    checkpoint = await bench.kernel.checkpoint(owner, process and process.pid, name)
    for held in checkpoint.manifest.processes:
        bench.kernel.kill(ADMIN, held.pid)
    await settle()


async def back(bench: Bench, name: str = "tale", owner: Owner = ME, *, as_new: bool = False) -> list[Process]:
    """The processes of a checkpoint, brought back."""
    found = await bench.kernel.restore(owner, name, as_new=as_new)
    assert_kept(bench.kernel)
    await settle()
    return [process for process, _ in found]


async def one_back(bench: Bench, process: Process, *, as_new: bool = False) -> Process:
    """A process that was saved, ended and brought back, before it goes on."""
    await saved(bench, process)
    (again,) = await back(bench, as_new=as_new)
    return again


async def read(bench: Bench, pid: int, start: int) -> Screen:
    """A reader that gets all of a process from a byte on."""
    screen = Screen()
    await bench.kernel.attach(ME, pid, start, screen)
    return screen


async def carried(bench: Bench, to: Path, jail: FakeJail | None = None, **settings: Any) -> Bench:
    """Another kernel, with copies of this one's checkpoints."""
    shutil.copytree(Path(bench.kernel.config.state) / "checkpoints", to / "state" / "checkpoints")
    return await born(to, jail, **settings)


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
