"""Timers by whom they are for, one each: processes by PID, owners by name.

Rules
1. What is to happen at a moment is found out when it comes: a timer that comes too soon is set again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

_TICK = 1e-3  # seconds; a timer may be early by the clock's resolution


class Alarms:
    """The timers. Made inside a running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[int | str, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Alarms {len(self._timers)}>"

    def __contains__(self, who: int | str) -> bool:
        return who in self._timers

    def set(self, who: int | str, when: float, ring: Callable[[], None]) -> None:
        """Ring at the moment, and at no other that was set before; infinity is never."""
        self.drop(who)
        if when < inf:
            when = max(when, self._loop.time() + _TICK)
            self._timers[who] = self._loop.call_at(when, self._ring, who, ring)

    def drop(self, who: int | str) -> None:
        """Never ring."""
        if timer := self._timers.pop(who, None):
            timer.cancel()

    def close(self) -> None:
        """Never ring for anybody."""
        for who in list(self._timers):
            self.drop(who)

    def _ring(self, who: int | str, ring: Callable[[], None]) -> None:
        del self._timers[who]
        ring()
