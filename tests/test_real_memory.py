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
    "both, the least recently used": {"ram": 100_000, "memory": {"policy": "lru"}},
    "both, by priority": {"ram": 100_000, "memory": {"policy": "priority"}},
    "both, by cost": {"ram": 100_000},
    "neither has room for all": {"ram": 100_000, "disk": 100_000},
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
