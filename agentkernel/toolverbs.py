"""What clients ask about calls: the tools, answers and approvals of people, the files of a workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from agentkernel.attaching import Attaching
from agentkernel.errors import KernelError
from agentkernel.process import Owner, Process
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.people import Question
from agentkernel.syscalls.table import Tool
from agentkernel.syscalls.workspace import Entry, Workspace

_T = TypeVar("_T")
_NO_FAULT_OF_THE_PATH = ("QUOTA_EXCEEDED", "TOO_LARGE", "PERMISSION_DENIED", "ESANDBOX", "TOOL_FAILED")


class ToolVerbs(Attaching):
    """The part of the kernel's methods that concerns calls."""

    def tools(self) -> list[Tool]:
        """Every tool there is, by name."""
        return [tool for _, tool in sorted(self.gate.toolbox.tools.items())]

    def tool(self, name: str) -> Tool:
        """The tool of that name. Raises TOOL_NOT_FOUND."""
        return self.gate.toolbox.find(name)

    def register_tool(self, description: bytes) -> Tool:
        """Add a tool. Raises TOOL_INVALID, TOOL_EXISTS or TOOL_FAILED."""
        return self.gate.toolbox.register(description)

    def unregister_tool(self, name: str) -> Tool:
        """Forget a tool that was registered. Raises TOOL_NOT_FOUND, TOOL_INVALID or TOOL_FAILED."""
        return self.gate.toolbox.unregister(name)

    def answer(self, owner: Owner, pid: int, text: str) -> Question:
        """Answer what the process asks. Raises WRONG_STATE."""
        process = self._mine(owner, pid)
        return self.gate.people.reply("answer", process.pid, None, text)

    def approve(self, owner: Owner, pid: int, call: int) -> Question:
        """Let the process make the call. Raises WRONG_STATE or CALL_NOT_FOUND."""
        process = self._mine(owner, pid)
        return self.gate.people.reply("approval", process.pid, call, None)

    def deny(self, owner: Owner, pid: int, call: int, reason: str) -> Question:
        """Refuse it; the model is told the reason. Raises WRONG_STATE or CALL_NOT_FOUND."""
        process = self._mine(owner, pid)
        return self.gate.people.reply("approval", process.pid, call, reason)

    async def list_files(self, owner: Owner, pid: int, path: str) -> tuple[list[Entry], bool]:
        """What is in a directory of the workspace, also of a process that has ended; whether that is all."""
        process = self.find(owner, pid)
        return await self._with_files(process, lambda workspace: workspace.listing(path))

    async def get_file(self, owner: Owner, pid: int, path: str) -> bytes:
        """A file's bytes. Raises FILE_NOT_FOUND, FILE_INVALID or FILE_FAILED."""
        process, most = self.find(owner, pid), self.config.server.body_bytes
        return await self._with_files(process, lambda workspace: workspace.get(path, most))

    async def put_file(self, owner: Owner, pid: int, path: str, data: bytes) -> int:
        """Write a file whole; its size. Raises FILE_INVALID or FILE_FAILED."""
        await self.may_call(self._mine(owner, pid))
        process = self._mine(owner, pid)
        try:
            await self._with_files(process, lambda workspace: workspace.put(path, data))
        except KernelError as error:
            if error.code == "FILE_NOT_FOUND":  # a program removes the folder as it is made
                raise KernelError("FILE_FAILED", error.message) from error
            raise
        return len(data)

    async def _with_files(self, process: Process, work: Callable[[Workspace], _T]) -> _T:
        try:
            return await asyncio.to_thread(work, self.gate.workspace(process))
        except ToolError as error:
            if error.code == "NOT_FOUND":
                raise KernelError("FILE_NOT_FOUND", error.reason) from error
            if error.code in _NO_FAULT_OF_THE_PATH:
                raise KernelError("FILE_FAILED", error.reason) from error
            raise KernelError("FILE_INVALID", error.reason) from error
