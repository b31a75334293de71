"""A kernel with the scripted engine behind a real server in this process, and sessions to run against it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import msgspec
import uvloop

from agentkernel.auth import Principals
from agentkernel.config import Config
from agentkernel.engine.scripted import Script, ScriptedEngine, echo
from agentkernel.jail.port import Jail
from agentkernel.kernel import Kernel
from agentkernel.process import Owner, State
from agentkernel.protocol.framing import Frame, Reply, ReplyParser
from agentkernel.server import Connection, Server
from tests.acts import act

CLOSED = "<closed>"  # how a session says that the server has closed the connection
ENDED = "<end>"  # and that the client has ended its input


@dataclass(slots=True)
class Bench:
    """A server under test; `engines` are those made so far, the last being the live one."""

    kernel: Kernel
    server: Server
    port: int
    engines: list[ScriptedEngine] = field(default_factory=list)
    auto: bool = True


class PatientEngine(ScriptedEngine):
    """A scripted engine whose load goes on until it is told to be over."""

    def __init__(self, script: Script = echo, *, auto: bool = True) -> None:
        super().__init__(script, auto=auto)
        self.may_load = asyncio.Event()

    async def start(self, load, on_progress):
        await self.may_load.wait()
        return await super().start(load, on_progress)


@contextlib.asynccontextmanager
async def scripted_server(
    models: Path,
    *,
    settings: dict[str, object] | None = None,
    script: Script = echo,
    auto: bool = True,
    principals: Principals | None = None,
    model: str = "demo",
    engine: type[ScriptedEngine] = ScriptedEngine,
    listen: bool = True,
    jail: Jail | None = None,
) -> AsyncIterator[Bench]:
    """Serve on a free port, or on none, until the block ends; `model` is loaded unless it is empty."""
    engines: list[ScriptedEngine] = []

    def make_engine() -> ScriptedEngine:
        engines.append(engine(script, auto=auto))
        return engines[-1]

    with tempfile.TemporaryDirectory() as state:
        folders = {"models": str(models), "state": state, "workspace": f"{state}/workspace"}
        tree = folders | {"server": {"port": 0}, "journal": {"durability": "off"}} | (settings or {})
        kernel = Kernel(msgspec.convert(tree, Config, strict=False), make_engine, jail)
        server = Server(kernel, principals or Principals({}, required=False))
        if model:
            await kernel.models.load(model)
        port = 0
        if listen:
            port = (await server.bind())[1]
            await server.start()
        running = asyncio.create_task(server.run())
        await asyncio.sleep(0)
        try:
            yield Bench(kernel, server, port, engines, auto)
        finally:
            server.stop()
            server.stop()  # at once
            await running
            await kernel.close()


def run(main) -> None:
    """Run an async test on the loop that the server runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main, 20))


class Peer:
    """A client that reads item by item."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._parser = ReplyParser()
        self._octets = bytearray()
        self._items: list[Reply | Frame] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, port: int) -> AsyncIterator[Peer]:
        peer = cls(*await asyncio.open_connection("127.0.0.1", port))
        try:
            yield peer
        finally:
            peer.writer.close()
            with contextlib.suppress(ConnectionError):
                await peer.writer.wait_closed()

    async def send(self, data: bytes, chunk: int = 1 << 20) -> None:
        for i in range(0, len(data), chunk):
            self.writer.write(data[i : i + chunk])
            await self.writer.drain()
            await asyncio.sleep(0)  # the loop joins what is written in one round

    async def item(self) -> Reply | Frame | None:
        """The next reply or frame, which came octet for octet as §3.1 and §4.1 say; None at the end."""
        while not self._items:
            data = await self.reader.read(1 << 16)
            if not data:
                assert not self._octets
                return None
            self._octets += data
            self._items += self._parser.receive(data)
        item = self._items.pop(0)
        octets = f"{head(item)}\r\n".encode() + item.payload
        assert self._octets.startswith(octets)
        del self._octets[: len(octets)]
        return item

    async def reply(self) -> Reply:
        """The next reply, frames passed over."""
        while True:
            item = await self.item()
            if item is None:
                raise EOFError
            if isinstance(item, Reply):
                return item

    async def ask(self, line: str, body: bytes = b"") -> Reply:
        await self.send(line.encode() + b"\n" + body)
        return await self.reply()

    async def rest(self) -> list[Reply | Frame]:
        """Everything up to the end of the connection."""
        items = []
        while (item := await self.item()) is not None:
            items.append(item)
        return items


async def until(condition: Callable[[], object]) -> None:
    """Wait for other tasks until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - whatever the condition is about, it has no event
            await asyncio.sleep(0)


def reset(peer: Peer) -> None:
    """Close with a reset instead of an end of input."""
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


def long(_text: str) -> str:
    """A script that never stops by itself within any limit of these tests."""
    return " ".join(f"word{i}" for i in range(5000))


class MemoryTransport(asyncio.Transport):
    """The server's end of a connection without a socket: as much of a transport as the server uses.

    As through a socket, what is written is there to be read a round of the event loop later.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.reader = asyncio.StreamReader()  # the client's
        self.reading = asyncio.Event()
        self.reading.set()
        self.closing = False
        self._soon = asyncio.get_running_loop().call_soon
        connection.connection_made(self)

    def set_write_buffer_limits(self, high=None, low=None) -> None:
        pass

    def write(self, data) -> None:
        if not self.closing:
            self._soon(self.reader.feed_data, data)

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()

    def write_eof(self) -> None:
        self._soon(self.reader.feed_eof)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.write_eof()
            self._soon(self.connection.connection_lost, None)

    abort = close


class MemoryWriter:
    """The client's end: as much of a StreamWriter as `Peer` uses."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport

    def write(self, data: bytes) -> None:
        if not self.transport.closing:
            self.transport.connection.data_received(data)

    async def drain(self) -> None:
        await self.transport.reading.wait()

    def write_eof(self) -> None:
        if not self.transport.closing:
            self.transport.connection.eof_received()


