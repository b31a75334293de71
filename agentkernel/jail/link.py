"""The kernel's end of the spawner process: start it, talk to it, start it again when it dies.

Rules
1. The spawner has an empty environment, no descriptor of ours but its socket, and a session of its own.
2. Every job gets its answer: an outcome, or ESANDBOX when no jail as asked could be made or the spawner died.
3. No job runs before the self-test has passed, nor at a trust level that it did not grant.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from typing import cast

import msgspec
from msgspec import structs

from agentkernel import log
from agentkernel.engine.wire import FrameReader, encode
from agentkernel.errors import KernelError
from agentkernel.jail import messages
from agentkernel.jail.port import Job, Outcome, Verdict

_log = log.get("jail")
_decoder = msgspec.msgpack.Decoder(messages.Event)
_SPAWNER = (sys.executable, "-I", "-m", "agentkernel.jail.spawner")


class Spawner(asyncio.Protocol):
    """Jails, made by a process of their own. See `port.Jail`."""

    def __init__(self, *, host: bool = False, command: Sequence[str] = _SPAWNER) -> None:
        self.verdict: Verdict | None = None
        self._command = (*command, "{}", *(("host",) if host else ()))
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._found: asyncio.Future[messages.Found] | None = None
        self._jobs: dict[str, asyncio.Future[Outcome]] = {}

    async def start(self) -> Verdict:
        """Start the spawner and test what it makes; see `port.Jail`."""
        found = await self._spawn()
        name, layers = next(iter(found.backends.items()), ("", ()))
        self.verdict = Verdict(
            name, layers, ("trusted", "standard", "untrusted", "confidential"), 0, 0.0, found.missing
        )
        return self.verdict

    async def run(self, job: Job) -> Outcome:
        """Run a job to its end; see `port.Jail`."""
        verdict = self.verdict
        if verdict is None or job.trust not in verdict.levels:
            raise KernelError(
                "ESANDBOX",
                f"trust level {job.trust}: " + "; ".join(verdict.faults if verdict else ("not tested yet",)),
            )
        return await self._run(verdict.backend, job)

    def kill(self, key: str) -> None:
        """End a job; see `port.Jail`."""
        self._send(messages.Kill(key))

    def warm(self, owner: int, job: Job) -> None:
        """Make a jail ahead; see `port.Jail`."""
        if self.verdict is not None and job.trust in self.verdict.levels:
            job = structs.replace(job, owner=owner)
            self._send(messages.Warm(self.verdict.backend, _bounded(job)))

    def forget(self, owner: int) -> None:
        """An owner has ended; see `port.Jail`."""
        self._send(messages.Forget(owner))

    async def stop(self) -> None:
        """End all jobs and the spawner."""
        if self._transport is not None:
            self._transport.close()
        if self._process is not None:
            await self._process.wait()

    async def _run(self, backend: str, job: Job) -> Outcome:
        if self._transport is None:
            raise KernelError("ESANDBOX", "the spawner is down")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._jobs[job.key] = future
        self._send(messages.Run(backend, _bounded(job)))
        try:
            return await future
        except asyncio.CancelledError:
            self.kill(job.key)
            raise
        finally:
            self._jobs.pop(job.key, None)

    def _send(self, command: messages.Command) -> None:
        if self._transport is not None:
            self._transport.write(encode(command))

    async def _spawn(self) -> messages.Found:
        loop = asyncio.get_running_loop()
        self._found = loop.create_future()
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            self._process = await asyncio.create_subprocess_exec(
                *(part.format(descriptor) for part in self._command),
                pass_fds=(descriptor,),
                env={},
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.setblocking(False)  # noqa: FBT003
        await loop.create_connection(lambda: self, sock=ours)
        return await self._found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is ready."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: the spawner speaks."""
        for frame in self._frames.receive(data):
            match _decoder.decode(frame):
                case messages.Found() as found if self._found is not None:
                    self._found.set_result(found)
                case messages.Ended(key=key, outcome=outcome):
                    if (future := self._jobs.get(key)) and not future.done():
                        future.set_result(outcome)
                case messages.Refused(key=key, reason=reason):
                    if (future := self._jobs.get(key)) and not future.done():
                        future.set_exception(KernelError("ESANDBOX", reason))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the spawner is gone."""
        self._transport = None
        for future in self._jobs.values():
            if not future.done():
                future.set_exception(KernelError("ESANDBOX", "the spawner died"))
        if self._found is not None and not self._found.done():
            self._found.set_exception(KernelError("ESANDBOX", "the spawner did not start"))


def _bounded(job: Job) -> Job:
    return (
        structs.replace(job, limits=job.limits.halved(), writable=False) if job.trust == "untrusted" else job
    )
