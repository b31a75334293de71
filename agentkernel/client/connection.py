"""The client's view of one connection, sans-I/O: requests out, answers to whom they belong.

Rules
1. Answers come in the order of requests; frames come between them and name their process.
2. Each answer and each stream has an `Inbox` of its own; one reader never takes another's.
3. The end marker is not text: it ends the stream. A frame of a process that nobody reads is dropped.
4. Once lost, a connection fails every inbox that still waits, and is of no further use.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from agentkernel.client.errors import ClientError, ConnectionLostError, refusal
from agentkernel.client.replies import Attached, Envelope, Event, EventFrame, Forked, Named, Started
from agentkernel.client.requests import Request
from agentkernel.protocol.framing import Frame, Reply, ReplyError, ReplyParser, encode_request

T = TypeVar("T")
_AGENT = "client"
_MARKER = re.compile(rb"\n\[PROCESS_FINISHED pid=([0-9]+) tokens_generated=[0-9]+ elapsed_secs=[0-9.]+\]\n")


@dataclass(frozen=True, slots=True)
class Text:
    """Output of a process, and the byte of all of it where this ends."""

    text: str
    end: int


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """An interactive process waits for input."""

    reason: str


class Inbox(Generic[T]):
    """What has come for one reader: items, and perhaps an error behind them."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._error: ClientError | None = None
        self.over = False  # nothing will come any more
        self._wakers: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Inbox items={len(self._items)} over={self.over}>"

    def put(self, item: T) -> None:
        """Something has come."""
        self._items.append(item)
        self._arrived()

    def end(self, error: ClientError | None = None) -> None:
        """Nothing will come any more."""
        self._error, self.over = error, True
        self._arrived()

    def call_at_arrival(self, waker: Callable[[], None]) -> None:
        """Call it once, when the next thing comes."""
        self._wakers.append(waker)

    def take_nowait(self) -> T | None:
        """The next item, None when there is none; raises the error once all items are taken."""
        if self._items:
            return self._items.popleft()
        self.check()
        return None

    def take(self) -> T:
        """The item of an inbox that is over and got one."""
        return self._items.popleft()

    def check(self) -> None:
        """Raise the error it ended with, if it did."""
        if self._error is not None:
            raise self._error

    def _arrived(self) -> None:
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker()


Output = Text | TurnEnd


class ClientConnection:
    """One connection from its first byte to its last."""

    def __init__(self) -> None:
        self._parser = ReplyParser()
        self._asked: deque[tuple[Request[Any], Inbox[Any]]] = deque()
        self._streams: dict[int, Inbox[Output]] = {}
        self._started: dict[int, Inbox[Output]] = {}  # those nobody has asked for yet
        self._listeners: list[Inbox[Event]] = []
        self._watchers: list[Callable[[Event], None]] = []
        self._error: ClientError | None = None

    def __repr__(self) -> str:
        return f"<ClientConnection asked={len(self._asked)} streams={list(self._streams)}>"

    @property
    def usable(self) -> bool:
        """Whether anything may still be sent."""
        return self._error is None

    def send(self, request: Request[T]) -> tuple[bytes, Inbox[T]]:
        """The bytes of a request, and where its answer will be."""
        inbox: Inbox[T] = Inbox()
        if self._error is None:
            self._asked.append((request, inbox))
        else:
            inbox.end(self._error)
        return encode_request(request.verb, _AGENT, request.payload), inbox

    def stream(self, pid: int) -> Inbox[Output]:
        """Where the process's output is: what EXEC or ATTACH began all of it, else from now on."""
        started = self._started.pop(pid, None)
        if started is not None:
            return started
        if self._error is not None:
            raise self._error
        return self._streams.setdefault(pid, Inbox())

    def listen(self) -> Inbox[Event]:
        """Where events are from now on."""
        inbox: Inbox[Event] = Inbox()
        self._listeners.append(inbox)
        return inbox

    def watch(self, watcher: Callable[[Event], None]) -> None:
        """Call it with each event from now on, as it comes."""
        self._watchers.append(watcher)

    def receive(self, data: bytes) -> None:
        """Hand out what these bytes complete; no bytes, or those of another protocol, end it."""
        if not data:
            self.lost("the kernel closed the connection")
        try:
            for item in self._parser.receive(data):
                if isinstance(item, Reply):
                    self._answer(item)
                elif item.kind == "event":
                    self._event(item.payload)
                else:
                    self._output(item)
        except (ValueError, msgspec.MsgspecError) as error:
            self.lost(f"not an agent kernel: {error}")

    def lost(self, reason: str) -> None:
        """No byte will come any more."""
        if self._error is not None:
            return
        self._error = ConnectionLostError(reason)
        waiting = [*(inbox for _, inbox in self._asked), *self._streams.values(), *self._listeners]
        for inbox in waiting:
            inbox.end(self._error)
        self._asked.clear()
        self._streams.clear()
        self._listeners.clear()

    def _answer(self, reply: Reply) -> None:
        if not self._asked:
            raise ReplyError(f"{reply.code} answers nothing")
        request, inbox = self._asked[0]
        if reply.ok:
            envelope = msgspec.json.decode(reply.payload, type=Envelope)
            data = msgspec.json.decode(envelope.data, type=request.reply)
            for pid in _born(data):  # frames, and even the marker, may follow in the same bytes
                self._started[pid] = self._streams.setdefault(pid, Inbox())
            if request.verb == "DETACH" and isinstance(data, Named) and data.pid in self._streams:
                self._streams.pop(data.pid).end()
            inbox.put(data)
        self._asked.popleft()
        inbox.end(None if reply.ok else refusal(reply.code, reply.payload))

    def _output(self, frame: Frame) -> None:
        if frame.pid is None:
            raise ReplyError("a frame without a PID")
        inbox = self._streams.get(frame.pid)
        if inbox is None:
            return
        marker = _MARKER.fullmatch(frame.payload)
        if marker is None or int(marker[1]) != frame.pid:
            inbox.put(Text(frame.payload.decode(), (frame.offset or 0) + len(frame.payload)))
        else:
            del self._streams[frame.pid]
            inbox.end()

    def _event(self, payload: bytes) -> None:
        frame = msgspec.json.decode(payload, type=EventFrame)
        fields = frame.event
        event = Event(frame.seq, fields.pop("kind", ""), fields.pop("pid", None), fields)
        if event.kind == "turn_finished" and event.pid in self._streams:
            self._streams[event.pid].put(TurnEnd(fields.get("reason", "")))
        for inbox in self._listeners:
            inbox.put(event)
        for watcher in self._watchers:
            watcher(event)


def _born(data: object) -> list[int]:
    """The processes whose output begins to come with a reply."""
    if isinstance(data, Forked):
        return data.children
    return [data.pid] if isinstance(data, Started | Attached) else []
