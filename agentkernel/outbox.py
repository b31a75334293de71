"""What waits to be written to one client, in the order it must go; no I/O of its own.

Rules
1. Control replies go before DATA frames that are not yet handed to the transport.
2. A process whose reader is `limit` bytes behind is held; it goes on when half of that is left.
3. Events are shed when the client is behind, and the next one that fits says how many were; those about
   a process whose output goes this way are not: its reader may wait for them.
4. Where several processes stream to a client, what a step brings of all goes in one piece: each write is a
   system call, which costs as much as all else that is done for a token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from agentkernel.protocol.connection import ServerConnection

_SEVERAL = 2  # processes
_PIECE = 16 * 1024  # bytes; frames are joined until there are so many


class Reader(Protocol):
    """The transport's side of an outbox."""

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport; may call `Outbox.pause` before it returns."""

    def write_soon(self) -> None:
        """Have `Outbox.flush` called when what is going on is over."""

    def caught_up(self, pid: int) -> None:
        """A process that was held may go on."""

    def stream_ended(self) -> None:
        """A process's last frame was queued."""


class Outbox:
    """The `Sink` of a connection, between the kernel and a transport."""

    def __init__(self, connection: ServerConnection, reader: Reader, limit: int, client: int = 0) -> None:
        self._connection, self._reader, self._limit = connection, reader, limit
        self.client = client
        self._control: deque[bytes] = deque()
        self._data: deque[tuple[int, bytes]] = deque()
        self._control_bytes = self._data_bytes = 0
        self._held: dict[int, None] = {}
        self._streams: set[int] = set()  # processes whose output came, and not their end
        self._seq = self._shed = 0
        self.paused = False
        self.closed = False

    def __repr__(self) -> str:
        return f"<Outbox control={len(self._control)} data={self._data_bytes}B held={list(self._held)}>"

    @property
    def empty(self) -> bool:
        """Whether everything was handed to the transport."""
        return not (self._control or self._data)

    @property
    def congested(self) -> bool:
        """Whether replies have piled up so that no further command should be read."""
        return self._control_bytes > self._limit

    def reply(self, data: bytes) -> None:
        """Send a control reply."""
        if self.closed:
            return
        if self.paused:
            self._control.append(data)
            self._control_bytes += len(data)
        else:
            self._reader.write(data)

    def data(self, pid: int, offset: int, text: bytes) -> bool:
        """Send output of a process; false when its reader is behind (`process.Sink`)."""
        self._streams.add(pid)
        self._queue(pid, self._connection.data_frame(pid, offset, text))
        if self._data_bytes <= self._limit:
            return True
        self._held[pid] = None
        return False

    def end(self, pid: int, offset: int, marker: bytes) -> None:
        """Send the end marker (`process.Sink`)."""
        self._held.pop(pid, None)
        self._streams.discard(pid)
        self._queue(pid, self._connection.data_frame(pid, offset, marker))
        self.flush()  # the reply of the command that ended it comes behind
        self._reader.stream_ended()

    def drop(self, pid: int) -> None:
        """Forget what is queued of a process (`process.Sink`)."""
        self._held.pop(pid, None)
        self._data = deque(item for item in self._data if item[0] != pid)
        self._data_bytes = sum(len(frame) for _, frame in self._data)

    def event(self, event: dict[str, Any]) -> None:
        """Send an event, or count it as shed (`process.Sink`)."""
        if self._data_bytes > self._limit and event.get("pid") not in self._streams:
            self._shed += 1
            return
        if self._shed:
            shed, self._shed = self._shed, 0
            self._event({"kind": "events_dropped", "count": shed})
        self._event(event)

    def pause(self) -> None:
        """The transport is full."""
        self.paused = True

    def resume(self) -> None:
        """The transport has room again: hand it what waits, until it is full."""
        self.paused = False
        while self._control and not self.paused:
            data = self._control.popleft()
            self._control_bytes -= len(data)
            self._reader.write(data)
        while self._data and not self.paused:
            self._reader.write(b"".join(self._piece()))
        if self._data_bytes * 2 <= self._limit:
            held, self._held = self._held, {}
            for pid in held:
                self._reader.caught_up(pid)

    def flush(self) -> None:
        """Hand over what waits only to go together."""
        if self._data and not self.paused:
            self.resume()

    def close(self) -> None:
        """The client is gone: forget everything."""
        self.closed = True
        self._control.clear()
        self._data.clear()
        self._held.clear()
        self._control_bytes = self._data_bytes = 0

    def _event(self, event: dict[str, Any]) -> None:
        self._seq += 1
        self._queue(0, self._connection.event_frame(self._seq, event))

    def _queue(self, pid: int, frame: bytes) -> None:
        if self.closed:
            return
        if not (self.paused or self._data):
            if len(self._streams) < _SEVERAL:
                self._reader.write(frame)
                return
            self._reader.write_soon()
        self._data.append((pid, frame))
        self._data_bytes += len(frame)

    def _piece(self) -> Iterator[bytes]:
        """The frames that go next."""
        size = 0
        while self._data and size < _PIECE:
            _, frame = self._data.popleft()
            self._data_bytes -= len(frame)
            size += len(frame)
            yield frame
