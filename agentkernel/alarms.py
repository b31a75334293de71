"""One timer for each process that has something to happen at a moment.

Rules
1. What is to happen at it is found out when it comes: a timer that comes too soon is set again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

_TICK = 1e-3  # seconds; a timer may be early by the clock's resolution


class Alarms:
    """The timers, by PID. Made inside a running event loop."""

    def __init__(self, ring: Callable[[int], None]) -> None:
        self._ring, self._loop = ring, asyncio.get_running_loop()
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Alarms {len(self._timers)}>"

    def set(self, pid: int, when: float) -> None:
        """Ring for the process at the moment, and at no other; infinity is never."""
        self.drop(pid)
        if when < inf:
            when = max(when, self._loop.time() + _TICK)
            self._timers[pid] = self._loop.call_at(when, self._ring, pid)

    def drop(self, pid: int) -> None:
        """Never ring for the process."""
        if timer := self._timers.pop(pid, None):
            timer.cancel()

    def close(self) -> None:
        """Never ring again."""
        for pid in list(self._timers):
            self.drop(pid)
