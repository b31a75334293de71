"""What a workspace holds, counted so that nothing in it can mislead or stop the count.

Rules
1. No name is followed out of the workspace: descriptors and names only, never symbolic links.
2. A tree that is too deep, or hides a part from its counter, counts as over any limit.
3. A file without a name takes its room as long as a process has it open or mapped.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

_DEPTH = 64


@dataclass(slots=True)
class Usage:
    """Bytes (the larger of size and blocks) and entries; `opaque` when a part could not be counted."""

    size: int = 0
    entries: int = 0
    opaque: bool = False

    def exceeds(self, size: int, entries: int) -> bool:
        """Whether it is over either limit."""
        return self.opaque or self.size > size or self.entries > entries


def measure(root: int, enough: int, uid: int | None = None) -> Usage:
    """Count the tree below an open directory, up to `enough` entries and some.

    What belongs to root is given to `uid` on the way: the kernel made it there.
    """
    usage = Usage()
    _count(root, _DEPTH, usage, (enough, uid))
    return usage


def nameless(root: int, pids: Iterable[int]) -> int:
    """The bytes of removed files, on the file system of an open directory, that these processes hold."""
    device = os.fstat(root).st_dev
    held = {}
    for pid in pids:
        for place in (f"/proc/{pid}/fd", f"/proc/{pid}/map_files"):
            with contextlib.suppress(OSError):  # the process is gone, or not ours to look into
                for entry in os.scandir(place):
                    found = entry.stat()
                    if found.st_nlink == 0 and found.st_dev == device:
                        held[found.st_ino] = found.st_blocks * 512
    return sum(held.values())


def _count(folder: int, depth: int, usage: Usage, bounds: tuple[int, int | None]) -> None:
    enough, uid = bounds
    for name in os.listdir(folder):
        if usage.opaque or usage.entries > enough:
            return
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if uid is not None and found.st_uid == 0:
                os.chown(name, uid, uid, dir_fd=folder, follow_symlinks=False)
            usage.entries += 1
            if stat.S_ISREG(found.st_mode):
                usage.size += max(found.st_size, found.st_blocks * 512)
            elif stat.S_ISDIR(found.st_mode):
                _enter(folder, name, depth, usage, bounds)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went away meanwhile
        except OSError:  # EACCES by its owner's doing
            usage.opaque = True


def _enter(folder: int, name: str, depth: int, usage: Usage, bounds: tuple[int, int | None]) -> None:
    if depth == 0:
        usage.opaque = True
        return
    inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        _count(inside, depth - 1, usage, bounds)
    finally:
        os.close(inside)
