"""Readers of processes' output beside the client that started them: each at its own byte, past or present.

Rules
1. A reader gets every byte from its offset on, once and in order, and then the end marker.
2. One who is behind holds nobody up: what he misses he gets from the journal when he has caught up.
3. What is read from the journal is given out in whole characters.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass

from agentkernel.process import Process, Sink

_CHUNK = 64 * 1024  # bytes read at a time


@dataclass(slots=True)
class _Reader:
    """Where somebody is; `behind` until he has read what was queued for him, and at first."""

    sink: Sink
    offset: int
    behind: bool = True


class Readers:
    """Everybody who is attached; `read` gives a process's output from an offset, so many bytes at most."""

    def __init__(self, read: Callable[[int, int, int], bytes]) -> None:
        self._read = read
        self._readers: dict[int, list[_Reader]] = {}
        self._ends: dict[int, tuple[int, bytes]] = {}  # size and marker of those that ended

    def __repr__(self) -> str:
        return f"<Readers processes={len(self._readers)} readers={sum(map(len, self._readers.values()))}>"

    def attach(self, process: Process, sink: Sink, offset: int, marker: bytes = b"") -> None:
        """Give the sink the process's output from there, once it is said to have caught up.

        The marker is that of a process that has ended.
        """
        self.detach(process.pid, sink)
        self._readers.setdefault(process.pid, []).append(_Reader(sink, offset))
        if marker:
            self._ends[process.pid] = process.offset, marker

    def detach(self, pid: int, sink: Sink) -> bool:
        """Give it no more; whether it was attached."""
        before = self._readers.get(pid, [])
        left = [reader for reader in before if reader.sink is not sink]
        self._keep(pid, left)
        return len(left) < len(before)

    def forget(self, sink: Sink) -> None:
        """The sink is gone."""
        for pid in list(self._readers):
            self.detach(pid, sink)

    def reads(self, sink: Sink, pid: int | None = None) -> bool:
        """Whether the sink is attached to a process, or to this one."""
        some = self._readers.values() if pid is None else [self._readers.get(pid, [])]
        return any(reader.sink is sink for readers in some for reader in readers)

    def data(self, pid: int, offset: int, text: bytes) -> None:
        """The process has put out this."""
        for reader in self._readers.get(pid, ()):
            if not reader.behind and reader.offset == offset:
                reader.offset += len(text)
                reader.behind = not reader.sink.data(pid, offset, text)

    def end(self, pid: int, size: int, marker: bytes) -> None:
        """The process has ended with so many bytes."""
        if pid in self._readers:
            self._ends[pid] = size, marker
            self._go_on(pid, size)

    def caught_up(self, pid: int, size: int, sink: Sink | None) -> None:
        """The sink, or without one each, has read what was queued for it of this process."""
        for reader in self._readers.get(pid, ()):
            reader.behind = reader.behind and sink not in (None, reader.sink)
        self._go_on(pid, self._ends[pid][0] if pid in self._ends else size)

    def _go_on(self, pid: int, size: int) -> None:
        """Give each who has caught up what he lacks of so many bytes."""
        left = []
        for reader in self._readers.get(pid, []):
            self._fill(pid, reader, size)
            if pid in self._ends and reader.offset == self._ends[pid][0] and not reader.behind:
                reader.sink.end(pid, *self._ends[pid])
            else:
                left.append(reader)
        self._keep(pid, left)

    def _fill(self, pid: int, reader: _Reader, size: int) -> None:
        while not reader.behind and reader.offset < size:
            text = self._read(pid, reader.offset, min(_CHUNK, size - reader.offset))
            text = text[: codecs.utf_8_decode(text, "replace", False)[1]]  # noqa: FBT003 - the rest is yet to come
            if not text:  # no longer kept
                reader.offset = size
                return
            start, reader.offset = reader.offset, reader.offset + len(text)
            reader.behind = not reader.sink.data(pid, start, text)

    def _keep(self, pid: int, readers: list[_Reader]) -> None:
        if readers:
            self._readers[pid] = readers
        else:
            self._readers.pop(pid, None)
            self._ends.pop(pid, None)
