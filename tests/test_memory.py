"""Memory of processes: what is written is read, whatever tier it was in; who shares it, what it costs."""

from __future__ import annotations

import pytest

from agentkernel.memory import PAGE, Memory
from tests.paged_memory import content, memory_in, refused, story


@pytest.mark.parametrize(("ram", "disk"), [(8, 0), (2, 6), (1, 7), (0, 8)])
@story
async def test_what_is_written_is_read_from_whatever_tier(tmp_path, ram, disk):
    async with memory_in(tmp_path, ram, disk) as memory:
        data = bytearray(content(7.5))
        assert await memory.write(1, 0, bytes(data)) == 8
        patch = content(1.2, seed=1)
        assert await memory.write(1, 3 * PAGE - 100, patch) == 3
        data[3 * PAGE - 100 : 3 * PAGE - 100 + len(patch)] = patch
        assert await memory.read(1) == data
        assert await memory.read(1, 5 * PAGE - 3, 7) == data[5 * PAGE - 3 : 5 * PAGE + 4]
        assert memory.size(1) == len(data)
        usage = memory.usage()
        assert (usage.ram_bytes, usage.disk_bytes, usage.free_blocks) == (ram * PAGE, disk * PAGE, 0)


@story
async def test_no_file_means_no_disk():
    memory = Memory(2 * PAGE + 5, 100 * PAGE, None)
    assert memory.usage().total_blocks == 2
    await memory.write(1, 0, content(2))
    with refused():
        await memory.write(2, 0, b"x")
    assert await memory.read(1) == content(2)
    await memory.close()


@story
async def test_a_gap_reads_as_zeros_and_holds_no_page(tmp_path):
    async with memory_in(tmp_path) as memory:
        assert await memory.write(1, 5 * PAGE + 10, b"end") == 1
        assert await memory.read(1) == bytes(5 * PAGE + 10) + b"end"
        assert memory.usage(1).alloc_bytes == PAGE


@story
async def test_nothing_is_written_by_an_empty_write(tmp_path):
    async with memory_in(tmp_path) as memory:
        assert await memory.write(1, PAGE + 1, b"") == 0
        assert (memory.size(1), await memory.read(1)) == (0, b"")


@pytest.mark.parametrize(("offset", "length"), [(4, None), (0, 4), (-1, None), (-1, 2), (2, -1), (3, 1)])
@story
async def test_a_range_outside_what_was_written_is_refused(tmp_path, offset, length):
    async with memory_in(tmp_path) as memory:
        await memory.write(1, 0, b"abc")
        with refused("MEMR_INVALID"):
            await memory.read(1, offset, length)
        assert await memory.read(1, 3) == b""


@story
async def test_a_write_before_the_beginning_is_refused(tmp_path):
    async with memory_in(tmp_path) as memory:
        with refused("MEMW_INVALID"):
            await memory.write(1, -1, b"abc")


@story
async def test_a_write_without_room_changes_nothing(tmp_path):
    async with memory_in(tmp_path, 1, 2) as memory:
        await memory.write(1, 0, content(1.5))
        assert memory.room(2, 0, PAGE)
        assert not memory.room(2, 0, PAGE + 1)
        assert memory.room(1, 0, 2 * PAGE)
        with refused():
            await memory.write(2, 0, content(1.5, seed=2))
        with refused():
            await memory.write(1, PAGE, content(3, seed=3))
        assert (memory.size(2), memory.usage(2).alloc_bytes) == (0, 0)
        assert await memory.read(1) == content(1.5)
        assert memory.usage().oom_events == 2


@story
async def test_full_tiers_can_be_written_over(tmp_path):
    async with memory_in(tmp_path, 1, 2) as memory:
        await memory.write(1, 0, content(3))
        assert memory.usage().free_blocks == 0
        await memory.write(1, 0, content(3, seed=1))
        await memory.write(1, PAGE + 1, b"x")
        expected = bytearray(content(3, seed=1))
        expected[PAGE + 1] = ord("x")
        assert await memory.read(1) == expected


@story
async def test_what_is_written_over_is_not_copied_first(tmp_path):
    async with memory_in(tmp_path, 1, 1) as memory:
        await memory.write(1, 0, content(1))
        await memory.write(1, 0, content(2, seed=1))
        assert (memory.usage().swap_count, memory.usage().evictions) == (1, 0)
        assert await memory.read(1) == content(2, seed=1)


@story
async def test_the_least_recently_used_page_gives_way(tmp_path):
    async with memory_in(tmp_path) as memory:
        await memory.write(1, 0, content(1))
        await memory.write(2, 0, content(1))
        await memory.read(1)
        await memory.write(3, 0, content(1))
        assert [memory.usage(pid).disk_bytes for pid in (1, 2, 3)] == [0, PAGE, 0]
        assert [memory.usage(pid).evictions for pid in (1, 2, 3)] == [0, 1, 0]
        assert [memory.usage(pid).page_out_bytes for pid in (1, 2, 3)] == [0, 0, PAGE]


