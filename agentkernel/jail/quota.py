"""What a workspace holds, counted so that nothing in it can mislead or stop the count.

Rules
1. No name is followed out of the workspace: descriptors and names only, never symbolic links.
2. A tree that is too deep, or hides a part from its counter, counts as over any limit.
"""

from __future__ import annotations

import os
import stat
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
    """Count the tree below an open directory, up to `enough` entries.

    What belongs to root is given to `uid` on the way: the kernel made it there.
    """
    usage = Usage()
    folders = [(os.dup(root), 0)]
    try:
        while folders and usage.entries <= enough and not usage.opaque:
            descriptor, depth = folders.pop()
            try:
                _count(descriptor, depth, usage, folders, uid)
            finally:
                os.close(descriptor)
    finally:
        for descriptor, _ in folders:
            os.close(descriptor)
    return usage


def _count(folder: int, depth: int, usage: Usage, folders: list[tuple[int, int]], uid: int | None) -> None:
    for name in os.listdir(folder):
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if uid is not None and found.st_uid == 0:
                os.chown(name, uid, uid, dir_fd=folder, follow_symlinks=False)
            usage.entries += 1
            usage.size += max(found.st_size, found.st_blocks * 512) if stat.S_ISREG(found.st_mode) else 0
            if stat.S_ISDIR(found.st_mode):
                usage.opaque |= depth == _DEPTH
                folders.append(
                    (os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder), depth + 1)
                )
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went away meanwhile
        except OSError:  # EACCES by its owner's doing, ENAMETOOLONG, too many folders side by side
            usage.opaque = True
