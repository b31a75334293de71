"""One stream through the kernel runs at 0.95 of llama-server's speed, 16 and 32 at its speed or above; what
four do is shown, and what 16 do beside a llama-server whose answers come whole.

Tokens generated a second, from the first request to the last one's end: 128 tokens of prompt and 64 new
ones each, all at once, no two prompts alike. Both stream every token, over a connection a stream.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Side, ratio
from benchmarks.pairs import alternate
from benchmarks.peers import NAME, llama_server
from benchmarks.prompts import letters
from benchmarks.together import on_kernel, on_server

PROMPT, NEW = 128, 64
_MODEL = "135m"
_CLAIMS = {1: 0.95, 4: None, 16: 1.0, 32: 1.0}  # of llama-server's speed, by the number of streams
_PAIRS = {1: 15, 4: 9, 16: 7, 32: 5}


def run(bench: Bench) -> list[Figure]:
    """Each number of streams on servers of its own, with as many slots."""
    claims = [_compare(bench, streams, target) for streams, target in _CLAIMS.items()]
    return [*claims, _compare(bench, 16, None, whole=True)]


def _compare(bench: Bench, streams: int, target: float | None, *, whole: bool = False) -> Figure:
    model, context = bench.model(_MODEL), 2 * (PROMPT + NEW)
    with (
        bench.kernel(model, streams, context) as kernel,
        llama_server(bench, model, streams, context, streams=not whole) as server,
    ):
        ours, theirs = alternate(
            bench.pick(_PAIRS[streams], 1),
            lambda pair: on_kernel(kernel, texts(streams, pair), NEW),
            lambda pair: on_server(server, texts(streams, pair), NEW),
        )
    settings = {"model": model.stem, "threads": bench.threads, "prompt": PROMPT, "tokens": NEW}
    sides = (
        Side("agentkernel", "tokens/s", [streams * NEW / seconds for seconds in ours]),
        Side(NAME, "tokens/s", [streams * NEW / seconds for seconds in theirs]),
    )
    who = f"{streams} streams" if streams > 1 else "1 stream"
    whose = f"{NAME}'s whole answers" if whole else NAME
    return ratio(f"{who} ÷ {whose}", *sides, at_least=target, settings=settings)


def texts(streams: int, pair: int) -> list[str]:
    """The streams' prompts."""
    return [letters(PROMPT - 1, pair, stream) for stream in range(streams)]