@story
async def test_a_read_brings_pages_back_only_into_free_ram(tmp_path):
    async with memory_in(tmp_path) as memory:
        await memory.write(1, 0, content(2))
        await memory.write(2, 0, content(2))
        assert await memory.read(1) == content(2)
        assert (memory.usage(1).disk_bytes, memory.usage(2).disk_bytes) == (2 * PAGE, 0)
        memory.forget(2)
        for _ in range(2):
            assert await memory.read(1) == content(2)
        usage = memory.usage(1)
        assert (usage.disk_bytes, usage.ram_bytes) == (0, 2 * PAGE)
        assert (usage.swap_faults, usage.page_in_bytes) == (4, 4 * PAGE)
        assert usage.page_in_ms > 0


@story
async def test_usage_of_all_is_the_sum_of_each(tmp_path):
    async with memory_in(tmp_path) as memory:
        await memory.write(1, 0, content(3))
        memory.fork(1, 2)
        await memory.write(2, 0, content(2.5, seed=1))
        await memory.read(1)
        with refused():
            await memory.write(3, 0, content(9))
        everyone = memory.usage()
        for name in everyone.__struct_fields__:
            if name not in ("total_blocks", "free_blocks"):
                each = [getattr(memory.usage(pid), name) for pid in (1, 2, 3)]
                assert sum(each) == pytest.approx(getattr(everyone, name)), name
        assert everyone.free_blocks == everyone.total_blocks - everyone.alloc_bytes // PAGE
        assert everyone.page_out_ms > 0


@story
async def test_a_fork_shares_pages_until_one_side_writes(tmp_path):
    async with memory_in(tmp_path) as memory:
        before = content(3)
        await memory.write(1, 0, before)
        memory.fork(1, 2)
        assert (memory.usage(1).alloc_bytes, memory.usage(2).alloc_bytes) == (3 * PAGE, 0)
        await memory.write(2, PAGE + 7, b"child")
        await memory.write(1, 0, b"parent")
        assert await memory.read(1) == b"parent" + before[6:]
        assert await memory.read(2) == before[: PAGE + 7] + b"child" + before[PAGE + 12 :]
        assert memory.usage().alloc_bytes == 5 * PAGE
        memory.forget(1)
        assert await memory.read(2) == before[: PAGE + 7] + b"child" + before[PAGE + 12 :]
        assert memory.usage().alloc_bytes == memory.usage(2).alloc_bytes == 3 * PAGE


@story
async def test_a_shared_page_needs_room_to_be_written(tmp_path):
    async with memory_in(tmp_path, 1, 1) as memory:
        await memory.write(1, 0, content(2))
        memory.fork(1, 2)
        assert not memory.room(2, 0, 1)
        with refused():
            await memory.write(2, 0, b"x")
        memory.forget(1)
        assert memory.room(2, 0, 1)
        await memory.write(2, 0, b"x")
        assert await memory.read(2) == b"x" + content(2)[1:]


@story
async def test_a_child_that_has_memory_is_no_child(tmp_path):
    async with memory_in(tmp_path) as memory:
        await memory.write(1, 0, b"a")
        await memory.write(2, 0, b"b")
        with pytest.raises(ValueError, match="PID 2"):
            memory.fork(1, 2)
        memory.fork(3, 4)
        assert memory.size(4) == 0


@story
async def test_integrity_is_not_claimed_where_there_is_none(tmp_path):
    async with memory_in(tmp_path, 1, 2) as memory:
        await memory.write(1, 0, content(2))
        (in_ram,), (on_disk,) = memory._in_ram, memory._on_disk
        for harm, mend in (
            (lambda: in_ram.holders.update({9: None}), lambda: in_ram.holders.pop(9)),
            (lambda: memory._in_ram.pop(in_ram), lambda: memory._in_ram.update({in_ram: None})),
            (lambda: memory._on_disk.remove(on_disk), lambda: memory._on_disk.add(on_disk)),
            (lambda: setattr(memory, "_ram", 0), lambda: setattr(memory, "_ram", 1)),
            (lambda: memory._file._free.append(on_disk.content.block), memory._file._free.pop),
            (memory._file._extend, lambda: setattr(memory._file, "_end", 1)),
        ):
            memory.check_integrity()
            harm()
            with pytest.raises(ValueError, match=r"page|budget|block"):
                memory.check_integrity()
            mend()


@story
async def test_its_representation_says_how_full_it_is(tmp_path):
    async with memory_in(tmp_path, 2, 3) as memory:
        await memory.write(1, 0, content(3))
        assert repr(memory) == "<Memory ram=2/2 disk=1/3 waiting=0>"
