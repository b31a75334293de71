"""By when a process has to be where: its answers, their first tokens, and its end; pure.

Rules
1. A deadline of an answer counts from when that was asked for: by EXEC or FORK, or by SEND_INPUT.
2. Time is the process's own: what passed while no kernel ran is no part of it.
3. One that is over has been missed, once; it ends nothing.
"""

from __future__ import annotations

from math import inf

from agentkernel.plan import Deadlines
from agentkernel.process import Process


def goal(process: Process) -> float:
    """The moment by which it should have said what it is about to say; infinity is whenever."""
    return min(_pending(process).values(), default=inf)


def end(process: Process) -> float:
    """The moment at which it ends, whatever it is about."""
    wall = process.deadlines.max_wall_ms
    return process.created + wall / 1e3 if wall else inf


def alarm(process: Process) -> float:
    """The next moment at which something is missed, or it ends."""
    return min(goal(process), end(process))


def misses(process: Process, now: float) -> list[str]:
    """Deadlines that have come to be missed."""
    return [name for name, moment in _pending(process).items() if moment <= now]


def remaining(process: Process, now: float) -> Deadlines:
    """Those of a process that it has made, and waits for perhaps: what is left of its own."""
    given = process.deadlines
    left = {
        "deadline_ms": process.created + process.asked + given.deadline_ms / 1e3,
        "max_wall_ms": end(process),
    }
    known = {name: moment for name, moment in left.items() if getattr(given, name)}
    return Deadlines(**{name: max(1, round((moment - now) * 1e3)) for name, moment in known.items()})


def _pending(process: Process) -> dict[str, float]:
    """The moments of the answer under way that were not missed yet, by name."""
    if process.turn_over or process.state.ended:
        return {}
    given, asked = process.deadlines, process.created + process.asked
    moments = {}
    if given.ttft_ms and not process.turn_tokens and not process.turn_before:
        moments["ttft_ms"] = asked + given.ttft_ms / 1e3
    if given.deadline_ms:
        moments["deadline_ms"] = asked + given.deadline_ms / 1e3
    return {name: moment for name, moment in moments.items() if name not in process.missed}
