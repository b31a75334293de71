"""Writes that wait for room."""

from __future__ import annotations

import asyncio

import pytest

from agentkernel.memory import PAGE
from tests.paged_memory import content, held, memory_in, refused, story, turns


@story
async def test_queued_writes_proceed_in_the_order_they_came(tmp_path):
    async with memory_in(tmp_path, 1, 2) as memory:
        await memory.write(1, 0, content(2))
        await memory.write(2, 0, content(1))
        finished = []
        writes = [memory.queue(pid, 0, content(pages)) for pid, pages in ((3, 2), (4, 1), (5, 1))]
        for pid, write in zip((3, 4, 5), writes, strict=True):
            write.add_done_callback(lambda _, pid=pid: finished.append(pid))
        await turns()
        assert (memory.usage().waiting, memory.usage(4).waiting, finished) == (3, 1, [])
        memory.forget(2)  # enough for 4 or 5, but 3 came first
        await turns()
        assert finished == []
        assert not memory.room(6, 0, 1)
        assert memory.room(1, 0, 2 * PAGE)
        memory.forget(1)
        assert await writes[0] + await writes[1] == 3
        assert (finished, writes[2].done()) == ([3, 4], False)
        memory.forget(3)
        await writes[2]
        assert memory.usage().oom_events == 3
        assert [await memory.read(pid) for pid in (4, 5)] == [content(1)] * 2


@story
async def test_a_queued_write_with_room_waits_for_nobody(tmp_path):
    async with memory_in(tmp_path) as memory:
        assert await memory.queue(1, 0, content(3)) == 3
        assert (memory.usage().oom_events, memory.usage().waiting) == (0, 0)


@story
async def test_what_can_never_fit_is_not_queued(tmp_path):
    async with memory_in(tmp_path, 1, 2) as memory:
        with refused():
            memory.queue(1, 2 * PAGE, content(1.1))
        assert not memory.room(1, 2**60, 1)
        assert (memory.usage().waiting, memory.usage().oom_events) == (0, 1)


@pytest.mark.parametrize("bounds", [{"queued": 2}, {"queued_bytes": 2 * PAGE}])
@story
async def test_the_queue_is_bounded(tmp_path, bounds):
    async with memory_in(tmp_path, 1, 0, **bounds) as memory:
        await memory.write(1, 0, content(1))
        writes = [memory.queue(pid, 0, content(1)) for pid in (2, 3)]
        with refused():
            memory.queue(4, 0, content(1))
        writes[1].cancel()
        await turns()
        memory.queue(4, 0, content(1))
        assert memory.usage().waiting == 2


@story
async def test_forgetting_a_process_cancels_its_queued_writes_and_no_others(tmp_path):
    async with memory_in(tmp_path, 1, 0) as memory:
        await memory.write(1, 0, content(1))
        first, second = memory.queue(2, 0, content(1)), memory.queue(3, 0, content(1, seed=3))
        await turns()
        memory.forget(2)
        assert memory.usage().waiting == 1
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not second.done()
        memory.forget(1)
        assert await second == 1
        assert (await memory.read(3), memory.size(2)) == (content(1, seed=3), 0)


@story
async def test_a_queued_write_that_the_disk_refuses_fails_and_the_next_is_tried(tmp_path):
    async with held(tmp_path, 1, 1) as (memory, thread):
        await memory.write(1, 0, content(1))
        first, second = memory.queue(2, 0, content(1)), memory.queue(1, 0, b"second")
        await turns()
        thread.step(OSError(5, "Input/output error"))
        with refused():
            await first
        assert await second == 1
        assert await memory.read(1) == b"second" + content(1)[6:]
