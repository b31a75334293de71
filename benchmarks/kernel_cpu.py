"""The kernel's own process spends at most 40 µs of processor time on a streamed token; what the engine's and
the client's spend is shown.

Sixteen processes stream over sixteen connections; a process's user and system time over the run, EXECs and
end markers included, is divided by the tokens. The operating system counts in ticks of 10 ms, so a run has
to last.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.decode import CONTEXT, PROMPT, SLOTS, streamed
from benchmarks.figures import Figure
from benchmarks.spent import Spent


def run(bench: Bench) -> list[Figure]:
    """Several runs of 16 streams on one kernel."""
    model = bench.model("135m")
    tokens = bench.pick(CONTEXT - PROMPT, 200)
    with bench.kernel(model, SLOTS, CONTEXT) as kernel:
        spent = Spent(kernel.process)
        streamed(kernel, SLOTS, PROMPT)  # warm up
        for _ in range(bench.pick(5, 1)):
            spent.begin()
            spent.end(streamed(kernel, SLOTS, tokens).tokens)
    settings = {"model": model.stem, "processes": SLOTS, "threads": bench.threads, "tokens": tokens}
    targets = {"kernel": 40.0}
    return [
        Figure(f"{who} CPU per token", "µs", samples, at_most=targets.get(who), settings=settings)
        for who, samples in spent.per_token.items()
    ]
