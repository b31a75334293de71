"""Sixty-four agents of 512 tokens on eight slots, five rounds each of 16 new and 32 generated tokens: at
most 1.05 of the tokens that have to be prefilled are, and it takes at most 0.7 of llama-server's time.

Eight of nine contexts are somewhere else than in a slot. An agent's next round begins as soon as it has its
answer. What has to be prefilled is what agents bring.
"""

from __future__ import annotations

from dataclasses import dataclass

import uvloop

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Side, ratio
from benchmarks.lives import Life, Outcome, on_kernel, on_server
from benchmarks.pairs import alternate
from benchmarks.peers import NAME, llama_server
from benchmarks.prompts import letters

_SLOTS, _MODEL = 8, "135m"


@dataclass(frozen=True, slots=True)
class Work:
    """The whole of it: how many agents, rounds and tokens. The first round's prompt is `first` longer."""

    agents: int
    first: int
    rounds: int
    new: int
    generated: int

    @property
    def context(self) -> int:
        """Tokens of an agent at its end."""
        return self.first + self.rounds * (self.new + self.generated)

    @property
    def needed(self) -> int:
        """Tokens that agents bring."""
        return self.agents * (self.first + self.rounds * self.new)

    def lives(self, pair: int) -> list[Life]:
        """The agents; other pairs have others."""
        return [Life(self._texts(pair, agent), self.generated) for agent in range(self.agents)]

    def _texts(self, pair: int, agent: int) -> list[str]:
        """What the agent says, round by round; BOS is one of the first tokens."""
        first, *later = (letters(self.new, pair, agent, turn) for turn in range(self.rounds))
        return [letters(self.first - 1, pair, agent) + first, *later]


def run(bench: Bench) -> list[Figure]:
    """Pairs of runs of the whole work."""
    model = bench.model(_MODEL)
    work = bench.pick(Work(64, 512, 5, 16, 32), Work(12, 64, 2, 16, 8))
    context = work.context + 2 * work.new
    with (
        bench.kernel(model, _SLOTS, context) as kernel,
        llama_server(bench, model, _SLOTS, context) as server,
    ):
        ours, theirs = alternate(
            bench.pick(3, 1),
            lambda pair: uvloop.run(on_kernel(kernel, work.lives(pair))),
            lambda pair: uvloop.run(on_server(server, work.lives(pair))),
        )
    settings = {"model": model.stem, "threads": bench.threads, "slots": _SLOTS, "needed": work.needed}
    settings |= {field: getattr(work, field) for field in Work.__slots__}
    return _figures(work, ours, theirs, settings)


def _figures(
    work: Work, ours: list[Outcome], theirs: list[Outcome], settings: dict[str, object]
) -> list[Figure]:
    who = f"{work.agents} agents on {_SLOTS} slots"
    outcomes = {"agentkernel": ours, NAME: theirs}
    shares = [Side(side, "", [o.prefilled / work.needed for o in some]) for side, some in outcomes.items()]
    times = [Side(side, "s", [o.seconds for o in some]) for side, some in outcomes.items()]
    name = f"{who}, prefilled ÷ needed"
    return [
        Figure(name, "", shares[0].samples, at_most=1.05, settings=settings, sides=shares),
        ratio(f"{who}, time ÷ {NAME}", *times, at_most=0.7, settings=settings),
    ]
