"""The Python server that comes with llama-cpp-python is beaten on every workload: streams, shared prefixes.

The same prompts, numbers and ends as beside llama-server, whose claims are larger; there is no round of it
with conversations, since the Python server does not tell the tokens that it has generated.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import prefix, streams
from benchmarks.bench import Bench
from benchmarks.figures import Figure, Side, ratio
from benchmarks.pairs import alternate
from benchmarks.peers import PYTHON_NAME, python_server
from benchmarks.together import on_kernel, on_server

_MODEL = "135m"


@dataclass(frozen=True, slots=True)
class Workload:
    """So many prompts of so many tokens, all but `shared` of their own, and new tokens for each."""

    name: str
    prompts: int
    shared: int
    own: int
    new: int

    def texts(self, pair: int) -> list[str]:
        """The prompts; other pairs have others."""
        if self.shared:
            return prefix.texts(self.prompts, self.shared, pair)
        return streams.texts(self.prompts, pair)


def run(bench: Bench) -> list[Figure]:
    """Each workload on servers of its own, with as many slots as prompts."""
    agents, shared = bench.pick(16, 4), bench.pick(1024, 64)
    return [
        _compare(bench, workload)
        for workload in (
            Workload("1 stream", 1, 0, streams.PROMPT, streams.NEW),
            Workload("4 streams", 4, 0, streams.PROMPT, streams.NEW),
            Workload("16 streams", 16, 0, streams.PROMPT, streams.NEW),
            Workload("32 streams", 32, 0, streams.PROMPT, streams.NEW),
            Workload(f"{agents} agents sharing {shared:,} tokens", agents, shared, prefix.OWN, prefix.NEW),
        )
    ]


def _compare(bench: Bench, work: Workload) -> Figure:
    model, context = bench.model(_MODEL), work.shared + 2 * (work.own + work.new)
    with (
        bench.kernel(model, work.prompts, context) as kernel,
        python_server(bench, model, work.prompts, context) as server,
    ):
        ours, theirs = alternate(
            bench.pick(5, 1),
            lambda pair: on_kernel(kernel, work.texts(pair), work.new),
            lambda pair: on_server(server, work.texts(pair), work.new),
        )
    settings = {"model": model.stem, "threads": bench.threads}
    settings |= {field: getattr(work, field) for field in ("prompts", "shared", "own", "new")}
    name = f"{work.name}, times as fast as {PYTHON_NAME}"
    sides = Side(PYTHON_NAME, "s", theirs), Side("agentkernel", "s", ours)
    return ratio(name, *sides, at_least=1, settings=settings)
