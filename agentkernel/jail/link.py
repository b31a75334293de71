"""The kernel's end of the spawner process: start it, talk to it, start it again when it dies.

Rules
1. The spawner has an empty environment, no descriptor of ours but its socket, and a session of its own.
2. Every job gets its answer: an outcome, or ESANDBOX when no jail as asked could be made or the spawner died.
3. No job runs before the self-test has passed, nor at a trust level that it did not grant. An escape from
   one backend is never mended by taking a weaker one.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import cast

import msgspec
from msgspec import structs

from agentkernel import log
from agentkernel.engine.wire import FrameReader, encode
from agentkernel.errors import KernelError
from agentkernel.jail import canaries, messages
from agentkernel.jail.port import Job, Limits, Outcome, Trust, Verdict

_log = log.get("jail")
_decoder = msgspec.msgpack.Decoder(messages.Event)
_SPAWNER = (sys.executable, "-I", "-m", "agentkernel.jail.spawner")
_WEAK = {"landlock", "host"}  # for programs that are trusted
_STARTS, _WITHIN_S = 4, 60.0  # a spawner that dies more often stays down
_STDERR_CHUNK = 4096


class Spawner(asyncio.Protocol):
    """Jails, made by a process of their own; see `port.Jail`.

    `host` permits programs on the host itself where there is nothing better, never to root. `command` starts
    the spawner; its socket's descriptor follows.
    """

    def __init__(self, *, host: bool = False, command: Sequence[str] = _SPAWNER) -> None:
        self.verdict: Verdict | None = None
        self._command, self._options = command, ("host",) if host else ()
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._found: asyncio.Future[messages.Found] | None = None
        self._jobs: dict[str, asyncio.Future[Outcome]] = {}
        self._starting: asyncio.Task[Verdict] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._starts: deque[float] = deque(maxlen=_STARTS)
        self._silent = asyncio.Event()
        self._stopping = False

    def __repr__(self) -> str:
        backend = self.verdict.backend if self.verdict else "untested"
        return f"<Spawner {backend} pid={self.os_pid} jobs={len(self._jobs)}>"

    @property
    def os_pid(self) -> int | None:
        """The spawner's process id, for metering."""
        return self._process.pid if self._process else None

    async def start(self) -> Verdict:
        """Start the spawner and test what it makes; see `port.Jail`."""
        if self.verdict is not None:
            return self.verdict
        if self._starting is None or self._starting.done():
            self._starting = asyncio.get_running_loop().create_task(self._start())
        return await asyncio.shield(self._starting)

    async def run(self, job: Job) -> Outcome:
        """Run a job to its end; see `port.Jail`."""
        verdict = self.verdict or await self.start()
        if job.trust not in verdict.levels:
            why = "; ".join(verdict.faults) or f"{verdict.backend} is too weak"
            raise KernelError("ESANDBOX", f"no jail for trust level {job.trust}: {why}")
        return await self._run(verdict.backend, job)

    def kill(self, key: str) -> None:
        """End a job; see `port.Jail`."""
        self._send(messages.Kill(key))

    def warm(self, owner: int, job: Job) -> None:
        """Make a jail ahead; see `port.Jail`."""
        if self.verdict is not None and job.trust in self.verdict.levels:
            self._send(messages.Warm(self.verdict.backend, _bounded(structs.replace(job, owner=owner))))

    def forget(self, owner: int) -> None:
        """An owner has ended; see `port.Jail`."""
        self._send(messages.Forget(owner))

    async def stop(self) -> None:
        """End all jobs and the spawner."""
        self._stopping = True
        if self._starting is not None:
            await asyncio.wait([self._starting])
        while self._watching is not None and not self._watching.done():
            if self._transport is not None:
                self._transport.close()
            await asyncio.wait([self._watching])  # it may have started another before it heard of this

    async def _start(self) -> Verdict:
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self._stopping:
            return Verdict("", (), (), 0, 0.0, ("spawner: stopped",))
        if len(self._starts) == _STARTS and began - self._starts[0] < _WITHIN_S:
            fault = (
                f"spawner: it died {_STARTS} times in {_WITHIN_S:.0f} s; see the log, start the kernel again"
            )
            self.verdict = Verdict("", (), (), 0, 0.0, (fault,))
            return self.verdict
        self._starts.append(began)
        try:
            verdict = await self._judge(await self._spawn())
        except (OSError, KernelError) as error:
            verdict = Verdict("", (), (), 0, 0.0, (f"spawner: {error}; see the log",))
        self.verdict = structs.replace(verdict, ms=(loop.time() - began) * 1000)
        return self.verdict

    async def _judge(self, found: messages.Found) -> Verdict:
        """Test the backends from the strongest on, until one makes jails at all."""
        faults = list(found.missing)
        for name, layers in found.backends.items():
            try:
                count, escapes = await canaries.test(partial(self._run, name), layers)
            except KernelError as error:
                faults.append(f"{name}: {error.message}")
                continue
            levels = () if escapes else _levels(name, layers)
            return Verdict(name, layers, levels, count, 0.0, (*faults, *escapes))
        return Verdict("", (), (), 0, 0.0, tuple(faults))

    async def _run(self, backend: str, job: Job) -> Outcome:
        if self._transport is None:
            raise KernelError("ESANDBOX", "the spawner is down")
        if job.key in self._jobs:
            raise KernelError("ESANDBOX", f"a job {job.key} is running")
        frame = _frame(messages.Run(backend, _bounded(job)))
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._jobs[job.key] = future
        self._transport.write(frame)
        try:
            return await future
        except asyncio.CancelledError:
            self.kill(job.key)
            raise
        finally:
            del self._jobs[job.key]

    def _send(self, command: messages.Command) -> None:
        if self._transport is not None:
            self._transport.write(_frame(command))

    async def _spawn(self) -> messages.Found:
        loop = asyncio.get_running_loop()
        self._found = loop.create_future()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._command, str(theirs.fileno()), *self._options),
                pass_fds=(theirs.fileno(),),
                env={},
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        self._frames = FrameReader()
        ours.setblocking(False)  # noqa: FBT003
        await loop.create_connection(lambda: self, sock=ours)
        self._watching = loop.create_task(self._watch(self._process))
        return await self._found

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Log what the spawner says until it ends, and start another."""
        while process.stderr is not None and (chunk := await process.stderr.read(_STDERR_CHUNK)):
            _log.warning("stderr", text=chunk.decode("utf-8", "replace").strip())
        code = await process.wait()
        await self._silent.wait()  # what it said before it died comes first
        if not self._stopping:
            _log.error("spawner died", status=code)
            if self._starting is not None:
                await asyncio.wait([self._starting])
            if self._process is process:  # no job has started another already
                self.verdict = None
                await self.start()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is ready."""
        self._transport = cast("asyncio.Transport", transport)
        self._silent.clear()

    def data_received(self, data: bytes) -> None:
        """asyncio: the spawner speaks."""
        for frame in self._frames.receive(data):
            match _decoder.decode(frame):
                case messages.Found() as found if self._found is not None:
                    self._found.set_result(found)
                case messages.Ended(key=key, outcome=outcome) if future := self._jobs.get(key):
                    if not future.done():
                        future.set_result(outcome)
                case messages.Refused(key=key, reason=reason):
                    self._fail(self._jobs.get(key), reason)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the spawner is gone, and with it every jail."""
        self._transport = None
        self._silent.set()
        self.verdict = None
        self._fail(self._found, "the spawner did not start")
        for future in self._jobs.values():
            self._fail(future, "the spawner died")

    @staticmethod
    def _fail(future: asyncio.Future[Outcome] | asyncio.Future[messages.Found] | None, reason: str) -> None:
        if future is not None and not future.done():
            future.set_exception(KernelError("ESANDBOX", reason))


def _frame(command: messages.Command) -> bytes:
    """A frame; what no program can be given (half of a surrogate pair) can't be sent either."""
    try:
        return encode(command)
    except UnicodeEncodeError as error:
        raise KernelError("ESANDBOX", f"text that is not Unicode: {error.reason}") from None


def _levels(backend: str, layers: Sequence[str]) -> tuple[Trust, ...]:
    """The trust levels that a backend with these layers is good for."""
    if backend in _WEAK:
        return ("trusted",)
    if "cgroups" not in layers:
        return ("trusted", "standard")
    return ("trusted", "standard", "untrusted", "confidential")


def _bounded(job: Job) -> Job:
    """The job within the limits of its trust level; limits that are none are refused."""
    try:
        msgspec.convert(structs.asdict(job.limits), Limits)
    except msgspec.ValidationError as error:
        raise KernelError("ESANDBOX", f"limits: {error}") from None
    if job.trust != "untrusted":
        return job
    return structs.replace(job, limits=job.limits.halved(), writable=False)
