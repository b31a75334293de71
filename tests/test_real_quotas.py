"""Quotas on the real engine: what it refuses, and how a process is told to finish amid its answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop

from agentkernel.errors import KernelError
from tests.by_hand import ME
from tests.real_kernel import real_kernel


def test_a_context_gets_as_many_tokens_as_it_may_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path) as bench:
            size = (await bench.ask("What is red?", max_tokens=2)).heard
            assert (
                await bench.ask("What is red?", max_tokens=2, limits={"max_prompt_tokens": size})
            ).heard == size
            with pytest.raises(KernelError) as error:
                await bench.ask("What is red?", limits={"max_prompt_tokens": size - 1})
            assert error.value.details == {"tokens": size, "left": size - 1}
            asked = {"interactive": True, "max_tokens": 4, "limits": {"max_prompt_tokens": size + 40}}
            process = await bench.ask("What is red?", **asked)
            with pytest.raises(KernelError, match="QUOTA_EXCEEDED"):
                await bench.say(process, "What is blue? " * 20)
            await bench.say(process, "And blue?")
            assert size < process.heard <= size + 40

    uvloop.run(main())


def test_who_is_told_to_finish_amid_its_answer_has_one_more_turn(tmp_path: Path) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path) as bench:
            asked = {"max_tokens": 300, "limits": {"soft_tokens": 6}, "temperature": 0}
            process = await bench.ask("Tell me a story about a fox.", **asked)
            assert process.bounds.told == ("tokens",)
            first, told = process.inputs or []
            assert process.heard == first.end + told.end - told.start
            assert "\n" in bench.text(process)
            said = told.start - first.end
            if process.reason == "quota":  # it was told where it needs more for its end than it gets
                assert process.generated == said + bench.kernel.config.limits.wrap_up_tokens
            else:
                assert process.reason == "stop"
                assert process.generated == said + len(process.tokens) - told.end
            bench.kernel.kill(ME, process.pid)

    uvloop.run(main())
