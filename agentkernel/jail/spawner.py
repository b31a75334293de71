"""The process that makes all jails: one thread, one loop, the parent of whatever a jail leaves behind.

Rules
1. It lives as long as the kernel's end of its socket; then it kills every jail and removes every group.
2. A jail made ahead is its owner's, for one job like the one it was made for; then it is gone.
3. It answers every job once, after all of it is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from resource import struct_rusage

import msgspec
from msgspec import structs

from agentkernel.cpu import SHORT_SLICE, set_slice
from agentkernel.engine.wire import FrameReader, encode
from agentkernel.jail import messages
from agentkernel.jail.backends import SEEDED, Machine, survey
from agentkernel.jail.launch import AHEAD
from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Job, Outcome
from agentkernel.jail.running import Running, full, not_run, unrunnable
from agentkernel.jail.seeds import Seed

_LIVE, _WARM, _SEEDS = 24, 8, 3  # jails at a time, of them made ahead, and processes ready to be one
_TICK_S = 0.02
_CHUNK = 1 << 16
_PR_SET_CHILD_SUBREAPER = 36
_decoder = msgspec.msgpack.Decoder(messages.Command)


class Spawner:
    """All jails of one kernel."""

    def __init__(self, connection: socket.socket, machine: Machine) -> None:
        self._connection, self._machine = connection, machine
        self._sending = os.dup(connection.fileno())  # the same, to be watched for room by itself
        self._frames = FrameReader()
        self._unsent = bytearray()
        self._selector = selectors.DefaultSelector()
        self._jails: list[Running] = []  # until told; those made ahead among them
        self._warm: list[Running] = []  # the one that has waited longest first
        self._waiting: deque[messages.Run] = deque()
        self._first: dict[int, Running] = {}  # by first process, until that is reaped
        self._orphans: set[int] = set()
        self._seeds: list[Seed] = []
        self._alive = True

    def run(self) -> None:
        """Serve until the kernel goes."""
        signals, wake = socket.socketpair()
        for end in (signals, wake, self._connection):
            end.setblocking(False)  # noqa: FBT003
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._watch(signals.fileno(), selectors.EVENT_READ, lambda: self._reap(signals))
        self._watch(self._connection.fileno(), selectors.EVENT_READ, self._receive)
        self._send(messages.Found(self._machine.offers(), self._machine.missing))
        while self._alive:
            self._serve(self._patience())
            self._sow()
        self._waiting.clear()
        for jail in self._jails:
            jail.kill("cancelled")
        while self._jails:
            self._serve(None)
        if self._machine.groups:
            self._machine.groups.remove()

    def _serve(self, patience: float | None) -> None:
        for key, _ in self._selector.select(patience):
            if self._selector.get_map().get(key.fd) is key:  # not ended by one of those before it
                key.data()
        now = time.monotonic()
        for jail in self._jails:
            jail.check(now)
        for jail in [jail for jail in self._jails if jail.gone()]:
            self._finish(jail)

    def _patience(self) -> float | None:
        if any(jail.reaped for jail in self._jails):
            return _TICK_S
        if self._machine.groups and self._wants_seed():
            return 0
        deadlines = [jail.deadline for jail in self._jails if jail.deadline is not None]
        return min(_TICK_S, max(min(deadlines) - time.monotonic(), 0.001)) if deadlines else None

    def _watch(self, descriptor: int, events: int, callback: Callable[[], None]) -> None:
        self._selector.register(descriptor, events, callback)

    def _ignore(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError, ValueError):  # not watched, or closed
            self._selector.unregister(descriptor)

    # The kernel

    def _receive(self) -> None:
        try:
            data = self._connection.recv(_CHUNK)
        except ConnectionError:
            data = b""
        self._alive = bool(data)
        if not data:
            self._ignore(self._connection.fileno())
        for frame in self._frames.receive(data):
            match _decoder.decode(frame):
                case messages.Run() as run:
                    self._run(run)
                case messages.Kill(key=key):
                    self._kill(lambda job, key=key: job.key == key)  # type: ignore[misc]
                case messages.Forget(owner=owner):
                    self._kill(lambda job, owner=owner: job.owner == owner)  # type: ignore[misc]
                case messages.Warm(backend=backend, job=job):
                    self._prepare(backend, job)

    def _send(self, event: messages.Event) -> None:
        self._unsent += encode(event)
        self._flush()

    def _flush(self) -> None:
        try:
            del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._alive = False
            self._unsent.clear()
        if self._unsent and self._sending not in self._selector.get_map():
            self._watch(self._sending, selectors.EVENT_WRITE, self._flush)
        elif not self._unsent:
            self._ignore(self._sending)

    # Jobs

    def _run(self, run: messages.Run) -> None:
        if why := unrunnable(run.job):
            self._send(messages.Ended(run.job.key, not_run(run.job, run.backend, why)))
            return
        if len(self._jails) >= _LIVE and not self._warm:
            self._waiting.append(run)
            return
        try:
            job = self._settle(run.job)
            jail = self._take_warm(run.backend, job) or self._make(run.backend, job)
        except OSError as error:
            self._send(messages.Refused(run.job.key, f"{run.backend}: {error}"))
            return
        if jail.begin(job):
            self._watch(jail.stdin, selectors.EVENT_WRITE, lambda: self._feed(jail))

    def _settle(self, job: Job) -> Job:
        """The job with its workspace its user's, and closed to it when it is full."""
        if not job.workspace:
            return job
        uid = self._uid(job)
        workspace = _open(job.workspace, uid)
        try:
            return structs.replace(job, writable=job.writable and not full(workspace, job, uid))
        finally:
            os.close(workspace)

    def _take_warm(self, backend: str, job: Job) -> Running | None:
        for jail in self._warm:
            if jail.suits(backend, job):
                self._warm.remove(jail)
                return jail
        if len(self._jails) >= _LIVE:
            self._drop_warm()
        return None

    def _kill(self, wanted: Callable[[Job], bool]) -> None:
        for run in [run for run in self._waiting if wanted(run.job)]:
            self._waiting.remove(run)
            self._send(
                messages.Ended(run.job.key, Outcome(-signal.SIGKILL, "cancelled", b"", 0, 0, 0, run.backend))
            )
        self._warm = [jail for jail in self._warm if not wanted(jail.job)]
        for jail in self._jails:
            if wanted(jail.job):
                jail.kill("cancelled")

    def _prepare(self, backend: str, job: Job) -> None:
        """Make a jail ahead, if its like isn't there; without one the job is as well, and only slower."""
        if job.code is None or any(jail.suits(backend, job) for jail in self._warm):
            return
        while len(self._warm) >= _WARM:
            self._drop_warm()
        if len(self._jails) < _LIVE:
            with contextlib.suppress(OSError):
                self._warm.append(self._make(backend, structs.replace(job, key="", stdin=b"")))

    def _drop_warm(self) -> None:
        """End the jail made ahead that has waited longest."""
        self._warm.pop(0).kill("cancelled")

    def _uid(self, job: Job) -> int | None:
        return jail_uid(job.owner) if self._machine.own_user else None

    # Jails

    def _make(self, backend: str, job: Job) -> Running:
        """Fork a jail for such a job; OSError when it can't be."""
        uid = self._uid(job)
        workspace = _open(job.workspace, uid) if job.workspace else None
        jail, how = Running(job, backend, uid, workspace), self._machine.backends[backend]
        try:
            place: int | str | None = workspace
            if workspace is not None and self._machine.shelf:
                place = jail.mounted = self._machine.shelf.put(workspace)
            seed = self._seeds.pop() if self._seeds and backend in SEEDED else None
            if self._machine.groups:
                jail.slot = seed.slot if seed else self._machine.groups.take()
                jail.slot.prepare(job.limits, how.processes, how.memory_mb)
            jail.start(how, place, seed)
        except OSError:
            self._release(jail)
            raise
        self._jails.append(jail)
        self._first[jail.pid] = jail
        self._watch(jail.output, selectors.EVENT_READ, lambda: self._listen(jail))
        return jail

    def _lose_seed(self, pid: int) -> None:
        for seed in [seed for seed in self._seeds if seed.pid == pid]:
            self._seeds.remove(seed)
            seed.drop()
            if self._machine.groups:
                self._machine.groups.give_back(seed.slot)

    def _sow(self) -> None:
        """Fork the next jail's process ahead."""
        if self._machine.groups and self._wants_seed():
            self._seeds.append(Seed(self._machine.groups.take()))

    def _wants_seed(self) -> bool:
        """Whether there are too few; beside a job, which waits for the processor, one is enough."""
        busy = any(jail.deadline is not None for jail in self._jails)
        return len(self._seeds) < (1 if busy else _SEEDS)

    def _feed(self, jail: Running) -> None:
        descriptor = jail.stdin
        if not jail.write():
            self._ignore(descriptor)

    def _listen(self, jail: Running) -> None:
        if not jail.read():
            self._ignore(jail.output)

    def _reap(self, signals: socket.socket) -> None:
        signals.recv(_CHUNK)
        while self._collect():
            pass

    def _collect(self) -> bool:
        """Reap what is dead and kill what was left to us; whether there may be more of either."""
        before = len(self._first), len(self._orphans)
        for pid, status, usage in _dead():
            if jail := self._first.pop(pid, None):
                jail.end(status, usage)
            self._orphans.discard(pid)
            self._lose_seed(pid)
            for jail in self._jails:
                jail.mourn(pid, usage)
        known = {*self._first, *self._orphans, *(seed.pid for seed in self._seeds)}
        left = set(_children()) - known
        self._orphans |= left
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        for jail in self._jails:
            if jail.reaped:
                jail.orphans |= left
        return before != (len(self._first), len(self._orphans))

    def _finish(self, jail: Running) -> None:
        """Nothing of it is left: say so, and let the next one in."""
        told = jail.outcome() if jail.deadline is not None else None
        self._jails.remove(jail)
        if jail in self._warm:
            self._warm.remove(jail)
        self._release(jail)
        if isinstance(told, Outcome):
            self._send(messages.Ended(jail.job.key, told))
        elif told is not None:
            self._send(messages.Refused(jail.job.key, told))
        if self._waiting and len(self._jails) < _LIVE:
            self._run(self._waiting.popleft())

    def _release(self, jail: Running) -> None:
        for descriptor in (jail.output, jail.stdin):
            self._ignore(descriptor)
        if jail.mounted and self._machine.shelf:
            self._machine.shelf.take(jail.mounted)
        if jail.slot and self._machine.groups:
            self._machine.groups.give_back(jail.slot)
        jail.close()


def _dead() -> Iterator[tuple[int, int, struct_rusage]]:
    """Reap every child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.wait4(-1, os.WNOHANG))[0]:
            yield found


def _children() -> Iterator[int]:
    """The processes whose parent this one is, or has become."""
    with open(f"/proc/self/task/{os.getpid()}/children", "rb", buffering=0) as file:  # noqa: PTH123 - often
        yield from map(int, file.read().split())


def _open(workspace: str, uid: int | None) -> int:
    descriptor = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if uid is not None:
        os.fchown(descriptor, uid, uid)
    return descriptor


def main() -> None:
    """Make jails for the kernel at the other end of the socket whose descriptor is the first argument."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.umask(0o077)
    with contextlib.suppress(PermissionError):
        os.nice(-AHEAD)
    set_slice(SHORT_SLICE)
    kernel = int(sys.argv[1])
    os.closerange(3, kernel)  # whatever else was inherited
    os.closerange(kernel + 1, os.sysconf("SC_OPEN_MAX"))
    connection = socket.socket(fileno=kernel)
    connection.set_inheritable(False)
    Spawner(connection, survey(host="host" in sys.argv[2:])).run()


if __name__ == "__main__":
    main()
