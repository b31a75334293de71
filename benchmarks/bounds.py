"""What keeps figures from their targets, as far as it was found out; measured where a number stands."""

from __future__ import annotations

from collections.abc import Mapping

_ONE = (
    "between two tokens the kernel and the client need the cores on which the engine's threads spin, "
    "and a process begins 6 to 9 ms late: 2 ms are the sync of its birth, 2 ms the wait for others that"
    " come with it"
)
BOUNDS: Mapping[str, str] = {
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
        "a jail takes 13 ms of processor time (8 of them the start of the interpreter, 4 bubblewrap) and 16"
        " ms on idle cores, and its maker shares the cores with the engine"
    ),
    "jailed Python while 16 decode, jail made ahead": (
        "on idle cores it takes 4.5 ms to hand over the code, run it, and see all of the jail gone"
    ),
}
