"""A file of equal blocks that outlives nobody: what RAM has no room for goes here and comes back checked.

Rules
1. The file loses its name as soon as it is open, so nobody else reads it and nothing old is ever read.
2. One thread reads and writes, in the order asked for. So a block may be given back while it is being
   read or written: what comes to stand there is written later.
3. What comes back is what was written, by its BLAKE2b digest, or it is None.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import heapq
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

_DIGEST = 32  # bytes


class Copy(NamedTuple):
    """Where something was written, and what it was."""

    block: int
    digest: bytes


class SpillFile:
    """Blocks of `size` bytes; the lowest free one is taken first. The file is made when it is needed."""

    def __init__(self, path: Path | None, size: int) -> None:
        self._path, self._size, self._fd = path, size, -1
        self._thread = ThreadPoolExecutor(1, "spill")
        self._end = 0
        self._free: list[int] = []  # a heap

    @property
    def used(self) -> int:
        """How many blocks are taken."""
        return self._end - len(self._free)

    async def write(self, contents: Sequence[bytes]) -> list[Copy]:
        """Write each, of a block's size, to a free block. Raises OSError, with no block taken."""
        blocks = [heapq.heappop(self._free) if self._free else self._extend() for _ in contents]
        copies: list[Copy] = []
        try:
            loop = asyncio.get_running_loop()
            copies = await loop.run_in_executor(self._thread, self._write, blocks, contents)
        finally:
            if not copies:
                for block in blocks:
                    heapq.heappush(self._free, block)
        return copies

    async def read(self, copies: Sequence[Copy]) -> list[bytes | None]:
        """What was written there; None for each that is not what it was, or can't be read."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._read, copies)

    def give(self, copy: Copy) -> None:
        """The block is free."""
        heapq.heappush(self._free, copy.block)

    def check_integrity(self, copies: Iterable[Copy]) -> None:
        """Raise ValueError unless each of these has its own block, and none of them is free."""
        used, free = [copy.block for copy in copies], set(self._free)
        if len(set(used)) != len(used) or len(free) != len(self._free) or free.intersection(used):
            raise ValueError("a block is taken twice, or free and taken")

    async def close(self) -> None:
        """Let what was asked for finish, and give up the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _extend(self) -> int:
        self._end += 1
        return self._end - 1

    def _write(self, blocks: Sequence[int], contents: Sequence[bytes]) -> list[Copy]:
        if self._fd < 0:
            self._open()
        copies = []
        for block, data in zip(blocks, contents, strict=True):
            if os.pwrite(self._fd, data, block * self._size) != self._size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            copies.append(Copy(block, _digest(data)))
        return copies

    def _read(self, copies: Sequence[Copy]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for copy in copies:
            data = b""
            with contextlib.suppress(OSError):
                data = os.pread(self._fd, self._size, copy.block * self._size)
            found.append(data if _digest(data) == copy.digest else None)
        return found

    def _open(self) -> None:
        if self._path is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.unlink(missing_ok=True)  # of a kernel that was killed between the next two lines
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._path.unlink()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
