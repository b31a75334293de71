"""The user id that each owner's jails run as.

Rules
1. Beside a kernel that is root no jail runs as a user that means anything on the host, nor as another's.
2. A kernel that isn't root has no ids to give: jails run as its own user, in a user namespace.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

# systemd's table of user ids leaves 1,879,048,192 to 2,147,352,575 to nobody; a container may map few ids.
_BASES = ((1_900_000_000, 1 << 24), (20_000, 10_000))


def base(uid_map: str) -> tuple[int, int] | None:
    """The first of our ranges (start, count) that a user namespace maps whole; None when it maps none."""
    mapped = [tuple(map(int, line.split())) for line in uid_map.splitlines()]
    for start, count in _BASES:
        if any(inside <= start and start + count <= inside + size for inside, _, size in mapped):
            return start, count
    return None


@cache
def ours() -> tuple[int, int] | None:
    """That of this process's namespace, looked up once."""
    return base(Path("/proc/self/uid_map").read_text())


def jail_uid(owner: int) -> int | None:
    """The user and group id of an owner's jails; None when the kernel isn't root or has no ids to give."""
    if os.geteuid() != 0:
        return None
    found = ours()
    return found[0] + owner % (found[1] // 2) if found else None


def runtime_uid(owner: int) -> int | None:
    """The user and group id of programs that make an owner's jails, and are no jail; None as `jail_uid`."""
    uid, found = jail_uid(owner), ours()
    return uid + found[1] // 2 if uid is not None and found else None
