"""Eight agents of 43 turns on four slots, with pauses as tools make them, are done no later than with
llama-server, and at most 1.05 of the tokens that have to be prefilled are.

A turn brings 24 tokens and generates 6: with the conversation that a request repeats, input is to output as
100 to 1. Of the pauses 86 % are below a second, 95 % below ten, none above a minute, as published traces of
coding agents have them, and here a tenth of that. A pause counts from the answer: both sides have the same.
Processor time is in all processes of the run, for each token generated.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

import uvloop

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Side, ratio
from benchmarks.lives import Life, Outcome, on_kernel, on_server
from benchmarks.pairs import alternate
from benchmarks.peers import NAME, llama_server
from benchmarks.prompts import letters
from benchmarks.spent import Spent

_SLOTS, _MODEL, _NEW, _GENERATED, _SCALE = 4, "135m", 24, 6, 0.1
_PAUSES = ((0.86, 0.05, 1.0), (0.09, 1.0, 10.0), (0.05, 10.0, 60.0))  # share, seconds from and to


class _Party:
    """A side of the comparison, and what was measured of it."""

    def __init__(
        self, name: str, spent: Spent, live: Callable[[Sequence[Life]], Coroutine[None, None, Outcome]]
    ) -> None:
        self.name, self.spent, self._live = name, spent, live
        self.milliseconds: list[float] = []  # of turns

    def run(self, lives: Sequence[Life], pair: int) -> Outcome:
        """All of them at once; the first pair is to warm up."""
        self.spent.begin()
        outcome = uvloop.run(self._live(lives))
        self.spent.end(sum(len(life.texts) * life.generated for life in lives))
        if pair:
            self.milliseconds += [seconds * 1e3 for life in lives for seconds in life.took]
        return outcome


def run(bench: Bench) -> list[Figure]:
    """Pairs of runs of the same agents."""
    model, (agents, turns) = bench.model(_MODEL), bench.pick((8, 43), (3, 4))
    context = turns * (_NEW + _GENERATED) + 2 * _NEW
    with (
        bench.kernel(model, _SLOTS, context) as kernel,
        llama_server(bench, model, _SLOTS, context) as server,
    ):
        ours = _Party("agentkernel", Spent(kernel.process), partial(on_kernel, kernel))
        theirs = _Party(NAME, Spent(server.process, NAME), partial(on_server, server))
        outcomes = alternate(
            bench.pick(3, 1),
            lambda pair: ours.run(lives(agents, turns, pair), pair),
            lambda pair: theirs.run(lives(agents, turns, pair), pair),
        )
        who = f"{agents} agents of {turns} turns with pauses"
        shown = [figure for party in (ours, theirs) for figure in _of(party, f"{who}, {party.name}")]
    settings = {"model": model.stem, "threads": bench.threads, "slots": _SLOTS, "agents": agents}
    settings |= {"turns": turns, "new": _NEW, "generated": _GENERATED}
    times, shares = (
        [Side(party.name, unit, samples) for party, samples in zip((ours, theirs), found, strict=True)]
        for unit, found in (
            ("s", [[each.seconds for each in some] for some in outcomes]),
            ("", [[each.prefilled / (agents * turns * _NEW) for each in some] for some in outcomes]),
        )
    )
    name = f"{who}, prefilled ÷ needed"
    return [
        ratio(f"{who}, time ÷ {NAME}", *times, at_most=1, settings=settings),
        Figure(name, "", shares[0].samples, at_most=1.05, settings=settings, sides=shares),
        *shown,
    ]


def lives(agents: int, turns: int, pair: int) -> list[Life]:
    """The agents; other pairs have others."""
    return [_life(turns, pair, agent) for agent in range(agents)]


def _life(turns: int, pair: int, agent: int) -> Life:
    rng = random.Random(repr((pair, agent)))
    texts = [letters(_NEW - (turn == 0), pair, agent, turn) for turn in range(turns)]
    return Life(texts, _GENERATED, [pause(rng) * _SCALE for _ in texts[1:]])


def pause(rng: random.Random) -> float:
    """Seconds that a tool takes; each stretch's logarithms are equally likely."""
    ((_, least, most),) = rng.choices(_PAUSES, [share for share, _, _ in _PAUSES])
    return math.exp(rng.uniform(math.log(least), math.log(most)))


def _of(party: _Party, who: str) -> list[Figure]:
    turns = [Figure(f"{who}: a turn", "ms", party.milliseconds)]
    turns.append(Figure(f"{who}: a turn, p99", "ms", party.milliseconds, statistic="p99"))
    used = party.spent.per_token.items()
    cpu = [Figure(f"{who}: CPU of {process} per token", "µs", samples[1:]) for process, samples in used]
    return [*turns, *cpu, Figure(f"{who}: peak memory", "MB", [party.spent.peak_bytes / 1e6])]
