"""Prompt lookup on the real engine: the text is what it is without, whatever comes in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import uvloop

from agentkernel.process import Process
from tests.fake_jail import FakeJail
from tests.harness import until
from tests.real_kernel import CHATML, TINY, Real, real_kernel

STORY = "Tell me a short story about a fox"
SUM = "What is 417 plus 268?"


async def begun(real: Real, prompt: str, **fields: Any) -> Process:
    return await real.begin(prompt, interactive=False, max_tokens=200, **fields)


async def result(real: Real, process: Process) -> tuple[str, str, int, int]:
    """What it says to its end, why that is there, and how many tokens and calls it took."""
    await until(lambda: process.state.ended)
    return real.text(process), process.reason, process.generated, process.called


async def asked(real: Real, prompt: str, **fields: Any) -> tuple[str, str, int, int]:
    return await result(real, await begun(real, prompt, **fields))


@pytest.mark.parametrize("model", [TINY, CHATML])
def test_stories_and_calls_are_the_same_with_it_as_without(tmp_path: Path, model: str) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path, model=model, jail=FakeJail()) as real:
            for prompt in (STORY, SUM):
                plain = await asked(real, prompt)
                for _ in range(3):  # what it costs is learnt meanwhile
                    assert await asked(real, prompt, prompt_lookup=True) == plain

    uvloop.run(main())


@pytest.mark.parametrize("tokens", [3, 40, 75])
def test_the_death_of_an_engine_is_not_seen_in_the_text(tmp_path: Path, tokens: int) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path, jail=FakeJail()) as real:
            plain = await asked(real, STORY)
            process = await begun(real, STORY, prompt_lookup=True)
            await real.generated(process, tokens)
            await real.kill_engine()
            assert await result(real, process) == plain

    uvloop.run(main())
