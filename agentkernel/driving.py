"""Who drives each process: of its owner's connections one, until another takes over; pure.

Rules
1. Who starts a process drives it. Who takes it over does from then on, and its epoch is one more.
2. Who drove it and no longer does changes nothing of it, unless by taking it over again. Others, who never
   drove it, may.
3. A command that names an epoch holds at that epoch only.
"""

from __future__ import annotations

from agentkernel.errors import KernelError
from agentkernel.process import Process, Sink


class Drivers:
    """Of each live process who drives it and who did, as far as these are connected."""

    def __init__(self) -> None:
        self._now: dict[int, Sink] = {}
        self._former: dict[int, set[Sink]] = {}

    def __repr__(self) -> str:
        return f"<Drivers processes={len(self._now)} taken={len(self._former)}>"

    def begin(self, pid: int, sink: Sink) -> None:
        """It has started the process."""
        self._now[pid] = sink

    def take(self, process: Process, sink: Sink) -> None:
        """It drives the process from now on."""
        former = self._former.setdefault(process.pid, set())
        if (before := self._now.get(process.pid)) is not None:
            former.add(before)
        former.discard(sink)
        self._now[process.pid] = sink
        process.epoch += 1
        process.changed()

    def check(self, process: Process, sink: Sink, epoch: int | None) -> None:
        """Raise STALE_EPOCH unless the command, which may name an epoch, may change the process."""
        stale = sink in self._former.get(process.pid, ()) if epoch is None else epoch != process.epoch
        if stale:
            text = f"PID {process.pid} was taken over: its epoch is {process.epoch}"
            raise KernelError("STALE_EPOCH", text, {"epoch": process.epoch})

    def end(self, pid: int) -> None:
        """The process has ended."""
        self._now.pop(pid, None)
        self._former.pop(pid, None)

    def gone(self, sink: Sink) -> None:
        """The connection is closed."""
        for pid in [pid for pid, driver in self._now.items() if driver is sink]:
            del self._now[pid]
        for former in self._former.values():
            former.discard(sink)
