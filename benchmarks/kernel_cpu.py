"""The kernel's own process spends at most 60 µs of processor time on a streamed token.

Sixteen processes stream over sixteen connections; the kernel process's user and system time over the run,
EXECs and end markers included, is divided by the tokens. The engine's process is not counted. The
operating system counts in ticks of 10 ms, so a run has to last.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.decode import CONTEXT, PROMPT, SLOTS, streamed
from benchmarks.figures import Figure


def run(bench: Bench) -> list[Figure]:
    """Several runs of 16 streams on one kernel."""
    model = bench.model("135m")
    tokens = bench.pick(CONTEXT - PROMPT, 200)
    samples = []
    with bench.kernel(model, SLOTS, CONTEXT) as kernel:
        streamed(kernel, SLOTS, PROMPT)  # warm up
        for _ in range(bench.pick(5, 1)):
            before = kernel.cpu_seconds()
            done = streamed(kernel, SLOTS, tokens)
            samples.append((kernel.cpu_seconds() - before) / done.tokens * 1e6)
    settings = {"model": model.stem, "processes": SLOTS, "threads": bench.threads, "tokens": tokens}
    return [Figure("kernel CPU per token", "µs", samples, at_most=60, settings=settings)]
