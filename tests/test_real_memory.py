"""Contexts that leave their slots and come back, on the real engine: every token is as without paging."""

from __future__ import annotations

import asyncio

import pytest

from tests.paged_memory import story
from tests.real_kernel import EXEC, FORK, KILL, PING, SUSPEND, alone, begun, real_kernel, talk

PROMPTS, TURNS = [KILL, FORK, PING], [EXEC, "Hello", SUSPEND]
TIERS = {
    "memory": {"disk": 0},
    "disk": {"ram": 1},
    "disk, compressed": {"ram": 1, "memory": {"compress": True}},
    "both, the least recently used": {"ram": 300_000, "memory": {"policy": "lru"}},
    "both, by priority": {"ram": 300_000, "memory": {"policy": "priority"}},
    "both, by cost": {"ram": 300_000},
    "neither has room for all": {"ram": 300_000, "disk": 300_000},
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What each process says when it is never paged."""
    return asyncio.run(alone(tmp_path_factory.mktemp("alone"), PROMPTS, TURNS))


@pytest.mark.parametrize("tiers", TIERS.values(), ids=TIERS)
@story
async def test_text_after_paging_is_the_text_without(tmp_path, expected, tiers):
    """Three processes share a slot, and each gives way to the others after a few tokens."""
    async with real_kernel(tmp_path, **tiers) as real:
        assert await talk(real, await begun(real, PROMPTS), TURNS) == expected
        assert real.count("out") >= 20
        assert (real.count("in") > 0) == (tiers.get("ram") != 1)
        assert (real.count("disk-in") > 0) == (tiers.get("disk") != 0)
        assert real.count("failed") == 0


PREFIX = f"<|user|>\n{EXEC}<|end|>\n<|assistant|>\nNobody knows.<|end|>\n" * 3
ALIKE = [f"{PREFIX}<|user|>\n{prompt}<|end|>\n<|assistant|>\n" for prompt in PROMPTS]


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("tiers", [{}, {"ram": 1}], ids=["memory", "disk"])
@story
async def test_what_others_have_computed_of_a_prompt_changes_no_token(tmp_path, slots, tiers):
    """They are reading it, going on, and waiting in their slots or outside."""
    expected = await alone(tmp_path / "alone", ALIKE, [EXEC])
    async with real_kernel(tmp_path / "shared", engine={"slots": slots}, **tiers) as real:
        processes = await begun(real, ALIKE * 2)
        processes += await begun(real, ALIKE)
        assert await talk(real, processes, [EXEC]) == expected * 3
        assert real.count("share") >= 6
