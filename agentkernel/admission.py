"""Who is admitted: what can be done in time.

Rules
1. What is refused is refused for what was measured, and told how long it would take.
"""

from __future__ import annotations

from agentkernel.errors import KernelError
from agentkernel.estimates import Left, Load, Pace
from agentkernel.process import Process
from agentkernel.serving import Served


def load_of(served: Served) -> Load | None:
    """What the model has to do for those that run; None until its rates have been measured."""
    rates, scheduler = served.paging.pager.rates, served.scheduler
    if rates.prefill.value is None or rates.step.value is None:
        return None
    running = [
        Left(max(0, len(process.tokens) - served.paging.tokens(process.pid)[1]), process.budget)
        for process in map(served.processes.__getitem__, scheduler.running)
    ]
    return Load(Pace(rates.prefill.value, rates.step.value), scheduler.slots, scheduler.quantum, running)


def check_deadlines(process: Process, served: Served, now: float) -> None:
    """Raise DEADLINE_UNREACHABLE for a new process that can't have its answer in time, at best."""
    given, load = process.deadlines, load_of(served)
    if process.parent or load is None:
        return
    place = served.scheduler.earlier(process.pid, now) + 1
    estimates = load.answer_ms(place, len(process.tokens), process.budget)
    waited = round((now - process.created) * 1e3)
    for most, takes, what in zip(
        (given.ttft_ms, given.deadline_ms), estimates, ("first token", "answer"), strict=True
    ):
        if most and takes + waited > most:
            text = f"the {what} would take {takes + waited} ms, which is more than {most}"
            raise KernelError("DEADLINE_UNREACHABLE", text, {"estimate_ms": takes + waited})
