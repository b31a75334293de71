"""The spill file: nobody finds it, blocks are used again, and what comes back is what was written."""

from __future__ import annotations

import asyncio
import os
import stat

import pytest

from agentkernel.spill import SpillFile
from tests.paged_memory import HeldThread, story, turns

SIZE = 4096
ONE, TWO, THREE = (bytes([n]) * SIZE for n in (1, 2, 3))


@story
async def test_the_file_has_no_name_and_its_folder_is_private(tmp_path):
    path = tmp_path / "own" / "spill"
    file = SpillFile(path, SIZE)
    assert not path.parent.exists()
    await file.write([ONE])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == []
    status = os.fstat(file._fd)
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 0)
    await file.close()


@story
async def test_what_a_killed_kernel_left_is_neither_read_nor_kept(tmp_path):
    path = tmp_path / "spill"
    path.write_bytes(TWO * 3)
    with path.open("rb") as left:
        file = SpillFile(path, SIZE)
        (copy,) = await file.write([ONE])
        assert os.fstat(file._fd).st_size == SIZE
        assert left.read() == TWO * 3
        assert not path.exists()
        assert await file.read([copy]) == [ONE]
        await file.close()


@story
async def test_each_block_comes_back_whole_or_not_at_all(tmp_path):
    file = SpillFile(tmp_path / "spill", SIZE)
    copies = await file.write([ONE, TWO, THREE])
    os.pwrite(file._fd, b"?", copies[1].block * SIZE + 7)
    os.ftruncate(file._fd, 3 * SIZE - 1)
    assert await file.read(copies[::-1]) == [None, None, ONE]
    await file.close()


@story
async def test_blocks_given_back_are_taken_again_the_lowest_first(tmp_path):
    file = SpillFile(tmp_path / "spill", SIZE)
    copies = await file.write([ONE, TWO, THREE])
    file.give(copies[1])
    file.give(copies[0])
    again = await file.write([THREE, ONE, TWO])
    assert [copy.block for copy in again] == [0, 1, 3]
    assert await file.read([copies[2], *again]) == [THREE, THREE, ONE, TWO]
    assert file.used == 4
    file.check_integrity([copies[2], *again])
    await file.close()


@story
async def test_a_failed_or_cancelled_write_takes_no_block(tmp_path):
    file = SpillFile(tmp_path / "spill", SIZE)
    file._thread.shutdown()
    thread = file._thread = HeldThread()
    writes = [asyncio.create_task(file.write([data, data])) for data in (ONE, TWO, THREE)]
    await turns()
    assert file.used == 6
    writes[1].cancel()
    thread.step(OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        await writes[0]
    with pytest.raises(asyncio.CancelledError):
        await writes[1]
    assert file.used == 2
    late = asyncio.create_task(file.write([ONE] * 4))  # into blocks that the cancelled write has yet to write
    await turns()
    for _ in range(3):
        thread.step()
    read = asyncio.create_task(file.read([*await writes[2], *await late]))
    await turns()
    thread.step()
    assert await read == [THREE] * 2 + [ONE] * 4
    os.close(file._fd)


@story
async def test_a_write_cut_short_has_failed(tmp_path, monkeypatch):
    file = SpillFile(tmp_path / "spill", SIZE)
    monkeypatch.setattr(os, "pwrite", lambda *_: SIZE - 1)
    with pytest.raises(OSError, match="No space"):
        await file.write([ONE])
    assert file.used == 0
    await file.close()
