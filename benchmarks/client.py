"""The client that measures: v1 connections whose replies and frames carry the moment they came.

Rules
1. Moments are `time.monotonic()` when the bytes reach this program, before they are looked at.
2. It does as little as it can: it shares the cores with what it measures.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from agentkernel.protocol.framing import Frame, Reply, ReplyParser, encode_request
from benchmarks.bench import BenchError, Kernel

_MARKER = re.compile(rb"\n\[PROCESS_FINISHED pid=\d+ tokens_generated=(\d+) ")
_AT_ONCE = 50  # connections opened together


@dataclass(frozen=True, slots=True)
class Arrival:
    """A reply's data, and when it came."""

    data: dict[str, Any]
    at: float


class Connection(asyncio.Protocol):
    """One client of the kernel, in the v1 dialect."""

    def __init__(self) -> None:
        self.on_frame: Callable[[Frame, float], None] = lambda _frame, _at: None
        self._parser = ReplyParser()
        self._waiting: deque[asyncio.Future[Arrival]] = deque()
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes from the kernel."""
        now = time.monotonic()
        for item in self._parser.receive(data):
            if isinstance(item, Frame):
                self.on_frame(item, now)
            else:
                self._answered(item, now)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: closed; whoever still waits is told."""
        self._transport = None
        self._lost.set()
        for future in self._waiting:
            if not future.done():
                future.set_exception(BenchError(f"connection lost: {exc}"))

    def ask(self, verb: str, payload: bytes = b"") -> asyncio.Future[Arrival]:
        """Send a command now; its reply comes later, or a BenchError for -ERR."""
        if self._transport is None:
            raise BenchError("connection lost")
        future: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.write(encode_request(verb, "bench", payload))
        return future

    async def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()
        await self._lost.wait()

    def _answered(self, reply: Reply, now: float) -> None:
        future = self._waiting.popleft()
        if future.done():
            return
        if reply.ok:
            future.set_result(Arrival(msgspec.json.decode(reply.payload)["data"], now))
        else:
            future.set_exception(BenchError(f"{reply.code}: {reply.payload.decode()}"))


@asynccontextmanager
async def clients(kernel: Kernel, count: int = 1, *wants: str) -> AsyncIterator[list[Connection]]:
    """So many connections with these capabilities; closed with the block, and what they run killed."""
    found: list[Connection] = []
    try:
        while len(found) < count:
            some = min(_AT_ONCE, count - len(found))
            found += await asyncio.gather(*(_connect(kernel, wants) for _ in range(some)))
        yield found
    finally:
        await asyncio.gather(*(client.close() for client in found))


async def _connect(kernel: Kernel, wants: Sequence[str]) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, kernel.host, kernel.port)
    await connection.ask("HELLO", msgspec.json.encode({"required_capabilities": wants}))
    return connection


@dataclass(slots=True)
class Stream:
    """One process's output as it came; `tokens` is what its end marker says."""

    frames: list[float] = field(default_factory=list)
    tokens: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, frame: Frame, at: float) -> None:
        """Note a frame."""
        marker = _MARKER.match(frame.payload)
        if marker:
            self.tokens = int(marker[1])
            self.first.set()
            self.ended.set()
            return
        self.frames.append(at)
        self.first.set()


async def start(connection: Connection, payload: bytes) -> Stream:
    """EXEC on a connection of its own; the stream fills by itself."""
    stream = Stream()
    connection.on_frame = stream.take
    await connection.ask("EXEC", payload)
    return stream
