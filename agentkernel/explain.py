"""In one line, what a process is about or what it waits for."""

from __future__ import annotations

from math import inf

from agentkernel import due
from agentkernel.admission import slot_ms
from agentkernel.process import Process, State, Wait
from agentkernel.serving import Served

_WAITS = {
    Wait.INPUT: "waits for SEND_INPUT",
    Wait.OUTPUT: "waits for its reader, who is behind",
    Wait.EVENT: "waits for CONTINUE_OUTPUT",
    Wait.CHILD: "waits for a child to sum up its conversation",
    Wait.MEMORY: "waits for room to write to its memory",
    Wait.SYSCALL: "waits for the result of a call",
    Wait.APPROVAL: "waits for APPROVE or DENY of a call",
    Wait.ANSWER: "waits for ANSWER to its question",
}


def why(process: Process, served: Served | None, now: float) -> str:
    """What the process is about; `served` is its model, if that is still loaded."""
    if process.state.ended:
        return f"has ended: {process.reason}"
    return _about(process, served, now) + _in_time(process, now)


def _about(process: Process, served: Served | None, now: float) -> str:
    if process.state is State.SUSPENDED:
        return "waits for RESUME"
    if process.wait is Wait.MEMORY and process.plan.memory_prefix and not process.soft:
        return "waits for its memory prefix, by MEMW"
    if process.wait is not None:
        return _WAITS[process.wait]
    if served is None or process.pid not in served.processes:
        return "is being admitted"
    return _going(process, served, now)


def _queued(process: Process, served: Served, now: float) -> str:
    if not served.up:
        return f"waits for its model {served.card.id} to be in memory"
    scheduler, lane = served.scheduler, process.lane
    waiting, in_lane = scheduler.waiting, scheduler.queued(lane)
    place, lane_place = scheduler.places(process.pid, now)
    taken = f"waits for a slot: place {place} of {waiting}, {served.load.slots} slots are taken"
    of_lane = f", place {lane_place} of {in_lane} in lane {lane}" if in_lane < waiting else ""
    takes = slot_ms(served, place)
    return taken + of_lane + ("" if takes is None else f", about {takes} ms")


def _in_time(process: Process, now: float) -> str:
    """By when it has to have done so, where that is bounded."""
    left = {"deadline": due.goal(process), "end": due.end(process)}
    said = [f", {what} in {round((moment - now) * 1e3)} ms" for what, moment in left.items() if moment < inf]
    missed = f", {' and '.join(process.missed)} missed" if process.missed else ""
    return "".join([missed, *said])


def _going(process: Process, served: Served, now: float) -> str:
    """What a process that could run does."""
    donor = served.paging.donor(process.pid)
    if process.state is State.READY:
        return _queued(process, served, now)
    if donor:
        return f"waits until PID {donor} has read the prompt's beginning, which both share"
    if process.phase == "decode":
        return f"runs: {process.turn_tokens} tokens said in this turn, {process.budget} left"
    return f"runs: {served.paging.tokens(process.pid)[1]} of {len(process.tokens)} tokens read"
