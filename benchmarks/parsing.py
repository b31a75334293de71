"""The parser takes at least 200,000 commands a second on one core.

The commands are SEND_INPUT with a sentence each, as one client pipelines them, and come in pieces of 64 KiB.
The parser is the server's own; nothing is done with what it finds.
"""

from __future__ import annotations

import time

from agentkernel.protocol.framing import Command, RequestParser, encode_request
from benchmarks.bench import Bench, BenchError, apart
from benchmarks.figures import Figure

_PIECE = 64 * 1024
_PAYLOAD = b"7 And what did the fox say to that?"


def run(bench: Bench) -> list[Figure]:
    """Several runs, each in a process of its own."""
    commands = bench.pick(200_000, 2_000)
    samples = [apart(_rate, commands) for _ in range(bench.pick(7, 1))]
    return [Figure("commands parsed", "1/s", samples, at_least=200_000, settings={"commands": commands})]


def _rate(commands: int) -> float:
    """Commands a second."""
    stream = encode_request("SEND_INPUT", "bench", _PAYLOAD) * commands
    pieces = [stream[at : at + _PIECE] for at in range(0, len(stream), _PIECE)]
    parser, found = RequestParser(), 0
    began = time.perf_counter()
    for piece in pieces:
        found += sum(isinstance(event, Command) for event in parser.receive(piece))
    seconds = time.perf_counter() - began
    if found != commands:
        raise BenchError(f"{found} of {commands} commands came out")
    return commands / seconds
