"""A kernel with the scripted engine behind a real server in this process, and sessions to run against it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from agentkernel.auth import Principals
from agentkernel.config import Config
from agentkernel.engine.scripted import Script, ScriptedEngine, echo
from agentkernel.kernel import Kernel
from agentkernel.protocol.framing import Frame, Reply, ReplyParser
from agentkernel.server import Server


@dataclass(slots=True)
class Bench:
    """A server under test; `engines` are those made so far, the last being the live one."""

    kernel: Kernel
    server: Server
    port: int
    engines: list[ScriptedEngine] = field(default_factory=list)


@contextlib.asynccontextmanager
async def scripted_server(
    models: Path,
    *,
    settings: dict[str, object] | None = None,
    script: Script = echo,
    auto: bool = True,
    principals: Principals | None = None,
    model: str = "demo",
) -> AsyncIterator[Bench]:
    """Serve on a free port until the block ends; `model` is loaded unless it is empty."""
    tree = {"models": str(models), "server": {"port": 0}} | (settings or {})
    engines: list[ScriptedEngine] = []

    def make_engine() -> ScriptedEngine:
        engines.append(ScriptedEngine(script, auto=auto))
        return engines[-1]

    kernel = Kernel(msgspec.convert(tree, Config), make_engine)
    server = Server(kernel, principals or Principals({}, required=False))
    if model:
        await kernel.models.load(model)
    _, port = await server.listen()
    running = asyncio.create_task(server.run())
    await asyncio.sleep(0)
    try:
        yield Bench(kernel, server, port, engines)
    finally:
        server.stop()
        await running


def run(main) -> None:
    """Run an async test on the loop that the server runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main, 20))


class Peer:
    """A client that reads item by item."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._parser = ReplyParser()
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

    async def item(self) -> Reply | Frame | None:
        """The next reply or frame; None at the end."""
        while not self._items:
            data = await self.reader.read(1 << 16)
            if not data:
                return None
            self._items += self._parser.receive(data)
        return self._items.pop(0)

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


@dataclass(slots=True)
class Exchange:
    """What a session's client sends at one time, and the lines it must get before it sends more."""

    sent: list[str]
    expected: list[str]


def parse_session(text: str) -> list[Exchange]:
    """A session from its `>` and `<` lines."""
    exchanges: list[Exchange] = []
    for line in text.splitlines():
        if line.startswith(">"):
            if not exchanges or exchanges[-1].expected:
                exchanges.append(Exchange([], []))
            exchanges[-1].sent.append(line[2:])
        elif line.startswith("<"):
            exchanges[-1].expected.append(line[2:])
    return exchanges


def rendered(item: Reply | Frame) -> list[str]:
    """A reply or frame as a session's lines."""
    size = len(item.payload)
    if isinstance(item, Reply):
        head = f"{'+OK' if item.ok else '-ERR'} {item.code} {size}"
    else:
        head = f"DATA {item.kind} {size}" + ("" if item.pid is None else f" {item.pid} {item.offset}")
    payload = item.payload.decode()
    return [head, *payload.removesuffix("\n").split("\n")] if payload else [head]


async def play(port: int, exchanges: Sequence[Exchange], chunk: int = 1 << 20) -> None:
    """Run a session, sending `chunk` bytes at a time; AssertionError where the server differs."""
    async with Peer.connect(port) as peer:
        for exchange in exchanges:
            await peer.send("".join(f"{line}\n" for line in exchange.sent).encode(), chunk)
            got: list[str] = []
            while len(got) < len(exchange.expected):
                item = await peer.item()
                assert item is not None, f"closed after {got}, expected {exchange.expected}"
                got += rendered(item)
            for line, pattern in zip(got, exchange.expected, strict=True):
                assert re.fullmatch(as_regex(pattern), line), f"expected {pattern!r}, got {line!r}"
        if not any(line.startswith("SUBSCRIBE") for exchange in exchanges for line in exchange.sent):
            peer.writer.write_eof()  # a subscription would go on
            assert await peer.rest() == []


def as_regex(pattern: str) -> str:
    """A session's line as a regular expression: `<n>` is a number, `<…>` any text."""
    return re.escape(pattern).replace("<n>", r"[0-9.]+").replace("<…>", ".*")
