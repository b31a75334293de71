"""What a process's time goes into; pure."""

from __future__ import annotations

from collections.abc import Mapping

PHASES = ("queued", "prefill", "decode", "syscall", "swap", "waiting", "suspended")


def rounded(times: Mapping[str, float]) -> dict[str, float]:
    """Seconds of every phase, to the millisecond."""
    return {phase: round(times.get(phase, 0.0), 3) for phase in PHASES}
