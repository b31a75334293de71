"""What a kernel's journal has of its processes, beside what the kernel has itself; copies of its state."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

from agentkernel.journal.store import _END, Journal
from agentkernel.kernel import Kernel
from agentkernel.process import Process
from agentkernel.quotas import Books
from agentkernel.recording import Recorder
from agentkernel.records import Standing
from tests.by_hand import Bench, Screen

MIXED = {"journal": {"durability": "mixed"}}
POWER = {"journal": {"durability": "power"}}


class AtOnce(Executor):
    """Runs what it is given before it returns: nothing depends on a thread's pace."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def without_threads(journal: Journal, sync: Callable[[int], None] = lambda _file: None) -> None:
    """Have the journal sync at once, and by this."""
    journal._thread.shutdown()
    journal._thread = journal._syncs._thread = AtOnce()
    journal._database._sync = sync


@contextlib.contextmanager
def no_room(bench: Bench) -> Iterator[None]:
    """The kernel's journal takes nothing meanwhile."""
    db = bench.kernel.recorder.journal._database._db
    db.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        if not bench.kernel.recorder.journal._database.closed:
            db.execute("PRAGMA query_only = OFF")


class _Later(Executor):
    """Runs what it is given when told to."""

    def __init__(self) -> None:
        self._given: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._given.append((Future(), partial(fn, *args, **kwargs)))
        return self._given[-1][0]

    def run(self) -> None:
        for future, call in self._given:
            future.set_result(call())


@contextlib.contextmanager
def not_synced(bench: Bench) -> Iterator[None]:
    """What the kernel's journal takes meanwhile is not on the disk before the end."""
    syncs, later = bench.kernel.recorder.journal._syncs, _Later()
    before, syncs._thread = syncs._thread, later
    yield
    syncs._thread = before
    later.run()


class Witness(Screen):
    """A screen that is shown nothing that is not in the journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def data(self, pid: int, offset: int, text: bytes) -> bool:
        assert self._journal.read_output(pid, offset, len(text)) == text
        return super().data(pid, offset, text)

    def end(self, pid: int, offset: int, marker: bytes) -> None:
        assert (_END, pid) not in [(said, values[-1]) for said, values in self._journal._others]
        super().end(pid, offset, marker)


def facts(process: Process) -> dict[str, Any]:
    """All that a restart must find of a process, but for times."""
    standing = Standing.of(process, 0.0)
    found = {name: getattr(standing, name) for name in Standing.__struct_fields__}
    del found["age"], found["spent"], found["kv_byte_secs"]
    birth = {name: getattr(process, name) for name in ("pid", "owner", "plan", "model_id", "client")}
    return found | birth | {"tokens": list(process.tokens), "soft": process.soft}


def assert_kept(kernel: Kernel) -> None:
    """Once committed, the journal has of every live process all that a restart must find, and no others."""
    recorder = kernel.recorder
    recorder.commit()
    second = Recorder(recorder.journal, lambda: 0.0)
    found = {process.pid: process for process, _ in second.recover()}
    being_admitted = kernel.table._promised & set(recorder._kept)
    assert set(found) - being_admitted == {process.pid for process in kernel.table}
    books = {name: account.books for name, account in kernel.accounts._accounts.items()}
    kept = recorder.accounts()
    assert {name: kept.get(name, Books()) for name in books} == books
    for process in kernel.table:
        theirs, ours = facts(found[process.pid]), facts(process)
        assert {name: (theirs[name], ours[name]) for name in ours if theirs[name] != ours[name]} == {}
        assert recorder.journal.output_size(process.pid) == process.offset


def copied(state: Path, to: Path) -> Path:
    """The state as a kernel would leave it that died now."""
    shutil.copytree(state, to, symlinks=True, dirs_exist_ok=True)
    return to
