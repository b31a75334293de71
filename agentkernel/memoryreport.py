"""How memory, and contexts that were kept, read in both dialects (§5)."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from agentkernel.checkpoints import Checkpoint
from agentkernel.kernel import Kernel
from agentkernel.process import Process
from agentkernel.protocol.connection import Answer
from agentkernel.report import line
from agentkernel.serving import Served
from agentkernel.snapshots import Snapshot

_FLOAT = 4  # bytes


def snapshot_list(snapshots: list[Snapshot]) -> Answer:
    """LIST_SNAPSHOTS' reply."""
    rows = [
        {
            "name": s.name,
            "owner": s.owner,
            "model": s.model_id,
            "tokens": len(s.tokens),
            "share": s.group.partition(":")[0] if s.group.startswith("owner:") else s.group,
            "created": round(s.created, 3),
        }
        for s in snapshots
    ]
    text = "\n".join([f"Snapshots ({len(rows)})", *(line(row) for row in rows)])
    return Answer({"total_snapshots": len(rows), "snapshots": rows}, text)


def checkpointed(checkpoint: Checkpoint) -> Answer:
    """CHECKPOINT's reply."""
    row = _checkpoint(checkpoint)
    pids = " ".join(map(str, row["pids"]))
    return Answer(row, f"Checkpoint '{row['name']}' of PID {pids}: {row['bytes']} bytes")


def checkpoint_list(checkpoints: list[Checkpoint]) -> Answer:
    """LIST_CHECKPOINTS' reply."""
    rows = [_checkpoint(each) for each in checkpoints]
    text = "\n".join([f"Checkpoints ({len(rows)})", *(line(row) for row in rows)])
    return Answer({"total_checkpoints": len(rows), "checkpoints": rows}, text)


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    manifest = checkpoint.manifest
    return {
        "name": manifest.name,
        "owner": manifest.owner,
        "pids": [held.pid for held in manifest.processes],
        "tokens": sum(held.tokens for held in manifest.processes),
        "bytes": checkpoint.bytes,
        "created": round(manifest.created, 3),
        "file": checkpoint.path.name,
    }


def restored(name: str, pids: list[tuple[int, int]]) -> Answer:
    """RESTORE's reply: each PID, and which it was."""
    rows = [{"pid": pid, "was": was} for pid, was in pids]
    text = " ".join(str(pid) if pid == was else f"{pid} (was {was})" for pid, was in pids)
    return Answer({"name": name, "processes": rows}, f"Restored from '{name}': PID {text}")


def written(pid: int, size: int, pages: int | None) -> Answer:
    """MEMW's reply; without pages the write waits."""
    what = f"{size} bytes" if size % _FLOAT else f"{size // _FLOAT} floats"
    if pages is None:
        message = f"{what} wait for room"
        return Answer({"pid": pid, "status": "queued", "message": message}, message, "MEMW_QUEUED")
    message = f"Written {what} into {pages} blocks"
    return Answer({"pid": pid, "status": "written", "message": message}, message)


def read(pid: int, offset: int, data: bytes, size: int) -> Answer:
    """MEMR's reply: the bytes themselves, in v1 in base64."""
    encoded = base64.b64encode(data).decode()
    return Answer({"pid": pid, "offset": offset, "length": len(data), "size": size, "data": encoded}, data)


def memory(kernel: Kernel) -> Answer:
    """MEM's reply: the pages of all, and the contexts of the loaded model by tier."""
    data: dict[str, Any] = msgspec.to_builtins(kernel.memory.usage())
    if served := kernel.models.served.get(kernel.models.loaded_id):
        tokens = served.paging.tokens_by_tier()
        data |= {f"kv_{tier}_tokens": count for tier, count in tokens.items()}
        charged = sum(tokens.values()) - served.paging.shared_tokens()
        data |= {"kv_bytes": charged * served.card.kv_bytes_per_token, **_moves(served, 0)}
    return Answer(data, line(_rounded(data)))


def process_memory(kernel: Kernel, process: Process) -> Answer:
    """MEM's reply for one process: its pages, and its context. Shared tokens are charged to their giver."""
    served = kernel.models.served[process.model_id]
    tier, tokens = served.paging.tokens(process.pid)
    shared = min(tokens, served.paging.moved(process.pid).shared)
    data = {
        "pid": process.pid,
        "size": kernel.memory.size(process.pid),
        **msgspec.to_builtins(kernel.memory.usage(process.pid)),
        "kv_tier": tier,
        "kv_tokens": tokens,
        "kv_shared_tokens": shared,
        "kv_bytes": (tokens - shared) * served.card.kv_bytes_per_token,
        **_moves(served, process.pid),
    }
    return Answer(data, line(_rounded(data)))


def _moves(served: Served, pid: int) -> dict[str, Any]:
    moves = served.paging.moved(pid)
    return {
        "kv_page_ins": moves.ins,
        "kv_in_bytes": moves.in_bytes,
        "kv_in_ms": round(moves.in_ms, 3),
        "kv_page_outs": moves.outs,
        "kv_out_bytes": moves.out_bytes,
        "kv_out_ms": round(moves.out_ms, 3),
    }


def _rounded(data: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in data.items()}
