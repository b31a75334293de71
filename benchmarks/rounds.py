"""Sixty-four agents of 512 tokens on eight slots, five rounds each of 16 new and 32 generated tokens: at
most 1.05 of the tokens that have to be prefilled are, and it takes at most 0.7 of llama-server's time.

Eight of nine contexts are somewhere else than in a slot. An agent's next round begins as soon as it has its
answer. Here it is an interactive process and gets the new tokens; llama-server gets the conversation so far,
every round, and has its prompt cache at its default. What has to be prefilled is what agents bring.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import uvloop

from benchmarks.agents import Agents, agents
from benchmarks.bench import Bench, Kernel
from benchmarks.figures import Figure, Side, ratio
from benchmarks.pairs import alternate
from benchmarks.peers import NAME, LlamaServer, llama_server
from benchmarks.prompts import array, letters, request, tokens

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

    def texts(self, pair: int, agent: int) -> list[str]:
        """What the agent says, round by round; BOS is one of the first tokens."""
        first, *later = (letters(self.new, pair, agent, turn) for turn in range(self.rounds))
        return [letters(self.first - 1, pair, agent) + first, *later]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds from the first agent's first word to the last answer, and prompt tokens computed."""

    seconds: float
    prefilled: int


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
            lambda pair: uvloop.run(_on_kernel(kernel, work, pair)),
            lambda pair: uvloop.run(_on_server(server, work, pair)),
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


async def _on_kernel(kernel: Kernel, work: Work, pair: int) -> Outcome:
    async with agents(kernel) as mine:
        before = await _prefilled(mine)
        began = time.monotonic()
        await asyncio.gather(*(_live(mine, work, pair, i) for i in range(work.agents)))
        seconds = time.monotonic() - began
        sampled = (
            work.agents * work.rounds
        )  # a prompt's last token counts as decoding there, as a prompt's here
        return Outcome(seconds, await _prefilled(mine) - before + sampled)


async def _prefilled(mine: Agents) -> int:
    return int((await mine.status())["engine"]["engine_prompt_tokens"])


async def _live(mine: Agents, work: Work, pair: int, agent: int) -> None:
    """One agent's life as an interactive process."""
    first, *later = work.texts(pair, agent)
    pid = await mine.start(request(first, work.generated, agent, interactive=True))
    await mine.turn(pid)
    for text in later:
        await mine.say(pid, text)
        await mine.turn(pid)


async def _on_server(server: LlamaServer, work: Work, pair: int) -> Outcome:
    began = time.monotonic()
    prefilled = await asyncio.gather(*(_converse(server, work, pair, i) for i in range(work.agents)))
    return Outcome(time.monotonic() - began, sum(prefilled))


async def _converse(server: LlamaServer, work: Work, pair: int, agent: int) -> int:
    """One agent's life as requests; the prompt tokens that were computed for it."""
    first, *later = work.texts(pair, agent)
    answer = await server.complete(array(first), work.generated, agent)
    prefilled, said = answer.prefilled, array(first) + answer.tokens
    for text in later:
        said += tokens(text)
        answer = await server.complete(said, work.generated, agent)
        prefilled += answer.prefilled
        said += answer.tokens
    return prefilled
