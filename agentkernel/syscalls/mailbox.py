"""Messages between processes: a bounded box each; who sends to a full one waits.

Rules
1. A message is in the box before its sender goes on, and leaves it when its reader gets it: none is lost.
2. Messages of one sender arrive in the order they were sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from agentkernel.plan import Letter
from agentkernel.syscalls.errors import ToolError


@dataclass(slots=True)
class _Box:
    letters: deque[Letter]
    changed: Callable[[], None]
    senders: deque[asyncio.Future[None]] = field(default_factory=deque)
    readers: deque[asyncio.Future[None]] = field(default_factory=deque)


class Mailboxes:
    """The boxes of all live processes, each for so many messages."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._boxes: dict[int, _Box] = {}

    def __repr__(self) -> str:
        letters = sum(len(box.letters) for box in self._boxes.values())
        return f"<Mailboxes boxes={len(self._boxes)} letters={letters}>"

    def open(
        self, pid: int, letters: deque[Letter] | None = None, changed: Callable[[], None] = lambda: None
    ) -> None:
        """The process can be written to: into these letters, and `changed` is called when they do."""
        self._boxes[pid] = _Box(deque() if letters is None else letters, changed)

    def close(self, pid: int) -> None:
        """The process has ended: its letters go with it, and who waits to send learns of it."""
        box = self._boxes.pop(pid, None)
        if box is not None:
            for future in (*box.senders, *box.readers):
                _wake(future)

    def count(self, pid: int) -> int:
        """Letters in the process's box."""
        return len(self._boxes[pid].letters) if pid in self._boxes else 0

    async def send(self, pid: int, letter: Letter) -> None:
        """Put it into the box, once there is room. Raises ToolError NOT_FOUND when the process is gone."""
        while len((box := self._box(pid)).letters) >= self._capacity or box.senders:
            await _turn(box.senders)
            if self._boxes.get(pid) is box and len(box.letters) < self._capacity:
                break
        box = self._box(pid)
        box.letters.append(letter)
        box.changed()
        _next(box.readers)

    async def receive(self, pid: int) -> Letter:
        """The oldest letter in the box, once there is one."""
        while not (box := self._box(pid)).letters:
            await _turn(box.readers)
        letter = box.letters.popleft()
        box.changed()
        _next(box.senders)
        return letter

    def _box(self, pid: int) -> _Box:
        try:
            return self._boxes[pid]
        except KeyError:
            raise ToolError("NOT_FOUND", f"no live process {pid}") from None


async def _turn(queue: deque[asyncio.Future[None]]) -> None:
    """Wait in the queue until it is this one's turn; a turn that comes too late goes to the next."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    queue.append(future)
    try:
        await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled():
            _next(queue)
        raise
    finally:
        if future in queue:
            queue.remove(future)


def _next(queue: deque[asyncio.Future[None]]) -> None:
    while queue:
        future = queue.popleft()
        if not future.done():
            future.set_result(None)
            return


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
