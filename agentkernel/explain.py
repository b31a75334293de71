"""In one line, what a process is about or what it waits for."""

from __future__ import annotations

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


def why(process: Process, served: Served | None) -> str:
    """What the process is about; `served` is its model, if that is still loaded."""
    if process.state.ended:
        return f"has ended: {process.reason}"
    if process.state is State.SUSPENDED:
        return "waits for RESUME"
    if process.wait is Wait.MEMORY and process.plan.memory_prefix and not process.soft:
        return "waits for its memory prefix, by MEMW"
    if process.wait is not None:
        return _WAITS[process.wait]
    if served is None or process.pid not in served.processes:
        return "is being admitted"
    return _going(process, served)


def _going(process: Process, served: Served) -> str:
    """What a process that could run does."""
    donor = served.paging.donor(process.pid)
    if process.state is State.READY:
        place, waiting = served.scheduler.position(process.pid), served.scheduler.waiting
        return f"waits for a slot: place {place} of {waiting}, {served.load.slots} slots are taken"
    if donor:
        return f"waits until PID {donor} has read the prompt's beginning, which both share"
    if process.phase == "decode":
        return f"runs: {process.turn_tokens} tokens said in this turn, {process.budget} left"
    return f"runs: {served.paging.tokens(process.pid)[1]} of {len(process.tokens)} tokens read"
