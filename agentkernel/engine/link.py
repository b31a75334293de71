"""The kernel's end of an engine process: spawn it, talk to it, notice its death.

Rules
1. The engine is started with an empty environment but for what it needs, and without our descriptors.
2. Every request that waits for an answer gets one: an event, or ENGINE_FAILED when the engine dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec

from agentkernel import log
from agentkernel.engine import port
from agentkernel.engine.wire import FrameReader, encode
from agentkernel.errors import KernelError

_log = log.get("engine")
_decoder = msgspec.msgpack.Decoder(port.Event)
_STDERR_CHUNK = 4096  # bytes of an engine's standard error kept and logged at a time
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_WAIT_POLICY")


class EngineProcess(asyncio.Protocol):
    """An engine in an operating-system process of its own."""

    def __init__(self) -> None:
        self.on_step: Callable[[port.Step], None] = lambda _step: None
        self.on_paged: Callable[[port.Paged], None] = lambda _paged: None
        self.on_death: Callable[[str], None] = lambda _reason: None
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, deque[asyncio.Future[port.Opened]]] = {}
        self._ready: asyncio.Future[port.Ready] | None = None
        self._on_progress: Callable[[float], None] = lambda _fraction: None
        self._last_words: deque[str] = deque(maxlen=5)
        self._watch: asyncio.Task[None] | None = None
        self._silent = asyncio.Event()
        self._stopping = False

    def __repr__(self) -> str:
        state = "down" if self._transport is None else "up"
        return f"<EngineProcess pid={self.os_pid} {state}>"

    @property
    def os_pid(self) -> int | None:
        """The operating system's process id, for metering."""
        return self._process.pid if self._process else None

    async def start(self, load: port.Load, on_progress: Callable[[float], None]) -> port.Ready:
        """Spawn the engine and load the model; see `port.Engine`."""
        loop = asyncio.get_running_loop()
        self._on_progress = on_progress
        if load.images:
            os.makedirs(load.images, mode=0o700, exist_ok=True)  # noqa: PTH103 - one system call or two
        ours, theirs = socket.socketpair()
        environment = {k: v for k in _KEPT_ENVIRONMENT if (v := os.environ.get(k)) is not None}
        environment["OPENBLAS_NUM_THREADS"] = "1"  # numpy starts no threads before the jail
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "agentkernel.engine.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                env=environment,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        self._ready = loop.create_future()
        self._watch = loop.create_task(self._wait_for_end())
        ours.setblocking(False)  # noqa: FBT003
        await loop.create_connection(lambda: self, sock=ours)
        self.send(load)
        try:
            return await self._ready
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def open(self, request: port.Request) -> port.Opened:
        """Ask for tokens; see `port.Engine`."""
        if self._transport is None:
            if self._watch is not None:
                await asyncio.wait([self._watch])  # its death is told before this fails
            raise KernelError("ENGINE_FAILED", "the engine is down")
        data = encode(request)
        future: asyncio.Future[port.Opened] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(request.pid, deque()).append(future)
        self._transport.write(data)
        return await future

    def send(self, command: port.Command) -> None:
        """Tell the engine; see `port.Engine`."""
        if self._transport is not None:
            self._transport.write(encode(command))

    async def stop(self) -> None:
        """End the engine and wait for it."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._watch is not None:
            await asyncio.wait([self._watch])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is ready."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: the engine speaks."""
        for frame in self._reader.receive(data):
            self._dispatch(_decoder.decode(frame))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the engine is gone; `_wait_for_end` says how."""
        self._transport = None
        self._silent.set()

    def _dispatch(self, event: port.Event) -> None:
        match event:
            case port.Step():
                self.on_step(event)
            case port.Paged():
                self.on_paged(event)
            case port.Opened(pid=pid):
                self._answer(pid).set_result(event)
            case port.Refused(pid=0):
                self._fail_load(KernelError(event.code, event.message))
            case port.Refused(pid=pid):
                error = KernelError(event.code, event.message, {**event.details})
                self._answer(pid).set_exception(error)
            case port.Progress(fraction=fraction):
                self._on_progress(fraction)
            case port.Ready() if self._ready is not None and not self._ready.done():
                self._ready.set_result(event)

    def _answer(self, pid: int) -> asyncio.Future[port.Opened]:
        """The oldest request of the PID that waits; a stand-in when its asker has gone away."""
        queue = self._waiting[pid]
        future = queue.popleft()
        if not queue:
            del self._waiting[pid]
        return asyncio.get_running_loop().create_future() if future.done() else future

    def _fail_load(self, error: KernelError) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)

    async def _wait_for_end(self) -> None:
        process = self._process
        if process is None or process.stderr is None:
            return
        while chunk := await process.stderr.read(_STDERR_CHUNK):
            text = chunk.decode("utf-8", "replace").strip()
            self._last_words.append(text)
            _log.debug("stderr", text=text)
        code = await process.wait()
        await self._silent.wait()  # what it said before it died comes first
        reason = f"exit status {code}" if code >= 0 else f"signal {-code}"
        words = "; ".join(self._last_words)
        self._fail_load(KernelError("LOAD_FAILED", f"engine ended, {reason}: {words}"))
        for queue in self._waiting.values():
            for future in queue:
                if not future.done():
                    future.set_exception(KernelError("ENGINE_FAILED", f"engine ended, {reason}"))
        self._waiting.clear()
        if not self._stopping:
            self.on_death(reason)  # without its words, which may be a client's
