"""The TCP edge: moves bytes between sockets, the protocol and the kernel.

Rules
1. Commands of a connection run one after the other, in order; their replies go out in that order.
2. End of input is not a disconnect: the connection closes when everything asked for was sent.
   A reset or a failed write is one.
   So is waiting for nothing: input has ended, and what streams here goes on only when told to.
3. A connection does a bounded part of its work in a round of the event loop.
4. Shutdown: stop listening, drain the kernel, flush every connection, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import signal
from collections import deque
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, cast

from agentkernel import log, sockets
from agentkernel.auth import Principals
from agentkernel.config import Server as Settings
from agentkernel.deadline import Deadline
from agentkernel.dispatch import Dispatch, Session
from agentkernel.errors import KernelError
from agentkernel.kernel import Kernel
from agentkernel.outbox import Outbox
from agentkernel.process import Owner, Sink
from agentkernel.protocol.connection import Answer, ServerConnection
from agentkernel.protocol.framing import Command, Limits, Rejected, RequestParser
from agentkernel.protocol.verbs import VERBS

_HIGH_WATER = 64 * 1024  # bytes handed to a transport; what is behind them can still be overtaken
_FLUSH_SECONDS = 5.0  # for clients that don't read while the kernel stops
_LINGER_SECONDS = 1.0  # for clients that still send when they are told that this is the end
_TURN = 64  # commands run, and steps parsed, before other connections have their turn
_CHUNK = 64 * 1024  # after so many bytes at once more are there: other connections have their turn
_HOLDING = ("SUSPEND", "STOP_OUTPUT")
_GIVEN_UP = ("WAIT", "REPLAY")  # when the client is gone

_log = log.get("server")


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server, client: int) -> None:
        self._server, self._kernel, self.client = server, server.kernel, client
        settings, owner = server.settings, server.principals.default
        self._limits = Limits(settings.header_bytes, settings.body_bytes, 8 * settings.body_bytes)
        unknown = replace(self._limits, body=min(settings.header_bytes, settings.body_bytes))
        self._parser = RequestParser(self._limits if owner else unknown)
        self._protocol = ServerConnection()
        self.outbox = Outbox(self._protocol, self, settings.output_bytes, client)
        self._session = Session(self._protocol, self.outbox, owner)
        self._commands: deque[Command | Rejected] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline = Deadline(settings.header_timeout, settings.body_timeout, self._late)
        self._parsed = 0  # commands so far
        self._ended = self._closing = self._fatal = self._lingering = False
        self._scheduled = self._reading_paused = self._waiting = False

    def __repr__(self) -> str:
        return f"<Connection {self.client} {self._parser!r} {self.outbox!r}>"

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        if not self._server.enter(self):
            self._fail("-:0", KernelError("TOO_MANY_CONNECTIONS"))
            self._closing = self._fatal = True
            self.close_if_done()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if not self._lingering:
            self._parser.receive(data, 0)
            self._go_on(more=len(data) >= _CHUNK)

    def eof_received(self) -> bool:
        """End of input: what is under way goes on."""
        self._ended = True
        if self._lingering:
            return False
        self._server.half_closed(self)
        self._go_on()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or we closed."""
        self._transport = None
        self._part()
        self._server.leave(self)
        _log.debug("disconnected", client=self.client, error=exc and repr(exc))

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self.outbox.pause()

    def resume_writing(self) -> None:
        """It has caught up."""
        self.outbox.resume()
        self._go_on()

    # Commands

    def _go_on(self, *, more: bool = False) -> None:
        if not self._scheduled:
            self._turn(more=more)

    def _turn(self, *, more: bool = False) -> None:
        """Parse and run a bounded part of what has come; the rest in later rounds of the event loop."""
        self._scheduled = False
        if self._transport is None or self._lingering:
            return
        self._parse()
        for _ in range(_TURN):
            if not self._commands or self._held:
                break
            self._begin(self._commands.popleft())
        if more or (self._commands and not self._held) or (self._parser.behind and not self._full):
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)
        self._throttle()
        paused = self._ended or self._reading_paused
        self._deadline.watch(self._parser, self._parsed, paused=paused)
        self.close_if_done()

    def _parse(self) -> None:
        """Before AUTH one command at a time: it may change what the next is allowed."""
        if self._parser.behind and not self._full:
            free = self._server.settings.commands_in_flight - len(self._commands)
            events = self._parser.receive(steps=min(_TURN, free) if self._session.owner else 1)
            self._commands.extend(events)
            self._parsed += len(events)
        if self._ended and not self._parser.behind and (rest := self._parser.end()) is not None:
            self._commands.append(rest)

    @property
    def _held(self) -> bool:
        """Whether the next command has to wait."""
        return self._task is not None or self._closing or self.outbox.congested

    @property
    def _full(self) -> bool:
        """Whether no further command should be parsed."""
        known = self._server.settings.commands_in_flight if self._session.owner else 1
        return len(self._commands) >= known or self._closing or self.outbox.congested

    def _begin(self, item: Command | Rejected) -> None:
        """Run a command; leave one that has to wait to a task."""
        request_id = self._protocol.request_id(item.agent)
        self._kernel.counters["commands"] += 1
        if isinstance(item, Rejected):
            self._fail(request_id, KernelError(item.code, item.message))
            if item.fatal:
                self._closing = self._fatal = True
            return
        try:
            answer = self._server.dispatch.run(self._session, item)
        except Exception as error:  # noqa: BLE001 - the edge: any fault ends this command alone
            self._fail_with(item, request_id, error)
            return
        if inspect.isawaitable(answer) or (VERBS[item.verb].writes and self._kernel.recorder.owes):
            self._waiting = item.verb in _GIVEN_UP
            pending = self._finish(item, request_id, answer)
            self._task = asyncio.get_running_loop().create_task(pending)
        else:
            self._succeed(item, request_id, answer)

    async def _finish(self, item: Command, request_id: str, pending: Answer | Awaitable[Answer]) -> None:
        try:
            answer = await pending if inspect.isawaitable(pending) else pending
            if VERBS[item.verb].writes:
                await self._kernel.recorder.synced()
            self._succeed(item, request_id, answer)
        except Exception as error:  # noqa: BLE001 - the edge: any fault ends this command alone
            self._fail_with(item, request_id, error)
        self._task = None
        if self._transport is None or self._lingering:
            self._kernel.disconnected(self.outbox)
        else:
            self._go_on()

    def _succeed(self, item: Command, request_id: str, answer: Answer) -> None:
        answer.code = answer.code or (item.verb if self._protocol.v1 else VERBS[item.verb].ok_code)
        self.outbox.reply(self._protocol.success(item.verb, request_id, answer))
        if item.verb == "AUTH":
            self._parser.limits = self._limits
        elif item.verb in _HOLDING:
            self._server.holds(answer.data["pid"])
        if self._session.quit:
            self._closing = self._fatal = True
        if self._session.shutdown:
            self._session.shutdown = False
            self._server.stop()

    def _fail_with(self, item: Command, request_id: str, error: Exception) -> None:
        if not isinstance(error, KernelError):
            _log.exception("command failed", client=self.client, verb=item.verb, exc_info=error)
            error = KernelError("INTERNAL")
        self._fail(request_id, error, envelope=item.verb == "HELLO")

    def _fail(self, request_id: str, error: KernelError, *, envelope: bool = False) -> None:
        self._kernel.counters["errors"] += 1
        self.outbox.reply(self._protocol.failure(request_id, error, envelope=envelope))

    # What the outbox calls

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport."""
        if self._transport is not None:
            self._transport.write(data)

    def write_soon(self) -> None:
        """Have the outbox flushed in the loop's next round."""
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self.outbox.flush()
        self.close_if_done()

    def caught_up(self, pid: int) -> None:
        """The client has read what this process had put out."""
        self._kernel.readable(pid, self.outbox)

    def stream_ended(self) -> None:
        """A process that streamed to this client has ended."""
        if self._ended:
            asyncio.get_running_loop().call_soon(self.close_if_done)

    # Flow and end

    def _throttle(self) -> None:
        """Stop reading while commands or replies pile up."""
        full = self._full or self._parser.behind or self._scheduled
        if self._transport is None or self._ended or full == self._reading_paused:
            return
        self._reading_paused = full
        (self._transport.pause_reading if full else self._transport.resume_reading)()

    def close_if_done(self) -> None:
        """Close when everything was sent that the client asked for, or was told."""
        if self._transport is None or self._lingering or self._task or not self.outbox.empty:
            return
        left = self._commands or self._parser.behind or self._kernel.streams_to(self.outbox)
        if self._fatal and not self._ended:
            self._linger()
        elif self._closing or (self._ended and not left):
            self._transport.close()

    def _linger(self) -> None:
        """Read what still comes away: closing over unread input would reset, and lose the last reply."""
        transport = cast("asyncio.Transport", self._transport)
        transport.write_eof()
        self._lingering = True
        self._part()
        if self._reading_paused:
            transport.resume_reading()
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, transport.close)

    def _part(self) -> None:
        """Nothing more goes to the client, and nothing it sends counts."""
        self._deadline.stop()
        self._commands.clear()
        self.outbox.close()
        if self._task is not None and self._waiting:
            self._task.cancel()
        self._kernel.disconnected(self.outbox)

    def finish(self) -> None:
        """The kernel stops: close once everything is written."""
        self._closing, self._fatal = True, False
        self._lingering = False
        self.close_if_done()

    def abort(self) -> None:
        """Close without writing any more."""
        if self._transport is not None:
            self._transport.abort()

    def _late(self, what: str, seconds: float) -> None:
        self._parser.end()
        message = f"the {what} was not whole within {seconds:g} s"
        self._commands.append(Rejected("TIMEOUT", message, fatal=True))
        self._go_on()


