"""What a crash at any moment leaves of processes' memory: something it was, not older than what was told of.

Writes, forks and ends go on all at once, pages are spilled, the journal is tidied, and its disk is full at
times. A crash is a copy of the journal as it stands, which another kernel reads.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from pathlib import Path
from random import Random
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.backing import Backing
from agentkernel.errors import KernelError
from agentkernel.journal.errors import JournalFullError
from agentkernel.journal.opening import read_only, wal_of
from agentkernel.journal.store import Journal
from agentkernel.journal.verification import verify
from agentkernel.memory import PAGE, Memory

RAM, DISK = 3, 6
OFFSETS = st.one_of(st.integers(0, 4).map(PAGE.__mul__), st.integers(0, 4 * PAGE))
SIZES = st.one_of(st.integers(1, 3).map(PAGE.__mul__), st.integers(1, 3 * PAGE))
NUMBERS = st.integers(0, 9)
ACTS = st.one_of(
    st.tuples(st.just("write"), NUMBERS, OFFSETS, SIZES),
    st.tuples(st.just("write"), NUMBERS, OFFSETS, SIZES),
    st.tuples(st.just("turns"), st.integers(1, 40)),
    st.tuples(st.just("rest")),
    st.tuples(st.just("fork"), NUMBERS),
    st.tuples(st.just("end"), NUMBERS),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.just("tidy"), st.integers(1, 8)),
    st.tuples(st.just("crash")),
)


class Kernel:
    """The journal, memory and its backing, in a folder; `refuses` is whether the disk is full."""

    def __init__(self, folder: Path) -> None:
        self.path, self.refuses = folder / "journal.db", False
        self.journal = Journal(self.path, sync=lambda fd: None)
        exchange = self.journal._exchange

        def write(*rows):
            if self.refuses:
                raise JournalFullError("full")
            exchange(*rows)

        self.journal._exchange = write
        self.memory = Memory(RAM * PAGE, DISK * PAGE, folder / "memory")
        self.backing = Backing(self.memory, SimpleNamespace(journal=self.journal, commit=self.journal.commit))

    async def close(self) -> None:
        await self.backing.close()
        self.journal.close()


class Story:
    """A kernel, and of each live process all that its memory was, and the least that must come back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kernel = folder, Kernel(folder / "0")
        self.past: dict[int, list[bytes]] = {}
        self.least: dict[int, int] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.random, self.numbers, self.pids = Random(0), itertools.count(1), itertools.count(1)
        placed = self.kernel.memory.placed
        self.kernel.memory.placed = lambda pid, pages: (placed(pid, pages), self.effect(pid, pages))
        self.begin()

    def begin(self) -> None:
        pid = next(self.pids)
        self.kernel.journal.begin(pid, "ann", b"")
        self.kernel.journal.commit()
        self.past[pid], self.least[pid] = [b""], 0

    def effect(self, pid: int, pages: dict[int, bytes]) -> None:
        """A write has taken effect."""
        size = self.kernel.memory.size(pid)
        now = bytearray(self.past[pid][-1].ljust(size, b"\0"))
        for page, content in pages.items():
            now[page * PAGE : (page + 1) * PAGE] = content[: size - page * PAGE]
        self.past[pid].append(bytes(now))

    def start(self, work) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def live(self, number: int) -> int:
        if not self.past:
            self.begin()
        return sorted(self.past)[number % len(self.past)]

    async def write(self, number: int, offset: int, size: int) -> None:
        self.start(self.written(self.live(number), offset, self.random.randbytes(size)))

    async def written(self, pid: int, offset: int, data: bytes) -> None:
        if pid not in self.past:
            return
        try:
            await self.kernel.backing.write(pid, offset, data)
        except KernelError:
            return
        if pid in self.past:
            end = offset + len(data)
            seen = [at for at, memory in enumerate(self.past[pid]) if memory[offset:end] == data]
            self.least[pid] = max(self.least[pid], seen[0])

    async def fork(self, number: int) -> None:
        self.start(self.forked(self.live(number)))

    async def forked(self, parent: int) -> None:
        if parent not in self.past:
            return
        child, kernel = next(self.pids), self.kernel
        try:
            await kernel.backing.fork(parent, child)
        except KernelError:
            return
        memory = self.past[parent][-1] if parent in self.past else b""
        await asyncio.sleep(0)  # it is admitted
        kernel.journal.begin(child, "ann", b"")
        kernel.journal.commit()
        self.past[child], self.least[child] = [memory], 0

    async def end(self, number: int) -> None:
        pid = self.live(number)
        self.kernel.backing.forget(pid)
        self.kernel.journal.ended(pid, 1.0)
        self.kernel.journal.commit()
        del self.past[pid], self.least[pid]

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def rest(self) -> None:
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def full(self, refuses: bool) -> None:
        self.kernel.refuses = refuses

    async def tidy(self, pieces: int) -> None:
        for _ in range(pieces):
            self.kernel.journal.maintain(1.0)

    async def crash(self) -> None:
        left = self.folder / str(next(self.numbers)) / "journal.db"
        left.parent.mkdir()
        shutil.copyfile(self.kernel.path, left)
        shutil.copyfile(wal_of(self.kernel.path), wal_of(left))
        may_be = {pid: past[self.least[pid] :] for pid, past in self.past.items()}  # others go on meanwhile
        with read_only(left) as db:
            assert verify(db).faults == ()
        after = Kernel(left.parent)
        assert await after.backing.restore() == set()
        after.memory.check_integrity()
        for pid, memories in may_be.items():
            assert await after.memory.read(pid) in memories
        assert {pid for _, _, pids in after.journal.held_pages() for pid in pids} <= may_be.keys()
        await after.close()
        shutil.rmtree(left.parent)


@given(st.lists(ACTS, max_size=30))
@settings(max_examples=150, deadline=None)
def test_a_crash_leaves_what_was_told_of_and_no_part_of_a_write(acts):
    async def main():
        with tempfile.TemporaryDirectory() as folder:
            story = Story(Path(folder))
            for act, *arguments in [*acts, ("crash",), ("rest",), ("crash",)]:
                await getattr(story, act)(*arguments)
            story.kernel.memory.check_integrity()
            await story.kernel.close()

    asyncio.run(main())
