"""The memory of processes: pages in RAM or in a spill file, shared after a fork until either side writes.

Rules
1. A page's content never changes. A write makes new pages and puts them in place in one step, after all
   I/O; whatever fails or is cancelled before that has changed nothing.
2. A page is in exactly one tier. It is read from RAM until its copy is in the file and it is taken out.
3. Pages together never exceed the two budgets. Until a write is in place, its own pages come on top in
   RAM, and copies in the file; one write at a time.
4. A page that comes back wrong from the file fails the reads that want it, and no others.
5. The least recently used pages give way. A read takes pages back into RAM only while there is free RAM,
   else it reads through: scanning more than fits pushes nothing out.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from agentkernel.errors import KernelError
from agentkernel.spill import Copy, SpillFile
from agentkernel.usage import COUNTED, Usage

PAGE = 16 * 1024
_ZEROS = bytes(PAGE)


@dataclass(slots=True, eq=False)
class _Page:
    """Its bytes while in RAM, or its copy in the file; `holders` are PIDs, from who has had it longest."""

    holders: dict[int, None]
    content: bytes | Copy


@dataclass(slots=True, eq=False)
class _Space:
    """One process's memory; pages that were never written are absent and read as zeros."""

    pid: int
    size: int = 0
    pages: dict[int, _Page] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # orders its reads and writes
    counts: Counter[str] = field(default_factory=Counter)


class _NoRoomError(KernelError):
    """The write does not fit now."""