class Server:
    """The listening sockets, every connection, and the way down."""

    def __init__(self, kernel: Kernel, principals: Principals) -> None:
        self.kernel, self.principals = kernel, principals
        self.settings: Settings = kernel.config.server
        self.dispatch = Dispatch(kernel, principals.authenticate)
        self._connections: set[Connection] = set()
        self._half_closed: dict[Sink | None, Connection] = {}
        self._numbers = itertools.count(1)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._gone = asyncio.Event()
        self._listeners: list[asyncio.Server] = []

    def __repr__(self) -> str:
        return f"<Server connections={len(self._connections)} stopping={self._stop.is_set()}>"

    def connection(self) -> Connection:
        """The protocol of a new client."""
        return Connection(self, next(self._numbers))

    def enter(self, connection: Connection) -> bool:
        """Count a client in; false when there are too many."""
        if len(self._connections) >= self.settings.max_connections:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Count a client out."""
        self._connections.discard(connection)
        self._half_closed.pop(connection.outbox, None)
        if not self._half_closed:
            self.kernel.events.unsubscribe(cast("Sink", self))
        if not self._connections:
            self._gone.set()

    def half_closed(self, connection: Connection) -> None:
        """A client says no more: look at each turn's end whether it has got everything."""
        if not self._half_closed:
            self.kernel.events.subscribe(Owner(0, "server", admin=True), cast("Sink", self))
        self._half_closed[connection.outbox] = connection

    def event(self, event: dict[str, Any]) -> None:
        """What happened in the kernel (`process.Sink`)."""
        if event["kind"] == "turn_finished":
            self.holds(event["pid"])

    def holds(self, pid: int) -> None:
        """The process goes on only when told to."""
        connection = self._half_closed.get(self.kernel.table.find(pid).sink)
        if connection is not None:
            asyncio.get_running_loop().call_soon(connection.close_if_done)

    async def bind(self) -> tuple[str, int]:
        """Take the sockets clients come to; the first one's address. Raises as `sockets.bind` does."""
        at = (self.settings.host, self.settings.port)
        self._listeners = await sockets.bind(self.connection, at, remote=self.principals.required)
        return sockets.address(self._listeners[0].sockets[0])

    async def start(self) -> None:
        """Accept clients."""
        for listener in self._listeners:
            await listener.start_serving()
        host, port = sockets.address(self._listeners[0].sockets[0])
        _log.info("listening", host=host, port=port)

    def close(self) -> None:
        """Accept no more clients."""
        for listener in self._listeners:
            listener.close()

    def stop(self) -> None:
        """Begin to shut down; called again, at once."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def run(self) -> None:
        """Serve until `stop`, then go down in order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._stop.wait()
        sockets.notify("STOPPING=1")
        _log.info("stopping", processes=len(self.kernel.table), connections=len(self._connections))
        self.close()
        down = loop.create_task(self._go_down())
        hurry = loop.create_task(self._hurry.wait())
        await asyncio.wait([down, hurry], return_when=asyncio.FIRST_COMPLETED)
        down.cancel()
        hurry.cancel()
        await self.kernel.drain(0)
        for connection in list(self._connections):
            connection.abort()

    async def _go_down(self) -> None:
        await self.kernel.drain(self.settings.drain_seconds)
        for connection in list(self._connections):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                while self._connections:
                    self._gone.clear()
                    await self._gone.wait()
