"""What the disk does wrong, and what happens while it is busy, harms no page but the ones concerned."""

from __future__ import annotations

import asyncio
import os
import resource

import pytest

from agentkernel.memory import PAGE
from tests.paged_memory import block_of, content, held, memory_in, refused, story, turns
from tests.small_disk import run_on_a_disk_of


@story
async def test_a_flipped_bit_fails_that_page_and_no_other(tmp_path):
    async with memory_in(tmp_path, 0, 8) as memory:
        data = content(3)
        await memory.write(1, 0, data)
        fd, at = memory._file._fd, block_of(memory, 1, 1) * PAGE + 1000
        flipped = os.pread(fd, 1, at)[0] ^ 4
        os.pwrite(fd, bytes([flipped]), at)
        with refused("MEMR_FAILED"):
            await memory.read(1)
        assert await memory.read(1, 0, PAGE) == data[:PAGE]
        assert await memory.read(1, 2 * PAGE) == data[2 * PAGE :]
        with refused():  # a part of it would stay
            await memory.write(1, PAGE, b"x")
        assert memory.usage(1).swap_failures == 2
        await memory.write(1, PAGE, data[PAGE : 2 * PAGE])
        assert await memory.read(1) == data


@story
async def test_a_file_cut_short_fails_the_pages_that_are_gone(tmp_path):
    async with memory_in(tmp_path, 0, 8) as memory:
        data = content(3)
        await memory.write(1, 0, data)
        os.ftruncate(memory._file._fd, 2 * PAGE + 10)
        with refused("MEMR_FAILED"):
            await memory.read(1, 2 * PAGE)
        assert await memory.read(1, 0, 2 * PAGE) == data[: 2 * PAGE]


async def fill_a_disk_of_three_pages(folder):
    """Six pages of budget, three of disk: the fourth page to go there is refused, and nothing is lost."""
    async with memory_in(folder, 2, 6) as memory:
        await memory.write(1, 0, content(2))
        await memory.write(2, 0, content(2, seed=2))
        assert memory.room(3, 0, 2 * PAGE)
        with refused():
            await memory.write(3, 0, content(2, seed=3))
        memory.check_integrity()
        assert (memory.size(3), memory.usage().swap_failures) == (0, 1)
        assert await memory.read(1) == content(2)
        assert await memory.read(2) == content(2, seed=2)
        await memory.write(3, 0, content(1, seed=4))
        memory.forget(1)
        await memory.write(4, 0, content(2, seed=5))
        assert await memory.read(2) + await memory.read(3) == content(2, seed=2) + content(1, seed=4)
        assert await memory.read(4) == content(2, seed=5)


