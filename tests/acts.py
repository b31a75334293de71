"""What happens at a kernel under test besides what its clients send: a session's `!` lines."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from agentkernel.memory import PAGE
from agentkernel.process import State
from agentkernel.syscalls.errors import ToolError
from tests.fake_jail import BROKEN

if TYPE_CHECKING:
    from agentkernel.checkpoints import Checkpoint
    from agentkernel.process import Owner
    from agentkernel.server import Connection
    from tests.harness import Bench


async def step(bench: Bench, count: int) -> None:
    """The engine steps, so many times."""
    for _ in range(count):
        assert bench.engines[-1].step(), "no process runs"


async def rest(bench: Bench, _count: int) -> None:
    """The engine steps until nothing runs, nor will."""
    while any(process.state in (State.READY, State.RUNNING) for process in bench.kernel.table):
        bench.engines[-1].step()
        await asyncio.sleep(0)


async def die(bench: Bench, count: int) -> None:
    """It dies and another begins, so many times."""
    for _ in range(count):
        served = bench.kernel.models.current()
        before = served.restarts
        bench.engines[-1].die()
        while served.restarts == before and not served.broken:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)


async def load(bench: Bench, _count: int) -> None:
    """What it loads is loaded."""
    while not bench.engines:  # noqa: ASYNC110 - a thread reads the file
        await asyncio.sleep(0)
    bench.engines[-1].may_load.set()


async def fill(bench: Bench, count: int) -> None:
    """Process 1 fills so many pages of its memory."""
    await bench.kernel.memory.write(1, 0, bytes(count * PAGE))


async def rot(bench: Bench, _count: int) -> None:
    """What processes' memory has on disk is no longer what was written."""
    file = bench.kernel.memory._file
    os.pwrite(file._fd, bytes(PAGE), 0)


async def renew(bench: Bench, _count: int) -> None:
    """The current model is loaded from another file of its name."""
    bench.kernel.models.current().fingerprint = "another"


async def lose(bench: Bench, _count: int) -> None:
    """The folders of snapshots, checkpoints and registered tools can't be written."""
    for name in ("snapshots", "checkpoints", "tools"):
        folder = Path(bench.kernel.config.state) / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.touch()


async def spoil(bench: Bench, _count: int) -> None:
    """The disk gives back another byte of each checkpoint's first member."""
    for path in (Path(bench.kernel.config.state) / "checkpoints").iterdir():
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)


async def pin(bench: Bench, _count: int) -> None:
    """No file of a checkpoint can be removed."""
    find = bench.kernel.checkpoints.find

    def pinned(owner: Owner, name: str) -> Checkpoint:
        found = find(owner, name)
        return msgspec.structs.replace(found, path=found.path / "below a file")

    bench.kernel.checkpoints.find = pinned


async def breach(bench: Bench, _count: int) -> None:
    """The jail's self-test has found a fault since."""
    bench.kernel.gate.jail.verdict = BROKEN


async def litter(bench: Bench, pid: int) -> None:
    """A program leaves a file in the process's workspace whose name is neither text nor one line."""
    workspace = bench.kernel.gate.workspace(bench.kernel.table.live(pid)).make()
    os.mknod(os.fsencode(workspace) + b"/\xff\n2 Files")


class _Unreadable:
    """A workspace on a disk that fails."""

    def listing(self, path: str) -> NoReturn:
        raise ToolError("TOOL_FAILED", f"input/output error: {path}")

    def get(self, path: str, _limit: int) -> NoReturn:
        self.listing(path)


async def wear(bench: Bench, _count: int) -> None:
    """The disk that workspaces are on can't be read any more."""
    bench.kernel.gate.workspace = lambda _process: _Unreadable()


async def ask(bench: Bench, count: int) -> None:
    """So many processes ask a person something, or for approval."""
    people = bench.kernel.gate.people
    while sum(people.of(process.pid) is not None for process in bench.kernel.table) < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def call(bench: Bench, count: int) -> None:
    """So many jobs have begun, in jails."""
    while len(bench.kernel.gate.jail.jobs) < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def stall(bench: Bench, client: int) -> None:
    """The network takes nothing more for that client, by the order in which clients came."""
    _connection(bench, client).pause_writing()


async def flow(bench: Bench, client: int) -> None:
    """The network takes what waits for that client, and what follows."""
    _connection(bench, client).resume_writing()


def _connection(bench: Bench, client: int) -> Connection:
    return next(each for each in bench.server._connections if each.client == client)


async def pace(bench: Bench, ms: int) -> None:
    """The model has been measured: a token of a prompt, and a step, take so many milliseconds."""
    rates = bench.kernel.models.current().paging.pager.rates
    rates.prefill.value = rates.step.value = float(ms)


async def forget(bench: Bench, _count: int) -> None:
    """The journal does all the upkeep that is due."""
    while bench.kernel.recorder.journal.maintain(time.time()):
        pass


ACTS: dict[str, Callable[[Bench, int], Awaitable[None]]] = {
    act.__name__: act
    for act in (
        *(step, rest, die, load, fill, rot, renew, lose, spoil, pin, breach),
        *(litter, wear, ask, call, stall, flow, forget, pace),
    )
}


async def act(bench: Bench, what: str, count: str = "1") -> None:
    """Do what a `!` line says: the name of one of `ACTS`, and a number perhaps."""
    await asyncio.sleep(0)  # a new process gets its slot in the round after its reply
    await ACTS[what](bench, int(count))
