"""A server that does as a test says, for what a real kernel never does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from agentkernel.protocol.connection import Answer, ServerConnection
from agentkernel.protocol.framing import Command, RequestParser

Script = Callable[["Peer"], None]


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._parser, self._wire = connection, RequestParser(), ServerConnection()

    def expect(self, verb: str) -> None:
        """Read up to a whole command, which is this one."""
        events: list[object] = []
        while not events:
            data = self._socket.recv(1)
            assert data, f"the client left before {verb}"
            events = [*self._parser.receive(data)]
        [command] = events
        assert isinstance(command, Command)
        assert command.verb == verb
        self._payload = command.payload

    def answer(self, verb: str, data: dict[str, object]) -> None:
        """Expect the command and answer it."""
        self.expect(verb)
        self.reply(verb, data)

    def reply(self, verb: str, data: dict[str, object]) -> None:
        """Answer a command that came before."""
        self.send(self._wire.success(verb, "client:1", Answer(data, "")))

    def hello(self) -> None:
        """Expect HELLO and grant it."""
        self.expect("HELLO")
        self.send(self._wire.success("HELLO", "client:1", self._wire.hello(self._payload)))

    def frame(self, pid: int, offset: int, text: bytes) -> None:
        """Send output of a process."""
        self.send(self._wire.data_frame(pid, offset, text))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def wait_for_end(self) -> None:
        """Read until the client has left."""
        while self._socket.recv(4096):
            pass


class ScriptedServer:
    """Runs its scripts in order, one a connection; `errors` are what went wrong in them."""

    def __init__(self, scripts: tuple[Script, ...], port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.errors: list[BaseException] = []
        self._listener.settimeout(20)
        self._closed = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(scripts,))
        self._thread.start()

    def _run(self, scripts: tuple[Script, ...]) -> None:
        try:
            for script in scripts:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(20)
                    script(Peer(connection))
                self._closed.release()
        except (
            AssertionError,
            OSError,
            ValueError,
        ) as error:  # a failure belongs to the test, not to the thread
            self.errors.append(error)
        finally:
            self._listener.close()

    def wait_closed(self) -> None:
        """Wait until one more connection is closed."""
        assert self._closed.acquire(timeout=20)

    def finish(self) -> None:
        """Wait for the last script."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "a script still waits"
        assert not self.errors


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Start servers that run the given functions, one a connection, in order."""
    servers: list[ScriptedServer] = []

    def start(*scripts: Script, port: int = 0) -> ScriptedServer:
        servers.append(ScriptedServer(scripts, port))
        return servers[-1]

    yield start
    for server in servers:
        server.finish()
