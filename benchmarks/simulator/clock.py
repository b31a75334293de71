"""A clock that goes from one event to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Clock:
    """Seconds since the beginning, and what is to happen when; of one moment's, what was asked for first."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when: float, happen: Callable[[], None]) -> None:
        """Have it happen then, or now when that is past."""
        heapq.heappush(self._events, (max(when, self.now), next(self._order), happen))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