class Memory:
    """The pages of all processes. Budgets are bytes, rounded down to pages; no file means no disk."""

    def __init__(
        self, ram: int, disk: int, file: Path | None, *, queued: int = 64, queued_bytes: int = 64 << 20
    ) -> None:
        self._ram, self._disk = ram // PAGE, disk // PAGE if file is not None else 0
        self._total = self._ram + self._disk
        self._file = SpillFile(file, PAGE)
        self._spaces: dict[int, _Space] = {}
        self._in_ram: OrderedDict[_Page, None] = OrderedDict()  # least recently used first
        self._on_disk: set[_Page] = set()
        self._placing = asyncio.Lock()  # one write at a time finds room
        self._queue: dict[asyncio.Task[int], tuple[int, int]] = {}  # to PID and bytes
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()  # of the queue's head
        self._queued, self._queued_bytes = queued, queued_bytes
        self._counts: Counter[str] = Counter()
        self.placed: Callable[[int, dict[int, bytes]], None] | None = None  # told of each write's pages

    def __repr__(self) -> str:
        ram, disk = f"{len(self._in_ram)}/{self._ram}", f"{len(self._on_disk)}/{self._disk}"
        return f"<Memory ram={ram} disk={disk} waiting={len(self._queue)}>"

    def size(self, pid: int) -> int:
        """The end of what was written, in bytes."""
        space = self._spaces.get(pid)
        return 0 if space is None else space.size

    def room(self, pid: int, offset: int, size: int) -> bool:
        """Whether the write would fit now, and nobody who came earlier has to wait for the same."""
        if not 0 <= offset <= self._total * PAGE - size:
            return False
        pages = self._spaces[pid].pages if pid in self._spaces else {}
        touched = (pages.get(index) for index in _indices(offset, size))
        need = sum(page is None or len(page.holders) > 1 for page in touched)
        return need <= self._free and not any(need or of == pid for of, _ in self._queue.values())

    async def write(self, pid: int, offset: int, data: bytes) -> int:
        """Put bytes at an offset, all or none; how many pages that touched. A gap before them reads as zeros.

        Raises MEMW_INVALID, MEMW_FAILED (no room, or the disk refused), PID_NOT_FOUND (forgotten meanwhile).
        A coroutine that has not begun knows nothing of `forget`: await it in the step that found the process.
        """
        space = self._space(pid, offset, len(data))
        try:
            return await self._write(space, offset, data)
        except _NoRoomError:
            self._count(space, oom_events=1)
            raise

    def queue(self, pid: int, offset: int, data: bytes) -> asyncio.Future[int]:
        """The write when there is room, first come first served; at once if there is and nobody waits.

        Cancelling it, or forgetting the process, leaves everything as it was. Raises MEMW_FAILED for what can
        never fit, and when too many wait.
        """
        space = self._space(pid, offset, len(data))
        if not self.room(pid, offset, len(data)):
            self._count(space, oom_events=1)
        held = sum(size for _, size in self._queue.values())
        if len(self._queue) >= self._queued or held + len(data) > self._queued_bytes:
            details = {"waiting": len(self._queue), "bytes": held}
            raise KernelError("MEMW_FAILED", "too many writes wait for room", details)
        task = asyncio.get_running_loop().create_task(self._write_in_turn(space, offset, data))
        self._queue[task] = (pid, len(data))
        task.add_done_callback(lambda _: self._queue.pop(task, None))
        return task

    async def read(self, pid: int, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes from an offset, to the end if no length is given.

        Raises MEMR_INVALID for what lies outside, MEMR_FAILED for a page that came back wrong, PID_NOT_FOUND.
        """
        space = self._space(pid)
        async with space.lock:
            self._alive(space)
            end = space.size if length is None else offset + length
            if not 0 <= offset <= end <= space.size:
                text = f"{space.size} bytes have been written"
                raise KernelError("MEMR_INVALID", text, {"size": space.size})
            indices = _indices(offset, end - offset)
            contents = await self._contents(space, indices, "MEMR_FAILED")
        start = offset - indices.start * PAGE
        return b"".join(contents)[start : start + end - offset]

    def fork(self, parent: int, child: int) -> None:
        """The child begins with the parent's memory; pages are shared until either writes to them."""
        if self.size(child):
            raise ValueError(f"PID {child} has memory of its own")
        if (space := self._spaces.get(parent)) is not None:
            copy = self._spaces[child] = _Space(child, space.size, dict(space.pages))
            for page in copy.pages.values():
                page.holders[child] = None

    async def restore(self, pids: Sequence[int], page: int, content: bytes) -> None:
        """Put a page in place that these processes share, the one that has had it longest first.

        Raises as `write`.
        """
        first, *others = pids
        await self.write(first, page * PAGE, content)
        shared = self._spaces[first].pages[page]
        for pid in others:
            space = self._spaces.setdefault(pid, _Space(pid))
            space.pages[page] = shared
            space.size = max(space.size, page * PAGE + len(content))
            shared.holders[pid] = None

    def forget(self, pid: int) -> None:
        """The process has ended: its pages are free, its queued writes cancelled, its running ones fail."""
        space = self._spaces.pop(pid, None)
        if space is None:
            return
        for page in space.pages.values():
            self._release(page, pid)
        for task in [task for task, (owner, _) in self._queue.items() if owner == pid]:
            del self._queue[task]
            task.cancel()
        self._freed.set()

    def usage(self, pid: int | None = None) -> Usage:
        """What a process, or all of them, hold and have cost."""
        space = None if pid is None else self._spaces.get(pid, _Space(pid))
        counts = self._counts if space is None else space.counts
        ram, disk = len(self._in_ram), len(self._on_disk)
        if space is not None:
            charged = [page for page in space.pages.values() if next(iter(page.holders)) == pid]
            ram = sum(isinstance(page.content, bytes) for page in charged)
            disk = len(charged) - ram
        return Usage(
            total_blocks=self._total,
            free_blocks=self._free,
            alloc_bytes=(ram + disk) * PAGE,
            ram_bytes=ram * PAGE,
            disk_bytes=disk * PAGE,
            waiting=sum(pid in (None, owner) for owner, _ in self._queue.values()),
            page_in_ms=counts["page_in_us"] / 1e3,
            page_out_ms=counts["page_out_us"] / 1e3,
            **{name: counts[name] for name in COUNTED},
        )

    def check_integrity(self) -> None:
        """Raise ValueError unless pages, holders, tiers, blocks and budgets agree."""
        held: dict[_Page, set[int]] = {}
        for pid, space in self._spaces.items():
            for page in space.pages.values():
                held.setdefault(page, set()).add(pid)
        if any(set(page.holders) != pids for page, pids in held.items()):
            raise ValueError("a page is held by others than it says")
        in_ram = {page for page in held if isinstance(page.content, bytes)}
        if set(self._in_ram) != in_ram or self._on_disk != held.keys() - in_ram:
            raise ValueError("a page is in two tiers, in none, or held by nobody")
        if len(in_ram) > self._ram or len(self._on_disk) > self._disk:
            raise ValueError(f"over budget: {self!r}")
        self._file.check_integrity(
            page.content for page in self._on_disk if not isinstance(page.content, bytes)
        )
        if self._file.used != len(self._on_disk) and not self._placing.locked():
            raise ValueError(f"{self._file.used} blocks taken for {self!r}")

    async def close(self) -> None:
        """Forget everybody, let I/O under way finish, and give up the file."""
        queued = list(self._queue)
        for pid in list(self._spaces):
            self.forget(pid)
        await asyncio.gather(*queued, return_exceptions=True)
        await self._file.close()

    @property
    def _free(self) -> int:
        return self._total - len(self._in_ram) - len(self._on_disk)

    def _space(self, pid: int, offset: int = 0, size: int = 0) -> _Space:
        """The process's memory, if a write there can ever fit."""
        space = self._spaces.setdefault(pid, _Space(pid))
        if offset < 0:
            raise KernelError("MEMW_INVALID", "an offset counts from 0", {"offset": offset})
        if offset + size > self._total * PAGE:
            self._count(space, oom_events=1)
            details = {"end": offset + size, "limit": self._total * PAGE}
            raise KernelError("MEMW_FAILED", "it can never fit", details)
        return space

    def _alive(self, space: _Space) -> None:
        if self._spaces.get(space.pid) is not space:
            raise KernelError("PID_NOT_FOUND")

    def _count(self, space: _Space, **amounts: int) -> None:
        space.counts.update(amounts)
        self._counts.update(amounts)

    async def _write_in_turn(self, space: _Space, offset: int, data: bytes) -> int:
        async with self._turn:
            while True:
                self._freed.clear()
                try:
                    return await self._write(space, offset, data)
                except _NoRoomError:
                    await self._freed.wait()

    async def _write(self, space: _Space, offset: int, data: bytes) -> int:
        end, indices = offset + len(data), _indices(offset, len(data))
        edges = [at for at in (offset, end) if at % PAGE and data]  # in pages of which a part stays
        async with space.lock, self._placing:
            self._alive(space)
            contents = await self._contents(space, [at // PAGE for at in edges], "MEMW_FAILED")
            kept = dict(zip(edges, contents, strict=True))
            whole = kept.get(offset, b"")[: offset % PAGE] + data + kept.get(end, b"")[end % PAGE :]
            pieces = [whole[at : at + PAGE] for at in range(0, len(whole), PAGE)]
            pages = (_Page({space.pid: None}, piece) for piece in pieces)
            await self._place(space, dict(zip(indices, pages, strict=True)))
            space.size = max(space.size, end) if data else space.size
            if self.placed is not None:
                self.placed(space.pid, dict(zip(indices, pieces, strict=True)))
        return len(indices)

    async def _contents(self, space: _Space, indices: Sequence[int], code: str) -> list[bytes]:
        """The pages' bytes; a page that does not come back raises the code."""
        pages = {index: page for index in indices if (page := space.pages.get(index)) is not None}
        away = {page: page.content for page in pages.values() if not isinstance(page.content, bytes)}
        found = {page: page.content for page in pages.values() if isinstance(page.content, bytes)}
        if away:
            with self._counted(space, "page_in", len(away)):
                came = await self._file.read(list(away.values()))
            found.update((page, data) for page, data in zip(away, came, strict=True) if data is not None)
            lost, back = came.count(None), (len(came) - came.count(None)) * PAGE
            self._count(space, swap_faults=len(away), swap_failures=lost, page_in_bytes=back)
        for index, page in pages.items():
            if page not in found:
                raise KernelError(code, f"page {index} did not come back from disk", {"page": index})
            self._touch(page, found[page])
        return [found[pages[index]] if index in pages else _ZEROS for index in indices]

    def _touch(self, page: _Page, data: bytes) -> None:
        """The page has been used; free RAM takes it back."""
        if page in self._in_ram:
            self._in_ram.move_to_end(page)
        elif page.holders and len(self._in_ram) < self._ram:
            self._evacuate(page)
            page.content = data
            self._in_ram[page] = None

    async def _place(self, space: _Space, fresh: dict[int, _Page]) -> None:
        """Put new pages in place of old ones, once as many pages are copied to the file as RAM lacks.

        While copies are written others may fork, end and read, so what is lacking is counted again.
        """
        copies: dict[_Page, Copy] = {}
        try:
            while True:
                self._alive(space)
                before = [old for index in fresh if (old := space.pages.get(index)) is not None]
                going = {old for old in before if len(old.holders) == 1}
                if len(fresh) - len(going) > self._free:
                    details = {"needed": len(fresh) - len(going), "free": self._free}
                    raise _NoRoomError("MEMW_FAILED", "no room", details)
                kept = len(self._in_ram) - sum(page in self._in_ram for page in going)
                lack = max(0, kept + len(fresh) - self._ram)
                ready = [page for page in copies if page.holders and page not in going][:lack]
                if len(ready) == lack:
                    break
                others = (page for page in chain(self._in_ram, fresh.values()) if page not in going)
                more = islice((page for page in others if page not in copies), lack - len(ready))
                copies.update(await self._copy(space, list(more)))
            self._commit(space, fresh, {page: copies.pop(page) for page in ready})
        finally:
            for copy in copies.values():
                self._file.give(copy)

    async def _copy(self, space: _Space, pages: list[_Page]) -> dict[_Page, Copy]:
        """Write pages of RAM to the file."""
        contents = [page.content for page in pages if isinstance(page.content, bytes)]
        try:
            with self._counted(space, "page_out", len(pages)):
                copies = await self._file.write(contents)
        except OSError as error:
            self._count(space, swap_failures=1)
            text = f"a page could not be written to disk: {error.strerror}"
            raise KernelError("MEMW_FAILED", text, {"errno": error.errno or 0}) from error
        self._count(space, swap_count=len(pages), page_out_bytes=len(pages) * PAGE)
        return dict(zip(pages, copies, strict=True))

    def _commit(self, space: _Space, fresh: dict[int, _Page], leaving: dict[_Page, Copy]) -> None:
        for page, copy in leaving.items():
            page.content = copy
            if page in self._in_ram:
                del self._in_ram[page]
                self._count(self._spaces[next(iter(page.holders))], evictions=1)
            self._on_disk.add(page)
        for index, page in fresh.items():
            if index in space.pages:
                self._release(space.pages[index], space.pid)
            space.pages[index] = page
            if page not in self._on_disk:
                self._in_ram[page] = None

    def _release(self, page: _Page, pid: int) -> None:
        """The process has the page no more; the last to have it frees it."""
        del page.holders[pid]
        if not page.holders:
            self._evacuate(page)

    def _evacuate(self, page: _Page) -> None:
        """Take the page out of its tier."""
        if isinstance(page.content, bytes):
            del self._in_ram[page]
        else:
            self._on_disk.remove(page)
            self._file.give(page.content)

    @contextmanager
    def _counted(self, space: _Space, way: str, pages: int) -> Iterator[None]:
        began = time.perf_counter_ns()
        self._count(space, pending_swaps=pages)
        try:
            yield
        finally:
            us = (time.perf_counter_ns() - began) // 1000
            self._count(space, **{"pending_swaps": -pages, f"{way}_us": us})


def _indices(offset: int, size: int) -> range:
    """Which pages the bytes are in."""
    first = offset // PAGE
    return range(first, -(-(offset + size) // PAGE) if size else first)
