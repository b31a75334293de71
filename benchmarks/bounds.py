"""What keeps figures from their targets, as far as it was found out; measured where a number stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_ONE = (
    "between two tokens the kernel and the client need the cores on which the engine's threads spin, "
    "and a process begins 6 to 9 ms late: 2 ms are the sync of its birth, 2 ms the wait for others that"
    " come with it"
)
_PING = (
    "half of them take 0.4 to 0.6 ms; the slowest come while the kernel hands out the tokens of a step, or is"
    " put aside for the client that it has just sent one (2 ms at a time, by strace and perf sched)"
)
_EXEC = (
    "on an idle machine it takes 2.4 ms: 0.5 for the request, 0.5 in the engine, which tokenises the prompt, "
    "0.4 to write the birth down, 0.8 for its sync (strace); beside a step's tokens each part waits again"
)
_STEP = (
    "what the kernel and the client take of the processor (60 and 17 µs a token of sixteen processes) they "
    "take from the cores on which the engine's threads spin"
)
_LOADS = "16 processes decode", "a 4,000-token prompt is read", "a 135M model loads"
BOUNDS: Mapping[str, str] = {
    "decode of 16 processes ÷ raw loop": _STEP,
    "decode of 1 process ÷ raw loop": _STEP,
    **{f"PING while {load}": _PING for load in _LOADS},
    **{f"EXEC while {load}": _EXEC for load in _LOADS},
    "PING in a swap storm": _PING,
    "1 stream ÷ llama-server": _ONE,
    "1 stream, times as fast as Python server": _ONE,
    "kernel CPU per token": (
        "about a third of it is the send to each connection, a tenth the journal (py-spy); the rest are a "
        "few microseconds in each of thirty functions"
    ),
    "EXEC and KILL": (
        "one thread of Python: the end of a process is 34 % of it, EXEC 27 %, sends 12 %, lines of the log "
        "10 %, the journal 7 % (py-spy)"
    ),
    "64 agents on 8 slots, time ÷ llama-server": (
        "llama-server's cache in memory (8 GiB by default) holds all 64 contexts, so it prefills as little,"
        " and both sides have the same library read 37,888 tokens and generate 10,240"
    ),
    "8 agents of 43 turns with pauses, time ÷ llama-server": (
        "both sides prefill 1.04 of what is needed, wait for the same pauses, and have the same library "
        "compute the rest"
    ),
    "jailed Python while 16 decode": (
        "a jail takes 13 ms of processor time: 7 for the interpreter's start and end, 4 for bubblewrap; on"
        " idle cores it takes 15 to 19 ms, as fast as the machine is at that time (perf sched)"
    ),
}


def told(missed: Iterable[str]) -> list[str]:
    """Lines that say of these claims what bounds them; a line for those that the same does."""
    found: dict[str, list[str]] = {}
    for name in missed:
        found.setdefault(BOUNDS.get(name, "what does is not known"), []).append(name)
    return [f"- {', '.join(names)}: {what}" for what, names in found.items()]
