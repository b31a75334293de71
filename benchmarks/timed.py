"""What a kernel in this process is measured with: an engine that takes the kernel's time, and a sink.

Rules
1. Only the kernel's work on what the engine reports counts, never the engine's own.
2. Reports tell made-up times, in a real model's proportions, so that the pager finds that images pay; but
   a thousandth of them, so that no slot is kept for the time that paging took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from agentkernel.engine import port
from agentkernel.engine.scripted import ScriptedEngine
from benchmarks.bench import BenchError


class Nowhere:
    """A sink."""

    client = 0

    def data(self, _pid: int, _offset: int, _text: bytes) -> bool:
        """Taken."""
        return True

    def end(self, pid: int, _offset: int, _marker: bytes) -> None:
        """No process is to end."""
        raise BenchError(f"PID {pid} ended")

    def drop(self, pid: int) -> None:
        """Nothing is queued."""

    def event(self, event: dict[str, Any]) -> None:
        """Nobody has subscribed."""


class Timed(ScriptedEngine):
    """An engine that takes the time its kernel spends on its reports, and commands only when told to."""

    def __init__(self) -> None:
        super().__init__(_answer, auto=False)
        self.seconds = 0.0
        self._commands: list[port.Signal] = []

    def send(self, command: port.Signal) -> None:
        """Keep it for later."""
        self._commands.append(command)

    def obey(self) -> None:
        """Do what was commanded, and report it."""
        while self._commands:
            super().send(self._commands.pop(0))

    def watch(self) -> None:
        """From now on, time what is reported."""
        self.on_step = self._timed(self.on_step, lambda step: step.batch / 1e3)
        self.on_paged = self._timed(self.on_paged, lambda paged: paged.bytes / 1e9)

    def _timed(self, report: Callable[[Any], None], ms: Callable[[Any], float]) -> Callable[[Any], None]:
        def timed(event: Any) -> None:
            event = msgspec.structs.replace(event, ms=ms(event))
            began = time.perf_counter()
            report(event)
            self.seconds += time.perf_counter() - began

        return timed


def _answer(text: str) -> str:
    """Eight to 24 words."""
    return " ".join(["word"] * (8 + sum(text.encode()) % 17))
