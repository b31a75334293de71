"""What the kernel answers about calls: tools, approvals, workspaces; typed as in `replies`."""

from __future__ import annotations

from typing import Any

import msgspec


class Sandbox(msgspec.Struct):
    """The jail that tools run in; `backend` is `off` where there is none and `untested` at first.

    `levels` are the trust levels that it gives; `faults` say which layer failed and what mends it.
    """

    backend: str
    layers: list[str] = []
    levels: list[str] = []
    faults: list[str] = []


class ToolState(msgspec.Struct):
    """Of STATUS: calls of all processes, those of them that failed, and the jail."""

    syscalls: int
    syscall_errors: int
    sandbox: Sandbox


class ToolRow(msgspec.Struct):
    """One tool of LIST_TOOLS; `source` is builtin, skill or registered."""

    name: str
    capability: str
    cost: int
    jailed: bool
    source: str
    description: str


class ToolList(msgspec.Struct):
    """LIST_TOOLS."""

    total_tools: int
    tools: list[ToolRow]


class Tool(ToolRow, kw_only=True):
    """TOOL_INFO: the JSON schema of the arguments, and limits; no `seconds` where others bound a call."""

    seconds: float | None
    idempotent: bool
    private: bool
    changing: bool
    schema: dict[str, Any]
    limits: dict[str, float] = {}


class NamedTool(msgspec.Struct):
    """REGISTER_TOOL, UNREGISTER_TOOL."""

    name: str


class Replied(msgspec.Struct):
    """ANSWER, APPROVE, DENY: the call that goes on, and that it was answered, approved or denied."""

    pid: int
    call: int
    status: str


class FileEntry(msgspec.Struct):
    """A name in a workspace; `size` is a file's, in bytes."""

    name: str
    folder: bool
    size: int


class FileList(msgspec.Struct):
    """LIST_FILES; not `complete` where a folder holds more than can be listed."""

    pid: int
    path: str
    complete: bool
    files: list[FileEntry]


class FileData(msgspec.Struct):
    """GET_FILE."""

    pid: int
    path: str
    size: int
    data: bytes


class FileWritten(msgspec.Struct):
    """PUT_FILE."""

    pid: int
    path: str
    size: int
