"""What follows from what processes and their owners have used: words of warning, and ends.

Rules
1. What a client asks for beyond a limit is refused. What a process would do by itself beyond one is not done,
   and ends it with reason `quota`.
2. Of what goes on by itself (seconds, bytes held) nobody asks: a timer does, of those alone who are limited
   in it.
3. A soft limit is told of once, in one event; who uses it up then is in its last turn, of bounded length.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial

from agentkernel.process import Event, Process, State
from agentkernel.processes import Processes
from agentkernel.quotas import MEASURED, Account, Bounds, Quota

_TICK = 1e-3  # seconds: a timer may be early by the clock's resolution


class Charging(Processes):
    """The limits of processes and owners."""

    def charged(self, process: Process) -> None:
        """The process, or time, has used something: see what follows."""
        account = process.account
        if process.state.ended or account is None:
            return
        if process.bounds != NO_BOUNDS:
            self._see_process(process)
        if account.bounds != NO_BOUNDS:
            self._see_owner(account, process)
