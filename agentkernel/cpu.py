"""The processor: how many cores there are to use, and who gets one first.

A process that wants to answer quickly asks the scheduler for short slices, one that computes for long
ones: then whoever wakes up runs at once, beside an engine too, and nobody's share changes (Linux 6.12).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

SHORT_SLICE, LONG_SLICE = 0.0001, 0.1  # seconds; the least and the most that Linux takes

_CALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}  # sched_setattr, sched_getattr
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # size policy flags nice priority runtime deadline period
_libc = ctypes.CDLL(None, use_errno=True)


def usable_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores this process may use: its affinity, and its cgroup's quota where there is one."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no version-2 cgroup, or "max"
        return cores


def set_slice(seconds: float) -> bool:
    """Ask for slices of this length, for this thread and those it starts; whether that could be asked."""
    numbers = _CALLS.get(platform.machine())
    if numbers is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, round(seconds * 1e9), 0, 0)
    return bool(_libc.syscall(numbers[0], 0, wanted, 0) == 0)


def get_slice() -> float:
    """The slice in force for this thread, in seconds; 0 where the system doesn't tell."""
    numbers = _CALLS.get(platform.machine())
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if numbers is None or _libc.syscall(numbers[1], 0, buffer, _ATTRIBUTES.size, 0) != 0:
        return 0.0
    return float(_ATTRIBUTES.unpack(buffer.raw)[5]) / 1e9
