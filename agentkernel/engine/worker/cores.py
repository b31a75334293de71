"""Where the threads of a decode run: each on a core of its own, where all cores decode.

Rules
1. Threads that share a core wait for each other at every barrier, even while another core has next to
   nothing to do; so none is left to meet another.
2. Fewer threads than cores run wherever there is room.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_TASKS = Path("/proc/self/task")


class Cores:
    """The cores of this process, and the threads that compute on them with the one that decodes."""

    def __init__(self) -> None:
        self._cores = sorted(os.sched_getaffinity(0))
        self._threads = 0  # that have their places
        self._team: set[int] = set()  # without the one that decodes

    @contextlib.contextmanager
    def placed(self, threads: int) -> Iterator[None]:
        """Decode with so many threads within; those that began there have their places from then on."""
        if threads == self._threads:
            yield
            return
        before = _tasks()
        yield
        now = _tasks()
        self._team = (self._team | now - before) & now
        self._threads = threads
        apart = 1 < threads == len(self._cores)
        for place, thread in enumerate([threading.get_native_id(), *sorted(self._team)]):
            cores = [self._cores[place % threads]] if apart else self._cores
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setaffinity(thread, cores)


def _tasks() -> set[int]:
    return {int(task.name) for task in _TASKS.iterdir()}
