"""REPLAY on the real engine: a deterministic process says the same again, whatever ran beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
import uvloop

from agentkernel import replaying
from agentkernel.request import again
from tests.by_hand import ME
from tests.fake_jail import FakeJail
from tests.harness import until
from tests.real_kernel import CHATML, KILL, TINY, Real, real_kernel

ASKED = "What is 417 plus 268?"
FREE = {"temperature": 1.5, "top_p": 1, "top_k": 0, "max_tokens": 40, "seed": 5}
BOUND = {"grammar": "root ::= [a-z ]+", "repeat_penalty": 1.3, **FREE}


async def over(bench: Real, prompt: str, **fields) -> int:
    """The PID of a process that has ended."""
    process = await bench.begin(prompt, **{"interactive": False, "max_tokens": 100, **fields})
    await until(lambda: process.state.ended)
    return process.pid


@pytest.mark.parametrize("fields", [{}, FREE, BOUND], ids=["greedy", "free", "bound"])
@pytest.mark.parametrize("model", [TINY, CHATML])
def test_a_deterministic_process_says_the_same_again(tmp_path: Path, model: str, fields: dict) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path, model=model, jail=FakeJail()) as bench:
            crowd = [
                bench.begin(KILL, interactive=False, max_tokens=60, seed=i, temperature=1) for i in range(3)
            ]
            await asyncio.gather(*crowd)
            pid = await over(bench, ASKED, deterministic=True, **fields)
            found = await bench.kernel.replay(ME, pid)
            assert found.at is None
            assert found.tokens > 0

    uvloop.run(main())


def test_each_turn_is_drawn_with_the_random_numbers_it_had(tmp_path: Path) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path, jail=FakeJail()) as bench:
            process = await bench.ask(ASKED, deterministic=True, **FREE)
            for said in (KILL, ASKED):
                await bench.say(process, said)
            tokens = process.generated
            bench.kernel.kill(ME, process.pid)
            found = await bench.kernel.replay(ME, process.pid)
            assert (found.tokens, found.at) == (tokens, None)

    uvloop.run(main())


def test_other_random_numbers_make_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_seed(*asked):
        process = again(*asked)
        sampling = msgspec.structs.replace(process.plan.sampling, seed=6)
        process.plan = msgspec.structs.replace(process.plan, sampling=sampling)
        return process

    async def main() -> None:
        async with real_kernel(tmp_path, jail=FakeJail()) as bench:
            pid = await over(bench, "Tell me a story about a fox", deterministic=True, **FREE)
            monkeypatch.setattr(replaying, "again", other_seed)
            found = await bench.kernel.replay(ME, pid)
            assert found.at is not None
            assert found.said != found.drawn

    uvloop.run(main())
