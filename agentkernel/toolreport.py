"""How tools, questions and the files of workspaces read, in both dialects (§5)."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from agentkernel.jail.port import Limits, Verdict
from agentkernel.protocol.connection import Answer
from agentkernel.syscalls.people import Question
from agentkernel.syscalls.table import Tool
from agentkernel.syscalls.workspace import Entry


def tool_list(tools: list[Tool]) -> Answer:
    """LIST_TOOLS' reply."""
    rows = [
        {
            "name": tool.name,
            "capability": tool.capability,
            "cost": tool.cost,
            "jailed": tool.jailed,
            "source": tool.source,
            "description": tool.description,
        }
        for tool in tools
    ]
    lines = [_line(tool) for tool in tools]
    return Answer({"total_tools": len(rows), "tools": rows}, "\n".join([f"Tools ({len(rows)})", *lines]))


def _line(tool: Tool) -> str:
    said = " ".join(tool.description.split())
    return f"name={tool.name} capability={tool.capability} source={tool.source} {said}"


def tool_info(tool: Tool, limits: Limits) -> Answer:
    """TOOL_INFO's reply."""
    seconds = None if tool.seconds == float("inf") else tool.seconds
    data: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "capability": tool.capability,
        "cost": tool.cost,
        "seconds": limits.wall_s if tool.jailed else seconds,
        "idempotent": tool.idempotent,
        "jailed": tool.jailed,
        "private": tool.private,
        "changing": tool.changing,
        "source": tool.source,
        "schema": tool.schema,
        "limits": msgspec.to_builtins(limits) if tool.jailed else {},
    }
    shown = {key: msgspec.json.encode(value).decode() for key, value in data.items()}
    lines = [f"{key}={value[1:-1] if value.startswith(chr(34)) else value}" for key, value in shown.items()]
    return Answer(data, "\n".join(lines))


def registered(tool: Tool) -> Answer:
    """REGISTER_TOOL's reply."""
    return Answer({"name": tool.name}, f"Tool '{tool.name}' registered")


def unregistered(tool: Tool) -> Answer:
    """UNREGISTER_TOOL's reply."""
    return Answer({"name": tool.name}, f"Tool '{tool.name}' unregistered")


def replied(question: Question, said: str) -> Answer:
    """The reply to ANSWER, APPROVE and DENY."""
    data = {"pid": question.pid, "call": question.call, "status": said}
    return Answer(data, f"Call {question.call} of PID {question.pid} {said}")


def files(pid: int, path: str, entries: list[Entry], *, complete: bool) -> Answer:
    """LIST_FILES' reply."""
    rows = [{"name": e.name, "folder": e.folder, "size": 0 if e.folder else e.size} for e in entries]
    lines = [f"{e.name}/" if e.folder else f"{e.name} {e.size}" for e in entries]
    count = f"Files ({len(rows)})" if complete else f"Files (first {len(rows)})"
    data = {"pid": pid, "path": path, "complete": complete, "files": rows}
    return Answer(data, "\n".join([count, *lines]))


def file(pid: int, path: str, data: bytes) -> Answer:
    """GET_FILE's reply: the bytes themselves, in v1 in base64."""
    encoded = base64.b64encode(data).decode()
    return Answer({"pid": pid, "path": path, "size": len(data), "data": encoded}, data)


def put(pid: int, path: str, size: int) -> Answer:
    """PUT_FILE's reply."""
    return Answer({"pid": pid, "path": path, "size": size}, f"Wrote {size} bytes to {path}")


def sandbox(verdict: Verdict | None) -> dict[str, Any]:
    """What STATUS says of the jail: what holds, or what is wrong and what to do about it."""
    if verdict is None:
        return {"backend": "untested", "layers": [], "levels": [], "faults": []}
    return {
        "backend": verdict.backend if verdict.levels else "off",
        "layers": list(verdict.layers),
        "levels": list(verdict.levels),
        "faults": list(verdict.faults),
    }
