"""What agents do: turns of a conversation with pauses between them, as processes or as requests.

Here an agent is an interactive process and gets the new tokens; llama-server gets the conversation so far,
every turn, and has its prompt cache at its default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from benchmarks.agents import Agents, agents
from benchmarks.bench import Kernel
from benchmarks.peers import LlamaServer
from benchmarks.prompts import array, request, tokens


@dataclass(frozen=True, slots=True)
class Life:
    """What an agent says, turn by turn, and the tokens of each answer.

    It waits for so many seconds before each turn but the first. `took` are those that turns took.
    """

    texts: Sequence[str]
    generated: int
    pauses: Sequence[float] = ()
    took: list[float] = field(default_factory=list)

    async def turns(self) -> AsyncIterator[str]:
        """What to say next, until it is answered."""
        for text, pause in zip_longest(self.texts, (0.0, *self.pauses), fillvalue=0.0):
            await asyncio.sleep(pause)
            began = time.monotonic()
            yield str(text)
            self.took.append(time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds from the first agent's first word to the last answer, and prompt tokens computed."""

    seconds: float
    prefilled: int


async def on_kernel(kernel: Kernel, lives: Sequence[Life]) -> Outcome:
    """Every agent as an interactive process."""
    async with agents(kernel) as mine:
        before = await _prefilled(mine)
        began = time.monotonic()
        await asyncio.gather(*(_live(mine, life, seed) for seed, life in enumerate(lives)))
        seconds = time.monotonic() - began
        sampled = sum(len(life.texts) for life in lives)  # a prompt's last token counts as decoding there
        return Outcome(seconds, await _prefilled(mine) - before + sampled)


async def _prefilled(mine: Agents) -> int:
    return int((await mine.status())["engine"]["engine_prompt_tokens"])


async def _live(mine: Agents, life: Life, seed: int) -> None:
    pid = 0
    async for text in life.turns():
        if pid:
            await mine.say(pid, text)
        else:
            pid = await mine.start(request(text, life.generated, seed, interactive=True))
        await mine.turn(pid)


async def on_server(server: LlamaServer, lives: Sequence[Life]) -> Outcome:
    """Every agent as requests, each of its whole conversation."""
    began = time.monotonic()
    prefilled = await asyncio.gather(*(_converse(server, life, seed) for seed, life in enumerate(lives)))
    return Outcome(time.monotonic() - began, sum(prefilled))


async def _converse(server: LlamaServer, life: Life, seed: int) -> int:
    prefilled, said = 0, list[int]()
    async for text in life.turns():
        said += tokens(text) if said else array(text)
        answer = await server.complete(said, life.generated, seed)
        prefilled += answer.prefilled
        said += answer.tokens
    return prefilled
