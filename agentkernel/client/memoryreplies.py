"""What the kernel answers about the memory of processes, typed as in `replies`."""

from __future__ import annotations

import msgspec


class Written(msgspec.Struct):
    """MEMW: `status` is written or queued."""

    pid: int
    status: str
    message: str


class Read(msgspec.Struct):
    """MEMR; `size` is that of all the process's memory."""

    pid: int
    offset: int
    length: int
    size: int
    data: bytes


class Memory(msgspec.Struct):
    """What MEM says in either form: pages, and with a model loaded contexts (`kv_…`); times are ms."""

    total_blocks: int
    free_blocks: int
    alloc_bytes: int
    ram_bytes: int
    disk_bytes: int
    waiting: int
    evictions: int
    swap_count: int
    swap_faults: int
    swap_failures: int
    pending_swaps: int
    oom_events: int
    page_in_bytes: int
    page_in_ms: float
    page_out_bytes: int
    page_out_ms: float
    kv_bytes: int = 0
    kv_page_ins: int = 0
    kv_in_bytes: int = 0
    kv_in_ms: float = 0.0
    kv_page_outs: int = 0
    kv_out_bytes: int = 0
    kv_out_ms: float = 0.0


class KernelMemory(Memory, kw_only=True):
    """MEM without a PID: tokens of contexts by tier."""

    kv_slot_tokens: int = 0
    kv_ram_tokens: int = 0
    kv_disk_tokens: int = 0


class ProcessMemory(Memory, kw_only=True):
    """MEM of a process; `size` is the end of what was written."""

    pid: int
    size: int
    kv_tier: str
    kv_tokens: int
    kv_shared_tokens: int
