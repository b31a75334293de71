"""The memory of processes as the journal has it: what a write changed is written down before it is told of.

Rules
1. Of each process, the pages that changed since they were written down are known, exactly: `Memory` tells of
   them in the step that puts them in place. They are written down together, or none of them.
2. What could not be written down stays in memory, and among what changed: whoever wrote it is told, and the
   next write of the process takes it along. Until then a restart brings back what was there before.
3. The journal's thread does the writing, in bites: nothing else waits for more than one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TypeVar

from agentkernel.errors import KernelError
from agentkernel.journal.errors import JournalFailedError, JournalFullError
from agentkernel.memory import PAGE, Memory
from agentkernel.recording import Recorder

T = TypeVar("T")

_BITE = 16  # pages, 256 KiB: a third of a millisecond


class Backing:
    """What stands behind the memory of all processes. Without durability nothing does."""

    def __init__(self, memory: Memory, recorder: Recorder) -> None:
        self._memory, self._recorder, self._journal = memory, recorder, recorder.journal
        self._changed: dict[int, dict[int, bytes | None]] = {}  # by PID, pages; None is what memory has
        self._turns: dict[int, asyncio.Lock] = {}  # one at a time writes down a process's
        self._keeping: set[asyncio.Task[None]] = set()
        self._queued: set[asyncio.Task[int]] = set()
        if self._journal.durability != "off":
            memory.placed = self._placed

    def __repr__(self) -> str:
        return f"<Backing changed={sum(map(len, self._changed.values()))} writing={len(self._keeping)}>"

    async def write(self, pid: int, offset: int, data: bytes) -> int:
        """As `Memory.write`, and it survives. Raises JOURNAL_FULL when it is in memory alone."""
        pages = await self._memory.write(pid, offset, data)
        await self.keep(pid)
        return pages

    def queue(self, pid: int, offset: int, data: bytes) -> asyncio.Future[int]:
        """As `Memory.queue`; it is done when it survives, or with JOURNAL_FULL."""
        task = asyncio.get_running_loop().create_task(self._kept(pid, self._memory.queue(pid, offset, data)))
        self._queued.add(task)
        task.add_done_callback(self._queued.discard)
        return task

    async def keep(self, pid: int) -> None:
        """Have all that changed of the process survive. Raises JOURNAL_FULL."""
        if pid in self._changed:
            self._turns.setdefault(pid, asyncio.Lock())
        turn = self._turns.get(pid)
        if turn is not None and (pid in self._changed or turn.locked()):
            task = asyncio.get_running_loop().create_task(self._keep(pid, turn))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)
            await asyncio.shield(task)  # whoever stops waiting, it is finished

    async def fork(self, parent: int, child: int) -> None:
        """A process that is to begin has its parent's memory, which survives from then on.

        What changed is written down before, so that the two share it in the journal too. Raises JOURNAL_FULL.
        """
        while parent in self._changed:
            await self.keep(parent)
        self._memory.fork(parent, child)
        self._journal.fork(parent, child)

    def forget(self, pid: int) -> None:
        """The process has ended, or never begun."""
        self._memory.forget(pid)
        self._journal.abandon(pid)
        self._changed.pop(pid, None)
        self._turns.pop(pid, None)

    async def restore(self) -> set[int]:
        """Bring back the memory of all processes that live; the PIDs of those of whom not all fits.

        Raises JournalError.
        """
        lost: set[int] = set()
        for bite in _bites(self._journal.held_pages()):
            contents = self._journal.read_contents([content for content, _, _ in bite])
            for (_, page, pids), content in zip(bite, contents, strict=True):
                if staying := [pid for pid in pids if pid not in lost]:
                    try:
                        await self._memory.restore(staying, page, content)
                    except KernelError:
                        lost.update(staying)
                        for pid in staying:
                            self._memory.forget(pid)
        self._changed.clear()
        return lost

    async def close(self) -> None:
        """Let what is being written down be so, and give up the memory."""
        if self._keeping:
            await asyncio.wait(self._keeping)
        await self._memory.close()
        if self._queued:
            await asyncio.wait(self._queued)

    def _placed(self, pid: int, pages: dict[int, bytes]) -> None:
        changed, size = self._changed.setdefault(pid, {}), self._memory.size(pid)
        for page, content in pages.items():
            changed[page] = content[: size - page * PAGE]

    async def _kept(self, pid: int, write: asyncio.Future[int]) -> int:
        pages = await write
        await self.keep(pid)
        return pages

    async def _keep(self, pid: int, turn: asyncio.Lock) -> None:
        async with turn:
            try:
                if changed := self._changed.get(pid):  # else another took it along
                    await self._write_down(pid, changed)
                await self._journal.synced()
            except JournalFullError as error:
                raise KernelError("JOURNAL_FULL", str(error)) from error
            except JournalFailedError:
                self._recorder.commit()  # which ends the kernel
                raise

    async def _write_down(self, pid: int, changed: dict[int, bytes | None]) -> None:
        taken = dict(changed)
        pages = list(taken)
        numbers: list[int] = []
        try:
            for bite in _bites(pages):
                contents = [taken[page] or await self._content(pid, page) for page in bite]
                numbers += await self._journal.contents(contents)
        except (JournalFullError, KernelError):
            self._journal.discard(numbers)
            changed.update((page, None) for page in pages if changed[page] is taken[page])
            raise
        if self._changed.get(pid) is not changed:
            self._journal.discard(numbers)
            raise KernelError("PID_NOT_FOUND", f"PID {pid} has ended")
        if any(taken[page] is None and changed[page] is not None for page in pages):
            self._journal.discard(numbers)  # read while another write took effect, perhaps a part of it
            await self._write_down(pid, changed)
            return
        self._journal.pages(pid, dict(zip(pages, numbers, strict=True)))
        for page in pages:
            if changed[page] is taken[page]:
                del changed[page]
        if not changed:
            del self._changed[pid]

    async def _content(self, pid: int, page: int) -> bytes:
        start = page * PAGE
        return await self._memory.read(pid, start, min(PAGE, self._memory.size(pid) - start))


def _bites(pages: Sequence[T]) -> Iterator[Sequence[T]]:
    return (pages[at : at + _BITE] for at in range(0, len(pages), _BITE))
