"""With the threads that the engine finds by itself, sixteen processes decode at no less than 0.9 of the speed
of the best fixed number, alone as well as beside a program that keeps a core busy.

Fixed are the raw llama_decode loop's, from one to as many as there are cores; the engine's may be as many and
adapt to what steps take. Each round runs all of them, in turns; its ratio is that of the kernel to the
fastest loop. Tokens a second while all decode.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.decode import CONTEXT, PROMPT, SLOTS, streamed
from benchmarks.figures import Figure, Side, ratio
from benchmarks.raw import raw_loop

_MODEL = "135m"
_SPIN = "while True: pass"


def run(bench: Bench) -> list[Figure]:
    """Rounds alone, and beside a busy program."""
    model = bench.model(_MODEL)
    figures = []
    with contextlib.ExitStack() as stack:
        kernel = stack.enter_context(bench.kernel(model, SLOTS, CONTEXT, engine__threads=bench.pick(0, 1)))
        counts = range(1, bench.threads + 1)
        loops = [stack.enter_context(raw_loop(bench, model, SLOTS, CONTEXT, n)) for n in counts]
        tokens = bench.pick(192, 100)
        for busy in bench.pick((False, True), (False,)):
            ours: list[float] = []
            fixed: list[list[float]] = []
            for _ in range(bench.pick(5, 1)):
                with _spinning() if busy else contextlib.nullcontext():
                    ours.append(streamed(kernel, SLOTS, tokens).decode)
                    fixed.append([loop.tokens_per_second(SLOTS, PROMPT, tokens) for loop in loops])
            figures += _figures(model.stem, ours, fixed, " beside a busy program" if busy else "")
    return figures


def _figures(model: str, ours: list[float], fixed: list[list[float]], where: str) -> list[Figure]:
    settings = {"model": model, "processes": SLOTS}
    best = [max(rates) for rates in fixed]
    sides = Side("kernel", "tokens/s", ours), Side("best fixed number", "tokens/s", best)
    each = [
        Figure(f"raw loop, {n} threads{where}", "tokens/s", list(rates), settings=settings)
        for n, rates in enumerate(zip(*fixed, strict=True), 1)
    ]
    return [ratio(f"threads found{where} ÷ best fixed", *sides, at_least=0.9, settings=settings), *each]


@contextlib.contextmanager
def _spinning() -> Iterator[None]:
    """A program keeps a core busy."""
    with subprocess.Popen((sys.executable, "-c", _SPIN)) as process:
        try:
            yield
        finally:
            process.kill()
