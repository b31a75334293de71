"""The TCP edge: moves bytes between sockets, the protocol and the kernel.

Rules
1. Commands of a connection run one after the other, in order; their replies go out in that order.
2. End of input is not a disconnect: the connection closes when everything asked for was sent.
   A reset or a failed write is one.
3. A header or body that has begun must be whole by its deadline, counted from its first byte.
4. Shutdown: stop listening, drain the kernel, flush every connection, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import os
import signal
import socket
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import cast

from agentkernel import log
from agentkernel.auth import Principals
from agentkernel.config import Server as Settings
from agentkernel.dispatch import Dispatch, Session
from agentkernel.errors import KernelError
from agentkernel.kernel import Kernel
from agentkernel.outbox import Outbox
from agentkernel.protocol.connection import Answer, ServerConnection
from agentkernel.protocol.framing import Command, Limits, Phase, Rejected, RequestParser
from agentkernel.protocol.verbs import VERBS

_HIGH_WATER = 64 * 1024  # bytes handed to a transport; what is behind them can still be overtaken
_FLUSH_SECONDS = 5.0  # for clients that don't read while the kernel stops

_log = log.get("server")


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server, client: int) -> None:
        self._server, self._kernel, self.client = server, server.kernel, client
        settings = server.settings
        limits = Limits(settings.header_bytes, settings.body_bytes, 8 * settings.body_bytes)
        self._parser = RequestParser(limits)
        self._protocol = ServerConnection()
        self._outbox = Outbox(self._protocol, self, settings.output_bytes, client)
        self._session = Session(self._protocol, self._outbox, server.principals.default)
        self._commands: deque[Command | Rejected] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._phase = Phase.IDLE
        self._ended = self._closing = self._reading_paused = False

    def __repr__(self) -> str:
        return f"<Connection {self.client} {self._parser!r} {self._outbox!r}>"

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        if not self._server.enter(self):
            self._fail("-:0", KernelError("TOO_MANY_CONNECTIONS"))
            self._closing = True
            self._close_if_done()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        events = self._parser.receive(data)
        self._commands.extend(events)
        self._watch_deadline(progress=bool(events))
        self._run()

    def eof_received(self) -> bool:
        """End of input: what is under way goes on."""
        self._ended = True
        self._stop_deadline()
        if (rest := self._parser.end()) is not None:
            self._commands.append(rest)
        self._run()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or we closed."""
        self._transport = None
        self._stop_deadline()
        self._commands.clear()
        self._outbox.close()
        self._kernel.disconnected(self._outbox)
        self._server.leave(self)
        _log.debug("disconnected", client=self.client, error=exc and repr(exc))

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._outbox.pause()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._outbox.resume()
        self._throttle()
        self._run()

    # Commands

    def _run(self) -> None:
        """Run what can be answered at once; leave a command that has to wait to a task."""
        while self._commands and not (self._task or self._closing or self._outbox.congested):
            item = self._commands.popleft()
            pending = self._begin(item)
            if pending is not None:
                self._task = asyncio.get_running_loop().create_task(pending)
        self._throttle()
        self._close_if_done()

    def _begin(self, item: Command | Rejected) -> Coroutine[None, None, None] | None:
        request_id = self._protocol.request_id(item.agent)
        self._kernel.counters["commands"] += 1
        if isinstance(item, Rejected):
            self._fail(request_id, KernelError(item.code, item.message))
            self._closing = self._closing or item.fatal
            return None
        try:
            answer = self._server.dispatch.run(self._session, item)
        except Exception as error:  # noqa: BLE001 - the edge: any fault ends this command alone
            self._fail_with(item, request_id, error)
            return None
        if inspect.isawaitable(answer):
            return self._finish(item, request_id, answer)
        self._succeed(item, request_id, answer)
        return None

    async def _finish(self, item: Command, request_id: str, pending: Awaitable[Answer]) -> None:
        try:
            self._succeed(item, request_id, await pending)
        except Exception as error:  # noqa: BLE001 - the edge: any fault ends this command alone
            self._fail_with(item, request_id, error)
        self._task = None
        if self._transport is None:
            self._kernel.disconnected(self._outbox)
        else:
            self._run()

    def _succeed(self, item: Command, request_id: str, answer: Answer) -> None:
        answer.code = answer.code or (item.verb if self._protocol.v1 else VERBS[item.verb].ok_code)
        self._outbox.reply(self._protocol.success(item.verb, request_id, answer))
        self._closing = self._closing or self._session.quit
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
        self._outbox.reply(self._protocol.failure(request_id, error, envelope=envelope))

    # What the outbox calls

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport."""
        if self._transport is not None:
            self._transport.write(data)

    def caught_up(self, pid: int) -> None:
        """The client has read what this process had put out."""
        self._kernel.readable(pid)

    def stream_ended(self) -> None:
        """A process that streamed to this client has ended."""
        if self._ended:
            asyncio.get_running_loop().call_soon(self._close_if_done)

    def _throttle(self) -> None:
        """Stop reading while commands or replies pile up."""
        full = len(self._commands) >= self._server.settings.commands_in_flight
        full = full or self._outbox.congested
        if self._transport is None or self._ended or full == self._reading_paused:
            return
        self._reading_paused = full
        (self._transport.pause_reading if full else self._transport.resume_reading)()

    def _close_if_done(self) -> None:
        if self._transport is None or self._task or not self._outbox.empty:
            return
        done = self._ended and not self._commands and not self._kernel.streams_to(self._outbox)
        if done or self._closing:
            self._transport.close()

    def finish(self) -> None:
        """The kernel stops: close once everything is written."""
        self._closing = True
        self._close_if_done()

    def abort(self) -> None:
        """Close without writing any more."""
        if self._transport is not None:
            self._transport.abort()

    def _watch_deadline(self, *, progress: bool) -> None:
        """One absolute deadline for each header and each body; a here-document has one a line."""
        phase = self._parser.phase
        if phase is self._phase and phase is not Phase.HEREDOC and not progress:
            return
        self._phase = phase
        self._stop_deadline()
        if phase in (Phase.IDLE, Phase.DEAD):
            return
        settings = self._server.settings
        header = phase in (Phase.HEADER, Phase.SKIP)
        seconds = settings.header_timeout if header else settings.body_timeout
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(seconds, self._late, phase.value, seconds)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self, what: str, seconds: float) -> None:
        self._parser.end()
        message = f"the {what} was not whole within {seconds:g} s"
        self._commands.append(Rejected("TIMEOUT", message, fatal=True))
        self._run()


class Server:
    """The listening sockets, every connection, and the way down."""

    def __init__(self, kernel: Kernel, principals: Principals) -> None:
        self.kernel, self.principals = kernel, principals
        self.settings: Settings = kernel.config.server
        self.dispatch = Dispatch(kernel, principals.authenticate)
        self._connections: set[Connection] = set()
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
        self._connections.add(connection)
        return len(self._connections) <= self.settings.max_connections

    def leave(self, connection: Connection) -> None:
        """Count a client out."""
        self._connections.discard(connection)
        if not self._connections:
            self._gone.set()

    async def listen(self) -> tuple[str, int]:
        """Accept clients, on the sockets systemd passed or on the configured address."""
        loop = asyncio.get_running_loop()
        inherited = inherited_sockets()
        for sock in inherited:
            self._listeners.append(await loop.create_server(self.connection, sock=sock))
        if not inherited:
            host, port = self.settings.host, self.settings.port
            self._listeners.append(await loop.create_server(self.connection, host, port, backlog=1024))
        host, port = self._listeners[0].sockets[0].getsockname()[:2]
        _log.info("listening", host=host, port=port)
        return host, port

    def stop(self) -> None:
        """Begin to shut down; called again, at once."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def run(self) -> None:
        """Serve until `stop`, then go down in order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._stop.wait()
        notify("STOPPING=1")
        _log.info("stopping", processes=len(self.kernel.table), connections=len(self._connections))
        for listener in self._listeners:
            listener.close()
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


def inherited_sockets() -> list[socket.socket]:
    """Listening sockets passed by systemd (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=3 + i) for i in range(count)]


def notify(state: str) -> None:
    """Tell the service manager (sd_notify(3)), where there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)