@contextlib.asynccontextmanager
async def memory_peer(server: Server) -> AsyncIterator[Peer]:
    """A client of the server in this event loop, without a socket."""
    transport = MemoryTransport(server.connection())
    try:
        yield Peer(transport.reader, MemoryWriter(transport))
    finally:
        transport.close()


Connect = Callable[[], contextlib.AbstractAsyncContextManager[Peer]]


@dataclass(slots=True)
class Exchange:
    """What one client sends at one time, and the lines it must get before the session goes on.

    `sent` holds lines, and bytes that go out as they are. With `act` that happens first.
    """

    sent: list[str | bytes]
    expected: list[str]
    client: int = 1
    act: str = ""


_LINE = re.compile(r"([1-9]?)([<>]x|[<>!])(?: (.*))?")


def parse_session(text: str) -> list[Exchange]:
    """A session from its lines.

    `>` a client's line, `>x` its bytes in hexadecimal, `> <end>` the end of its input; `<` a line it
    gets, `<x` a payload with NUL in hexadecimal, `< <closed>` the end of what it gets; a digit in front
    numbers a client other than the first. `!` what else happens (`tests.acts`); `#` a comment.
    """
    exchanges: list[Exchange] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a session's line: {line!r}")
        client, kind, rest = int(match[1] or 1), match[2], match[3] or ""
        last = exchanges[-1] if exchanges else None
        answered = last is None or last.client != client or (last.expected and kind[0] != "<")
        if kind == "!":
            exchanges.append(Exchange([], [], client, rest))
        elif answered or (last.act and kind[0] != "<"):
            exchanges.append(Exchange([], [], client))
        if kind[0] == "<":
            exchanges[-1].expected.append(rest)
        elif kind != "!":
            exchanges[-1].sent.append(bytes.fromhex(rest) if kind == ">x" else rest)
    return exchanges


def head(item: Reply | Frame) -> str:
    """The header line of a reply or frame, as §3.1 and §4.1 say."""
    size = len(item.payload)
    if isinstance(item, Reply):
        return f"{'+OK' if item.ok else '-ERR'} {item.code} {size}"
    return f"DATA {item.kind} {size}" + ("" if item.pid is None else f" {item.pid} {item.offset}")


def rendered(item: Reply | Frame | None) -> list[str]:
    """A reply, a frame or the end of the connection as a session's lines."""
    if item is None:
        return [CLOSED]
    if b"\0" in item.payload:
        return [head(item), item.payload.hex()]
    payload = item.payload.decode()
    return [head(item), *payload.removesuffix("\n").split("\n")] if payload else [head(item)]


async def play(
    at: int | Connect, exchanges: Sequence[Exchange], chunk: int = 1 << 20, bench: Bench | None = None
) -> None:
    """Run a session, sending `chunk` bytes at a time; AssertionError where the server differs.

    `at` is a port or what connects a client. With its bench a session may leave processes that go
    on when somebody says so; they are killed, and nothing but their markers may follow.
    """
    connect = functools.partial(Peer.connect, at) if isinstance(at, int) else at
    peers: dict[int, Peer] = {}
    async with contextlib.AsyncExitStack() as stack:
        for exchange in exchanges:
            if exchange.act and bench:
                await act(bench, *exchange.act.split())
            if exchange.client not in peers:
                peers[exchange.client] = await stack.enter_async_context(connect())
            await _send(peers[exchange.client], exchange.sent, chunk)
            await _expect(peers[exchange.client], exchange.expected)
        subscribed = {x.client for x in exchanges if any("SUBSCRIBE" in str(line) for line in x.sent)}
        for number in subscribed:  # events would go on
            await _send(peers[number], ["PING last 0"], chunk)
            assert (await peers[number].item()).code == "PING"
        if bench:
            await _kill_the_rest(bench)
        for number in peers.keys() - subscribed:
            peers[number].writer.write_eof()
            rest = await peers[number].rest()
            assert not (bench is None and rest), rest
            assert all(b"\n[PROCESS_FINISHED " in item.payload for item in rest), rest


async def _kill_the_rest(bench: Bench) -> None:
    going = (State.READY, State.RUNNING)
    while bench.auto and any(p.state in going for p in bench.kernel.table):  # noqa: ASYNC110
        await asyncio.sleep(0)  # their output is the session's to tell
    for process in bench.kernel.table:
        bench.kernel.kill(Owner(0, "the session's end", admin=True), process.pid)


async def _send(peer: Peer, sent: Sequence[str | bytes], chunk: int) -> None:
    lines = [line if isinstance(line, bytes) else f"{line}\n".encode() for line in sent if line != ENDED]
    await peer.send(b"".join(lines), chunk)
    if ENDED in sent:
        peer.writer.write_eof()


async def _expect(peer: Peer, expected: Sequence[str]) -> None:
    at = 0
    while at < len(expected):
        got = rendered(await peer.item())
        for line, pattern in zip_longest(got, expected[at : at + len(got)], fillvalue="nothing"):
            assert re.fullmatch(as_regex(pattern), line), f"expected {pattern!r}, got {line!r}"
        at += len(got)


def as_regex(pattern: str) -> str:
    """A session's line as a regular expression: `<n>` is a number, `<…>` any text."""
    return re.escape(pattern).replace("<n>", r"[0-9.]+").replace("<…>", ".*")
