"""What keeps a kernel busy while its control latency is measured.

Each load works until it is cancelled and notes the spans in which it was really on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count

from agentkernel.protocol.framing import Frame
from benchmarks.bench import Bench, BenchError, Kernel
from benchmarks.client import Connection, clients, start
from benchmarks.prompts import letters, request


@dataclass(slots=True)
class Spans:
    """Stretches of time, by `time.monotonic()`."""

    past: list[tuple[float, float]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    _since: float | None = None

    def begin(self) -> None:
        """The load is on."""
        self._since = time.monotonic()
        self.begun.set()

    def end(self) -> None:
        """The load is off; nothing happens when it was."""
        if self._since is not None:
            self.past.append((self._since, time.monotonic()))
            self._since = None

    def hold(self, moment: float) -> bool:
        """Whether the moment was in one of them."""
        return any(begin <= moment < end for begin, end in self.past)


@dataclass(frozen=True, slots=True)
class Load:
    """A kind of load, and the kernel it needs: the model it starts with, slots, tokens a slot."""

    name: str
    model: str
    slots: int
    context: int
    work: Callable[[Bench, Kernel, Spans], Coroutine[None, None, None]]


async def _decode(_bench: Bench, kernel: Kernel, spans: Spans) -> None:
    """Every slot decodes."""
    decoding = Decoding()
    async with clients(kernel, SLOTS) as connections, asyncio.TaskGroup() as group:
        for seed, connection in enumerate(connections):
            group.create_task(decoding.keep_on(connection, seed))
        await decoding.full.wait()
        spans.begin()


async def _prefill(_bench: Bench, kernel: Kernel, spans: Spans) -> None:
    """A prompt of 4,000 tokens after the other, each new; on from +OK to the first token."""
    async with clients(kernel) as (connection,):
        for seed in count():
            stream = await start(connection, request(letters(3999, seed), limit=1))
            spans.begin()
            await stream.first.wait()
            spans.end()
            await stream.ended.wait()


async def _load(bench: Bench, kernel: Kernel, spans: Spans) -> None:
    """LOAD of the larger model and of the small one in turns; on during the larger one's."""
    larger, small = bench.model("135m"), bench.model(_SMALL)
    async with clients(kernel) as (connection,):
        while True:
            spans.begin()
            await connection.ask("LOAD", larger.stem.encode())
            spans.end()
            await connection.ask("LOAD", small.stem.encode())
            while not await _unloaded(connection, larger.stem):  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(0.1)


async def _unloaded(connection: Connection, model: str) -> bool:
    """UNLOAD it, unless one of the processes that are measured still uses it."""
    try:
        await connection.ask("UNLOAD", model.encode())
    except BenchError as error:
        if not str(error).startswith("LOAD_BUSY"):
            raise
        return False
    return True


SLOTS, CONTEXT, _SMALL = 16, 512, "qwen2-1m"


class Decoding:
    """Processes that fill every slot, one after the other; `tokens` they have brought so far."""

    def __init__(self) -> None:
        self.tokens = 0
        self._started: set[int] = set()
        self.full = asyncio.Event()

    async def keep_on(self, connection: Connection, seed: int) -> None:
        """Start a process, and another when it has ended, for ever."""
        while True:
            stream = await start(connection, request(letters(31, seed), CONTEXT - 32, seed))
            connection.on_frame = self._counted(connection.on_frame)
            await stream.first.wait()
            self._started.add(seed)
            if len(self._started) == SLOTS:
                self.full.set()
            await stream.ended.wait()

    def _counted(self, take: Callable[[Frame, float], None]) -> Callable[[Frame, float], None]:
        def counted(frame: Frame, at: float) -> None:
            self.tokens += 1
            take(frame, at)

        return counted

    async def rate(self, seconds: float) -> float:
        """Tokens a second, for so long."""
        before, began = self.tokens, time.perf_counter()
        await asyncio.sleep(seconds)
        return (self.tokens - before) / (time.perf_counter() - began)


LOADS = (
    Load("16 processes decode", "135m", SLOTS, CONTEXT, _decode),
    Load("a 4,000-token prompt is read", "135m", 2, 4608, _prefill),
    Load("a 135M model loads", _SMALL, SLOTS, CONTEXT, _load),
)
