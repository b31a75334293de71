"""Processor time and memory of the operating system's processes that take part in a run."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import psutil

_ENGINE = "agentkernel.engine.worker"


class Spent:
    """What a server's processes and this one, the client, spend on tokens, in µs each, by who it is."""

    def __init__(self, server: psutil.Process, name: str = "kernel") -> None:
        self._processes = {name: server, **_engine(server), "client": psutil.Process()}
        self._before: dict[str, float] = {}
        self.per_token: defaultdict[str, list[float]] = defaultdict(list)

    def begin(self) -> None:
        """A run begins."""
        self._before = self._seconds()

    def end(self, tokens: int) -> None:
        """It has ended, and brought so many tokens."""
        for who, seconds in self._seconds().items():
            self.per_token[who].append((seconds - self._before[who]) / tokens * 1e6)

    @property
    def peak_bytes(self) -> int:
        """The most memory that each of the server's processes has had, added up; what they share twice."""
        return sum(_peak(process) for who, process in self._processes.items() if who != "client")

    def _seconds(self) -> dict[str, float]:
        times = {who: process.cpu_times() for who, process in self._processes.items()}
        return {who: float(spent.user + spent.system) for who, spent in times.items()}


def _engine(server: psutil.Process) -> dict[str, psutil.Process]:
    found = [child for child in server.children(recursive=True) if _ENGINE in child.cmdline()]
    return dict(zip(("engine",), found, strict=False))


def _peak(process: psutil.Process) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise ValueError(f"process {process.pid} has no VmHWM")
