"""Jails by WebAssembly, for machines with nothing stronger: Python alone, and an interpreter without calls.

Rules
1. A program has what WASI gives: its streams, clocks, random bytes, and files below its workspace and its
   library. There are no other processes to it, no users, no sockets and no native code.
2. What runs it is a process of the jail's own user, and gives up what it doesn't need before the code comes.
3. It takes packages that nobody gets unasked, and an interpreter that was compiled once: `wasi.compile_it`.
"""

from __future__ import annotations

import sys

import msgspec

from agentkernel.jail import seccomp, wasi
from agentkernel.jail.launch import Launch
from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Job

_WORKSPACE = 4  # the descriptor that it comes by where it has no path that is ours


def missing() -> str:
    """What to install or do; empty when it can be tried."""
    if fault := wasi.missing():
        return f"wasm: {fault}"
    return "" if seccomp.program() else "seccomp: no filter for this kind of machine"


class Wasm:
    """Jails for Python code."""

    layers = ("wasm", "files", "limits")
    processes = 16  # threads of the machine
    memory_mb = 160  # of it and its interpreter's code, as it is touched

    def __init__(self, *, own_user: bool) -> None:
        self._own_user = own_user

    def launch(self, job: Job, status: int, workspace: int | str | None) -> Launch:
        """How to start it; see `launch.Backend`. OSError for what is no Python."""
        if job.code is None:
            raise OSError("it runs no programs but Python")
        place = f"/proc/self/fd/{_WORKSPACE}" if isinstance(workspace, int) else workspace or ""
        user = jail_uid(job.owner) if self._own_user else None
        given = wasi.Given(place, job.writable, job.limits, user)
        argv = [sys.executable, "-I", "-m", wasi.__name__, msgspec.json.encode(given).decode()]
        descriptors = (status, workspace) if isinstance(workspace, int) else (status,)
        return Launch(argv, {}, descriptors, wraps=True, proof=wasi.BEGAN, limited=True, changes_user=True)
