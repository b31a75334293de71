"""Workspaces that give way: to files that were made beside them, or for good.

Rules
1. Files that are to be a process's are its own all at once, or not at all.
2. What gives way for good stays away: a thread that is on its way to write makes nothing anew.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from agentkernel import log
from agentkernel.jail.port import Limits
from agentkernel.syscalls.confined import exchange, told
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.workspace import Workspace

_BESIDE = ".new"
_AGAIN_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 0.0)  # after each try
_log = log.get("gate")


class Successor:
    """Files that are to be those of a process. Its methods block, and raise ToolError."""

    def __init__(self, root: Path, pid: int, limits: Limits, uid: int | None = None) -> None:
        self._root, self._pid = root, pid
        self._files = Workspace(root, f"{pid}{_BESIDE}", limits, uid)

    def put(self, path: str, data: bytes) -> None:
        """Make a file, and the directories it is in."""
        self._files.put(path, data)

    def exchange(self) -> None:
        """The process has these files, and this has the process's; a second time each has its own again."""
        with told("."), contextlib.suppress(FileNotFoundError):  # no process has files
            directory = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                exchange(directory, str(self._pid), f"{self._pid}{_BESIDE}")
            finally:
                os.close(directory)

    def remove(self) -> None:
        """It has no files any more."""
        self._files.remove()


def sweep(root: Path, limits: Limits) -> None:
    """Remove what a crash has left of files that were no process's yet, or no longer."""
    for left in root.glob(f"*{_BESIDE}"):
        with contextlib.suppress(ToolError):
            Workspace(root, left.name, limits).remove()


def remove_for_good(pid: int, workspace: Workspace) -> None:
    """Remove it, once nothing writes any more: a job that was killed is soon gone, but perhaps not yet."""
    for pause in _AGAIN_S:
        try:
            workspace.remove(for_good=True)
        except ToolError as error:
            why = str(error)
        else:
            return
        time.sleep(pause)
    _log.warning("workspace not removed", pid=pid, error=why)
