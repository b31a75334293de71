"""How long a client may take over one command.

Rules
1. A header, a body and each line of a here-document must be whole by a deadline of its own, counted from
   its first byte, or from when we read on.
2. While the server itself doesn't read, none runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agentkernel.protocol.framing import Phase, RequestParser


class Deadline:
    """The deadline of what a connection's parser is in."""

    def __init__(
        self, header_seconds: float, body_seconds: float, late: Callable[[str, float], None]
    ) -> None:
        self._header_seconds, self._body_seconds, self._late = header_seconds, body_seconds, late
        self._timer: asyncio.TimerHandle | None = None
        self._of: tuple[Phase, int, int] | None = None

    def __repr__(self) -> str:
        return f"<Deadline of {self._of} running={self._timer is not None}>"

    def watch(self, parser: RequestParser, commands: int, *, paused: bool) -> None:
        """Begin one when something has begun, so many commands being whole; end it when it has ended."""
        phase = Phase.IDLE if paused else parser.phase
        if (what := (phase, parser.taken, commands)) == self._of:
            return
        self._of = what
        self.stop()
        if phase in (Phase.IDLE, Phase.DEAD):
            return
        header = phase in (Phase.HEADER, Phase.SKIP)
        seconds = self._header_seconds if header else self._body_seconds
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._late, phase.value, seconds)

    def stop(self) -> None:
        """None any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
