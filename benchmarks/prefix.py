"""Sixteen agents that share a prefix of 1,024 tokens are done at least five times sooner than with
llama-server.

Each has 32 tokens of its own and generates 32. All ask at once; the time runs to the last one's end. Every
run has a prefix that neither side has seen. What the raw loop takes to generate as much behind as many tokens
is shown: nobody is faster than that and the reading of one prefix.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Side, ratio
from benchmarks.pairs import alternate
from benchmarks.peers import NAME, llama_server
from benchmarks.prompts import letters
from benchmarks.raw import raw_loop
from benchmarks.together import on_kernel, on_server

OWN, NEW = 32, 32
_MODEL = "135m"


def run(bench: Bench) -> list[Figure]:
    """Pairs of runs, each of all agents."""
    model = bench.model(_MODEL)
    agents, shared = bench.pick(16, 4), bench.pick(1024, 64)
    context = shared + 2 * (OWN + NEW)
    with (
        bench.kernel(model, agents, context) as kernel,
        llama_server(bench, model, agents, context) as server,
    ):
        ours, theirs = alternate(
            bench.pick(5, 1),
            lambda pair: on_kernel(kernel, texts(agents, shared, pair), NEW),
            lambda pair: on_server(server, texts(agents, shared, pair), NEW),
        )
    with raw_loop(bench, model, agents, context) as raw:
        rate = raw.tokens_per_second(agents, shared + OWN, NEW)
    settings = {"model": model.stem, "threads": bench.threads, "agents": agents}
    settings |= {"shared": shared, "own": OWN, "tokens": NEW}
    who = f"{agents} agents sharing {shared:,} tokens"
    sides = Side(NAME, "s", theirs), Side("agentkernel", "s", ours)
    return [
        ratio(f"{who}, times as fast as {NAME}", *sides, at_least=5, settings=settings),
        Figure(f"{who}: raw loop generates as much", "s", [agents * (NEW - 1) / rate], settings=settings),
    ]


def texts(agents: int, shared: int, pair: int) -> list[str]:
    """The agents' prompts; BOS is one of the shared tokens."""
    prefix = letters(shared - 1, pair)
    return [prefix + letters(OWN, pair, agent) for agent in range(agents)]
