"""What keeps figures from their targets, as far as it was found out; measured where a number stands."""

from __future__ import annotations

from collections.abc import Mapping

BOUNDS: Mapping[str, str] = {
    "1 stream ÷ llama-server": "between two tokens the kernel and the client need the cores on which the "
    "engine's threads spin, and a process begins 6 to 9 ms late: 2 ms are the sync of its birth, 2 ms the "
    "wait for others that come with it",
    "kernel CPU per token": "of what the kernel's thread does, 28 % is the send to each connection and 15 % "
    "the journal (py-spy); the rest are a few microseconds in each of thirty functions",
    "EXEC and KILL": "one thread of Python: the end of a process is 34 % of it, EXEC 27 %, sends 12 %, lines "
    "of the log 10 %, the journal 7 % (py-spy)",
    "16 agents sharing 1,024 tokens, times as fast as llama-server": "the reading of one prefix and what the "
    "raw loop takes to generate as much (below); besides these, the agents' own tokens, read beside others "
    "that decode already, and at the end the copies of contexts that are kept",
    "jailed Python while 16 decode": "a jail takes 15 ms of a processor (130 a second on two idle ones), and "
    "while the engine decodes it has half of one",
    "decoding beside 4 programs ÷ alone": "a step waits for its slowest thread: what a program has of a "
    "core, though it is niced, holds up the threads on both",
}
