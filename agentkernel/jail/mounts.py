"""A mount namespace of the spawner's own, in which each jail's workspace has a path that its user can reach.

Rules
1. What is mounted here is seen by nobody else, and goes with the spawner.
2. A workspace is mounted by its open descriptor: no path is looked up twice.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_SHELF = Path("/run/agentkernel")
_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 1, 1 << 2, 1 << 12, 1 << 14, 1 << 18
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Shelf:
    """Where workspaces are mounted, one a number."""

    def __init__(self) -> None:
        """Enter the namespace; OSError when this process may not."""
        _SHELF.mkdir(mode=0o755, parents=True, exist_ok=True)
        enter()
        in_memory(_SHELF, 64)

    def put(self, descriptor: int) -> str:
        """Mount an open directory; returns the path."""
        place = _SHELF / str(descriptor)
        place.mkdir(exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", str(place), None, _MS_BIND)
        return str(place)

    def take(self, path: str) -> None:
        """Unmount it."""
        _check(_libc.umount2(path.encode(), _MNT_DETACH))


def enter() -> None:
    """Enter a mount namespace of this process's own; OSError when it may not."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)


def in_memory(place: Path, kilobytes: int) -> None:
    """Mount an empty file system, in memory."""
    _mount("tmpfs", str(place), "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={kilobytes}k,mode=755")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    kind_ = kind.encode() if kind else None
    _check(_libc.mount(source.encode(), target.encode(), kind_, ctypes.c_ulong(flags), options.encode()))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
