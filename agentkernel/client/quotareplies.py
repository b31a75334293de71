"""What verbs about quotas answer, as v1 `data` (§5.3); limits that there are not are None."""

from __future__ import annotations

import msgspec


class Bounds(msgspec.Struct, kw_only=True):
    """Limits by their names, hard and soft."""

    max_tokens: int | None = None
    max_syscalls: int | None = None
    max_prompt_tokens: int | None = None
    max_wall_secs: float | None = None
    max_cpu_secs: float | None = None
    max_kv_byte_secs: float | None = None
    soft_tokens: int | None = None
    soft_syscalls: int | None = None
    soft_prompt_tokens: int | None = None
    soft_wall_secs: float | None = None
    soft_cpu_secs: float | None = None
    soft_kv_byte_secs: float | None = None


class Used(Bounds, kw_only=True):
    """And what is used of them."""

    tokens_generated: int
    syscalls_used: int
    elapsed_secs: float
    prompt_tokens: int = 0
    cpu_secs: float = 0.0
    kv_byte_secs: int = 0


class Quota(Used, kw_only=True):
    """GET_QUOTA of a process."""

    pid: int
    priority: str
    workload: str


class OwnerQuota(Used, kw_only=True):
    """GET_QUOTA of an owner, over all its processes; so many live."""

    owner: str
    processes: int


class Limits(Bounds, kw_only=True):
    """SET_QUOTA of a process."""

    pid: int


class OwnerLimits(Bounds, kw_only=True):
    """SET_QUOTA of an owner."""

    owner: str
