"""What the gate needs of the kernel.

Rules
1. What happens to a process is the kernel's to do; the gate tells it what its calls have come to.
"""

from __future__ import annotations

from typing import Any, Protocol

from agentkernel.process import Process, Wait
from agentkernel.request import Spawn
from agentkernel.syscalls.builtin import Child


class Host(Protocol):
    """The process table, as the gate sees it."""

    async def may_call(self, process: Process) -> None:
        """Return once the process's call may do something."""

    async def join(self, process: Process, text: str) -> bool:
        """The first of the process's calls has its result; whether another is to be made."""

    def charged_soon(self, process: Process) -> None:
        """The process has used something of its quotas; what follows may end it, but not amid its call."""

    def waits(self, process: Process, wait: Wait) -> None:
        """The process's call waits for something else."""

    def stop(self, process: Process, reason: str) -> None:
        """End a process that may not go on calling: `quota`, `syscall_errors` or `internal`."""

    def emit_of(self, process: Process, kind: str, **fields: Any) -> None:
        """Tell those who may see the process."""

    async def spawn(self, parent: Process, asked: Spawn) -> Child:
        """A child of the process. Raises ToolError."""

    def reaches(self, process: Process, pid: int) -> bool:
        """Whether that PID is a live process of the same owner."""


class UsedUpError(Exception):
    """The process may not call any more; the text is the reason of its end."""
