"""A blocking socket that speaks v1: connects when needed, reads for whoever waits.

Rules
1. It belongs to one thread.
2. A lost connection is made anew for the next request, after growing pauses; what was sent is never
   sent again.
3. An exception out of the middle of a read (Ctrl-C) drops the connection: bytes may be missing.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from agentkernel.client import requests
from agentkernel.client.connection import ClientConnection, Inbox
from agentkernel.client.errors import ReplyTimeoutError, UnreachableError
from agentkernel.client.requests import Request

T = TypeVar("T")
CHUNK = 64 * 1024  # bytes read at once
BACKOFF = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds before each further attempt to reconnect
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a kernel is and how to reach it; `token` is sent by AUTH when it is not empty."""

    host: str = "127.0.0.1"
    port: int = 6380
    token: str = ""
    backoff: Sequence[float] = BACKOFF

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Transport:
    """One connection at a time to one address; `timeout` bounds each wait for bytes, in seconds."""

    def __init__(self, address: Address, timeout: float | None) -> None:
        self.connection = ClientConnection()
        self._address, self._timeout = address, timeout
        self._socket: socket.socket | None = None
        self._subscribed = self._was_connected = False

    def __repr__(self) -> str:
        return f"<Transport {self._address} {'down' if self._socket is None else 'up'}>"

    def ask(self, request: Request[T]) -> T:
        """The answer to a request. Raises ClientError."""
        self.connect()
        return self._ask(request)

    def subscribe(self) -> None:
        """Have events sent, if they are not yet."""
        self.connect()
        if not self._subscribed:
            self._ask(requests.subscribe())
            self._subscribed = True

    def next(self, inbox: Inbox[T]) -> T | None:
        """The inbox's next item, None at its end; reads until there is one."""
        while (item := inbox.take_nowait()) is None and not inbox.over:
            self._read()
        return item

    def finish(self, inbox: Inbox[Any]) -> None:
        """Read until nothing more will come for the inbox; what came stays in it."""
        while not inbox.over:
            self._read()
        inbox.check()

    def connect(self) -> None:
        """Connect, where no connection is or it turns out to be lost. Raises ClientError."""
        self._read_what_is_there()
        if self._socket is not None:
            return
        self._socket = self._open()
        self.connection = ClientConnection()
        self._subscribed = False
        try:
            self._ask(requests.hello())
            if self._address.token:
                self._ask(requests.auth(self._address.token))
        except BaseException:
            self.close("the kernel refused the connection")
            raise
        self._was_connected = True

    def close(self, reason: str = "closed by the client") -> None:
        """Disconnect; whoever still waits gets ConnectionLostError."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.connection.lost(reason)

    def _open(self) -> socket.socket:
        target = (self._address.host, self._address.port)
        for pause in (*(self._address.backoff if self._was_connected else ()), None):
            try:
                opened = socket.create_connection(target, CONNECT_SECONDS)
            except OSError as error:
                if pause is None:
                    raise UnreachableError(str(self._address), error) from error
                time.sleep(pause)
            else:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened.settimeout(self._timeout)
                return opened
        raise AssertionError  # the last pause is None

    def _ask(self, request: Request[T]) -> T:
        data, inbox = self.connection.send(request)
        try:
            if self._socket is not None:
                self._socket.sendall(data)
        except OSError as error:
            self.close(str(error))
        except BaseException:
            self.close("interrupted")
            raise
        self.finish(inbox)
        return inbox.take()

    def _read(self) -> None:
        """Wait for bytes and hand them out."""
        if self._socket is None:
            return
        try:
            data = self._socket.recv(CHUNK)
            self.connection.receive(data)
        except TimeoutError as error:
            raise ReplyTimeoutError(self._timeout or 0) from error
        except OSError as error:
            self.close(str(error))
        except BaseException:
            self.close("interrupted")
            raise
        if not self.connection.usable:
            self.close()

    def _read_what_is_there(self) -> None:
        """Take what has come meanwhile, the end of the connection included."""
        while self._socket is not None:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            if not poll.poll(0):
                return
            self._read()
