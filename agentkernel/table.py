"""The table of processes; pure.

Rules
1. A PID is never given to another process.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from agentkernel.errors import KernelError
from agentkernel.process import Process


class ProcessTable:
    """All live processes, and the last that ended."""

    def __init__(self, live_limit: int, ended_limit: int, first: int = 1) -> None:
        self._live: dict[int, Process] = {}
        self._ended: dict[int, Process] = {}
        self._promised: set[int] = set()  # PIDs given out whose processes are not added yet
        self._live_limit, self._ended_limit = live_limit, ended_limit
        self._next_pid = first

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._live.values()))

    @property
    def next_pid(self) -> int:
        """Above every PID that was ever given."""
        return self._next_pid

    def new_pid(self) -> int:
        """A PID nobody had, with a place for its process; raises SPAWN_FAILED when the table is full."""
        return self.claim(self._next_pid)

    def claim(self, pid: int) -> int:
        """The PID of a process that comes back, with a place for it. Raises SPAWN_FAILED or RESTORE_BUSY."""
        if pid in self._live or pid in self._promised:
            raise KernelError("RESTORE_BUSY", f"PID {pid} lives", {"pid": pid})
        if len(self._live) + len(self._promised) >= self._live_limit:
            details = {"limit": self._live_limit}
            raise KernelError("SPAWN_FAILED", f"{self._live_limit} processes live", details)
        self._next_pid = max(self._next_pid, pid + 1)
        self._promised.add(pid)
        return pid

    def abandon(self, pid: int) -> None:
        """Give back the place of a PID whose process was not added."""
        self._promised.discard(pid)

    def add(self, process: Process) -> None:
        """Put a process that has a PID from `new_pid` or `claim` into the table."""
        self._promised.remove(process.pid)
        self._ended.pop(process.pid, None)
        self._live[process.pid] = process

    def restore(self, process: Process) -> None:
        """Put a process of a former kernel into the table."""
        self._live[process.pid] = process

    def get(self, pid: int) -> Process | None:
        """The process, if it lives."""
        return self._live.get(pid)

    def live(self, pid: int) -> Process:
        """The live process; raises PID_NOT_FOUND."""
        process = self.get(pid)
        if process is None:
            what = "has ended" if pid in self._ended else "is unknown"
            raise KernelError("PID_NOT_FOUND", f"PID {pid} {what}")
        return process

    def find(self, pid: int) -> Process:
        """The process, live or lately ended; raises PID_NOT_FOUND."""
        return self._ended[pid] if pid in self._ended else self.live(pid)

    def retire(self, process: Process) -> None:
        """Move an ended process out of the live ones, forgetting the oldest over the limit."""
        del self._live[process.pid]
        self._ended[process.pid] = process
        process.sink = process.on_end = process.on_change = None
        process.tokens.clear()
        process.soft = b""
        process.plan = msgspec.structs.replace(
            process.plan,
            messages=(),
            prompt=None,
            stop=(),
            grammar="",
            json_schema="",
            base=(),
            functions="",
            schemas={},
        )  # only what STATUS tells is kept
        process.notes.clear()
        process.letters.clear()
        while len(self._ended) > self._ended_limit:
            del self._ended[next(iter(self._ended))]
