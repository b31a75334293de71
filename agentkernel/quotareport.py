"""How limits, and what was used of them, read (§5.3); what existing clients know comes first."""

from __future__ import annotations

from typing import Any

from agentkernel.kernel import Kernel
from agentkernel.process import Process
from agentkernel.protocol.connection import Answer
from agentkernel.quotas import Account, Bounds
from agentkernel.report import line, measured


def quota(kernel: Kernel, process: Process) -> Answer:
    """GET_QUOTA's reply."""
    elapsed = process.elapsed(kernel.clock())
    data: dict[str, Any] = {
        "pid": process.pid,
        "priority": process.priority,
        "workload": process.plan.workload.capitalize(),
        "max_tokens": process.quota_tokens,
        "max_syscalls": process.quota_syscalls,
        "tokens_generated": process.generated,
        "syscalls_used": process.syscalls,
        "elapsed_secs": round(elapsed, 3),
        "prompt_tokens": process.heard,
        **measured(kernel, process),
        **_limits(process.bounds),
    }
    return Answer(data, line(data | {"elapsed_secs": f"{elapsed:.2f}"}))


def limits(process: Process) -> Answer:
    """SET_QUOTA's reply; limits that not every process has come last."""
    data: dict[str, Any] = {"max_tokens": process.quota_tokens, "max_syscalls": process.quota_syscalls}
    data |= _limits(process.bounds)
    return Answer({"pid": process.pid, **data}, f"PID {process.pid} quota updated: {line(data)}")


def owner_quota(account: Account, processes: int) -> Answer:
    """GET_QUOTA's reply of an owner who has so many processes."""
    used = account.used
    data: dict[str, Any] = {
        "owner": account.name,
        "processes": processes,
        "tokens_generated": used.tokens,
        "syscalls_used": used.syscalls,
        "elapsed_secs": round(used.wall_secs, 3),
        "prompt_tokens": used.prompt_tokens,
        "cpu_secs": round(used.cpu_secs, 3),
        "kv_byte_secs": round(used.kv_byte_secs),
        **_limits(account.bounds),
    }
    return Answer(data, line(data | {"elapsed_secs": f"{used.wall_secs:.2f}"}))


def owner_limits(account: Account) -> Answer:
    """SET_QUOTA's reply of an owner."""
    data = _limits(account.bounds)
    text = f"Owner {account.name} quota updated: {line(data) or 'no limits'}"
    return Answer({"owner": account.name, **data}, text)


def _limits(bounds: Bounds) -> dict[str, float]:
    return bounds.hard.shown("max") | bounds.soft.shown("soft")
