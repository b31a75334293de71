"""The benchmarks there are, in the order in which all are run."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import (
    assign,
    calls,
    churn,
    connections,
    crowd,
    decode,
    idle,
    interactive,
    journal,
    kernel_cpu,
    latency,
    lookup,
    mixed,
    paging,
    parsing,
    prediction,
    prefix,
    python_server,
    rounds,
    scheduling,
    shares,
    simulation,
    streams,
    swapping,
    swarm,
    thinking,
    threads,
    tools,
)
from benchmarks.bench import Bench
from benchmarks.figures import Figure

# name: what runs it, and the claim it opens with
BENCHMARKS: dict[str, tuple[Callable[[Bench], list[Figure]], str | None]] = {
    module.__name__.rpartition(".")[2]: (module.run, module.__doc__)
    for module in (
        calls,
        decode,
        latency,
        kernel_cpu,
        idle,
        connections,
        threads,
        streams,
        prefix,
        rounds,
        thinking,
        python_server,
        lookup,
        paging,
        crowd,
        swapping,
        scheduling,
        assign,
        shares,
        interactive,
        mixed,
        swarm,
        prediction,
        simulation,
        journal,
        parsing,
        churn,
        tools,
    )
}