@story
async def test_a_file_that_may_not_grow_refuses_writes_and_loses_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * PAGE, hard))
    try:
        await fill_a_disk_of_three_pages(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_writes_and_loses_nothing(tmp_path):
    program = (
        "import asyncio, pathlib; from tests.test_memory_faults import fill_a_disk_of_three_pages as fill;"
        f"asyncio.run(fill(pathlib.Path({str(tmp_path)!r})))"
    )
    run_on_a_disk_of(3 * PAGE, tmp_path, program)


@story
async def test_a_folder_that_can_t_be_made_refuses_writes(tmp_path):
    (tmp_path / "own").write_text("in the way")
    async with memory_in(tmp_path, 1, 4) as memory:
        await memory.write(1, 0, content(1))
        with refused():
            await memory.write(1, 0, content(2, seed=1))
        assert await memory.read(1) == content(1)


@story
async def test_a_page_on_its_way_out_is_read_from_ram(tmp_path):
    async with held(tmp_path, 1, 2) as (memory, thread):
        await memory.write(1, 0, content(1))
        write = asyncio.create_task(memory.write(2, 0, content(1, seed=2)))
        await turns()
        assert (len(thread.jobs), memory.usage(2).pending_swaps) == (1, 1)
        assert await memory.read(1) == content(1)
        memory.check_integrity()
        thread.step()
        assert await write == 1
        assert (memory.usage(1).disk_bytes, memory.usage().pending_swaps) == (PAGE, 0)


@story
async def test_reads_and_writes_of_one_process_keep_their_order_and_others_pass(tmp_path):
    async with held(tmp_path, 1, 2) as (memory, thread):
        await memory.write(1, 0, content(1))
        write = asyncio.create_task(memory.write(2, 0, content(1, seed=2)))
        read = asyncio.create_task(memory.read(2))
        await turns()
        assert await memory.read(1) == content(1)
        assert not read.done()
        thread.step()
        assert (await write, await read) == (1, content(1, seed=2))


@story
async def test_a_fork_during_a_write_has_what_was_there_before(tmp_path):
    async with held(tmp_path, 1, 3) as (memory, thread):
        await memory.write(1, 0, content(1))
        write = asyncio.create_task(memory.write(1, 0, content(2, seed=2)))
        await turns()
        memory.fork(1, 3)
        while not write.done():
            thread.step()
            await turns()
            memory.check_integrity()
        read = asyncio.create_task(memory.read(3))
        await turns()
        while not read.done():
            thread.step()
            await turns()
        assert await read == content(1)
        assert memory.usage().alloc_bytes == 3 * PAGE


@story
async def test_a_process_that_ends_during_its_write_leaves_nothing(tmp_path):
    async with held(tmp_path, 1, 2) as (memory, thread):
        await memory.write(1, 0, content(1))
        write = asyncio.create_task(memory.write(2, 0, content(2, seed=2)))
        await turns()
        memory.forget(2)
        memory.fork(1, 2)  # even if the number is used again
        thread.step()
        with refused("PID_NOT_FOUND"):
            await write
        memory.check_integrity()
        assert (memory.size(2), memory.usage().alloc_bytes) == (PAGE, PAGE)


@story
async def test_a_block_given_back_while_it_is_read_is_not_written_before(tmp_path):
    async with held(tmp_path, 0, 1) as (memory, thread):
        write = asyncio.create_task(memory.write(1, 0, content(1)))
        await turns()
        thread.step()
        await write
        read = asyncio.create_task(memory.read(1))
        await turns()
        memory.forget(1)
        write = asyncio.create_task(memory.write(2, 0, content(1, seed=2)))
        await turns()
        thread.step()
        thread.step()
        assert await read == content(1)
        assert await write == 1
        assert block_of(memory, 2, 0) == 0


@story
async def test_a_cancelled_write_changes_nothing(tmp_path):
    async with held(tmp_path, 1, 1) as (memory, thread):
        await memory.write(1, 0, content(1))
        write = asyncio.create_task(memory.write(1, 0, content(2, seed=2)))
        await turns()
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        memory.check_integrity()
        thread.step()
        assert (await memory.read(1), memory.usage().disk_bytes) == (content(1), 0)


@story
async def test_a_copy_that_is_needed_no_more_moves_nothing(tmp_path):
    async with held(tmp_path, 2, 2) as (memory, thread):
        await memory.write(1, 0, content(1))
        await memory.write(2, 0, content(1, seed=2))
        write = asyncio.create_task(memory.write(3, 0, content(1, seed=3)))
        await turns()
        memory.forget(2)
        thread.step()
        assert await write == 1
        assert (memory.usage(1).ram_bytes, memory.usage().evictions, memory._file.used) == (PAGE, 0, 0)


@story
async def test_a_process_that_ends_while_its_page_is_copied_is_gone(tmp_path):
    async with held(tmp_path, 2, 2) as (memory, thread):
        await memory.write(1, 0, content(1))
        await memory.write(2, 0, content(1, seed=2))
        write = asyncio.create_task(memory.write(3, 0, content(2, seed=3)))
        await turns()
        memory.forget(1)
        thread.step()
        assert await write == 2
        memory.check_integrity()
        assert (memory.usage(2).disk_bytes, memory.usage(3).ram_bytes) == (PAGE, 2 * PAGE)


@story
async def test_a_process_that_ends_during_its_read_comes_back_to_no_tier(tmp_path):
    async with held(tmp_path, 1, 1) as (memory, thread):
        await memory.write(1, 0, content(1))
        write = asyncio.create_task(memory.write(2, 0, content(1, seed=2)))
        await turns()
        thread.step()
        await write
        read = asyncio.create_task(memory.read(1))
        await turns()
        memory.forget(2)
        memory.forget(1)
        thread.step()
        assert await read == content(1)
        memory.check_integrity()
        assert memory.usage().alloc_bytes == 0
