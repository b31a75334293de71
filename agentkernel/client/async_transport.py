"""An asyncio connection that speaks v1: connects when needed, read by a task of its own.

Rules
1. Many tasks may ask at once; answers go to those who asked.
2. A lost connection is made anew for the next request, after growing pauses; what was sent is never
   sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, TypeVar

from agentkernel.client import requests
from agentkernel.client.connection import ClientConnection, Inbox
from agentkernel.client.errors import UnreachableError
from agentkernel.client.requests import Request
from agentkernel.client.transport import CHUNK, CONNECT_SECONDS, Address

T = TypeVar("T")


class AsyncTransport:
    """One connection at a time to one address, read by a task of its own."""

    def __init__(self, address: Address) -> None:
        self.connection = ClientConnection()
        self._address = address
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._subscribed = self._was_connected = False

    def __repr__(self) -> str:
        return f"<AsyncTransport {self._address} {'down' if self._writer is None else 'up'}>"

    async def ask(self, request: Request[T]) -> T:
        """The answer to a request. Raises ClientError."""
        await self.connect()
        return await self._ask(request)

    async def ask_apart(self, request: Request[T]) -> T:
        """The answer to a request that is made on a connection of its own."""
        apart = AsyncTransport(self._address)
        try:
            return await apart.ask(request)
        finally:
            await apart.close()

    async def subscribe(self) -> None:
        """Have events sent, if they are not yet."""
        await self.connect()
        if not self._subscribed:
            await self._ask(requests.subscribe())
            self._subscribed = True

    async def next(self, inbox: Inbox[T]) -> T | None:
        """The inbox's next item, None at its end."""
        while (item := inbox.take_nowait()) is None and not inbox.over:
            await _arrival(inbox)
        return item

    async def finish(self, inbox: Inbox[Any]) -> None:
        """Wait until nothing more will come for the inbox; what came stays in it."""
        while not inbox.over:
            await _arrival(inbox)
        inbox.check()

    async def connect(self) -> None:
        """Connect, where no connection is or it was lost. Raises ClientError."""
        async with self._connecting:
            if self._writer is not None and self.connection.usable:
                return
            await self.close()
            reader, self._writer = await self._open()
            self.connection, self._subscribed = ClientConnection(), False
            self._reading = asyncio.create_task(_read(reader, self.connection))
            try:
                await self._ask(requests.hello())
                if self._address.token:
                    await self._ask(requests.auth(self._address.token))
            except BaseException:
                await self.close()
                raise
            self._was_connected = True

    async def close(self) -> None:
        """Disconnect; whoever still waits gets ConnectionLostError."""
        self.connection.lost("closed by the client")
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
            self._reading = None
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for pause in (*(self._address.backoff if self._was_connected else ()), None):
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(self._address.host, self._address.port)
            except OSError as error:
                if pause is None:
                    raise UnreachableError(str(self._address), error) from error
                await asyncio.sleep(pause)
        raise AssertionError  # the last pause is None

    async def _ask(self, request: Request[T]) -> T:
        data, inbox = self.connection.send(request)
        if self._writer is not None:
            self._writer.write(data)
            with contextlib.suppress(OSError):  # the reading task says that it is lost
                await self._writer.drain()
        await self.finish(inbox)
        return inbox.take()


async def _read(reader: asyncio.StreamReader, connection: ClientConnection) -> None:
    while connection.usable:
        try:
            data = await reader.read(CHUNK)
        except OSError as error:
            connection.lost(str(error))
        else:
            connection.receive(data)


async def _arrival(inbox: Inbox[Any]) -> None:
    arrived = asyncio.Event()
    inbox.call_at_arrival(arrived.set)
    await arrived.wait()
