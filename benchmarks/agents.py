"""Interactive processes of one client: many on one connection, driven turn by turn."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from agentkernel.protocol.framing import Frame
from benchmarks.bench import BenchError, Kernel
from benchmarks.client import Arrival, Connection, clients


class Agents:
    """The processes of a connection that has tagged frames and events."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._news: defaultdict[int, asyncio.Queue[dict[str, Any]]] = defaultdict(asyncio.Queue)
        connection.on_frame = self._take

    async def start(self, payload: bytes) -> int:
        """EXEC an interactive process; its PID."""
        answer = await self._connection.ask("EXEC", payload)
        return int(answer.data["pid"])

    async def say(self, pid: int, text: str) -> None:
        """Begin the process's next turn."""
        await self._connection.ask("SEND_INPUT", msgspec.json.encode({"pid": pid, "prompt": text}))

    async def turn(self, pid: int) -> int:
        """Wait for the end of the process's turn; the tokens it brought. Raises BenchError."""
        event = await self._news[pid].get()
        if event["kind"] != "turn_finished":
            raise BenchError(f"PID {pid} ended: {event['reason']}")
        return int(event["tokens_generated"])

    async def status(self) -> dict[str, Any]:
        """What STATUS says of the kernel."""
        return (await self._connection.ask("STATUS")).data

    async def ask(self, verb: str, pid: int) -> Arrival:
        """The reply to any other command about a process."""
        return await self._connection.ask(verb, str(pid).encode())

    def _take(self, frame: Frame, _at: float) -> None:
        if frame.kind == "event":
            event = msgspec.json.decode(frame.payload)["event"]
            if event["kind"] in ("turn_finished", "session_finished"):
                self._news[event["pid"]].put_nowait(event)


@asynccontextmanager
async def agents(kernel: Kernel) -> AsyncIterator[Agents]:
    """A connection for them; closed with the block, and they are killed."""
    async with clients(kernel, 1, "tagged_frames_v1", "event_stream_v1") as (connection,):
        found = Agents(connection)
        await connection.ask("SUBSCRIBE")
        yield found
