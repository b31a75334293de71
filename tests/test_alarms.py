"""One timer for each, on a clock that never waits."""

from __future__ import annotations

import asyncio

from agentkernel.alarms import Alarms
from tests.by_hand import run


def test_it_rings_at_the_last_moment_that_was_set_for_each() -> None:
    async def main() -> None:
        loop, rung = asyncio.get_running_loop(), []
        alarms = Alarms()
        began = loop.time()
        for pid, after in ((1, 3.0), (2, 9.0), (3, 1.0), (4, 5.0), (2, 2.0), (5, 6.0), (6, float("inf"))):
            alarms.set(pid, began + after, lambda pid=pid: rung.append((pid, loop.time() - began)))
        alarms.drop(4)
        alarms.set(5, float("inf"), rung.clear)
        assert repr(alarms) == "<Alarms 3>"
        await asyncio.sleep(10)
        assert rung == [(3, 1.0), (2, 2.0), (1, 3.0)]

    run(main())


def test_what_is_over_rings_soon_and_never_inside_the_call() -> None:
    async def main() -> None:
        rung: list[int] = []
        alarms = Alarms()
        alarms.set(1, 0.0, lambda: rung.append(1))
        assert rung == []
        await asyncio.sleep(0.01)
        assert rung == [1]
        alarms.set(1, asyncio.get_running_loop().time() + 1, rung.clear)
        assert 1 in alarms
        alarms.close()
        await asyncio.sleep(2)
        assert rung == [1]

    run(main())
