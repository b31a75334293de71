"""What the memory of processes holds and has cost, as it is reported."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """What one process or all of them hold and have cost; blocks are those of all, in either report.

    A shared page is charged once, to the process that has had it longest. An eviction is counted for whom
    the page was charged to, other I/O for whom it was done.
    """

    total_blocks: int
    free_blocks: int
    alloc_bytes: int
    ram_bytes: int
    disk_bytes: int
    waiting: int  # queued writes
    evictions: int  # pages that left RAM
    swap_count: int  # pages written to the file: evicted ones, and those of a write larger than RAM
    swap_faults: int  # pages wanted while they were in the file
    swap_failures: int  # batches that could not be written, pages that came back wrong
    pending_swaps: int  # pages being read or written
    oom_events: int  # writes that found no room, refused or queued
    page_in_bytes: int
    page_in_ms: float  # as waited for
    page_out_bytes: int
    page_out_ms: float


# Those of them that are counted as they come.
COUNTED = (
    *("evictions", "swap_count", "swap_faults", "swap_failures", "pending_swaps", "oom_events"),
    *("page_in_bytes", "page_out_bytes"),
)
