"""Backends without namespaces: Landlock with a filter for trusted programs, and the host itself.

Rules
1. Landlock is weaker than a namespace: names of files and other processes can be seen, though neither be
   read nor be changed. It is for programs that are trusted.
2. The host is no jail. It has limits and an end, is given only by the kernel's own start, and never by root.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from agentkernel.jail import python, restrict, seccomp
from agentkernel.jail.launch import DEVICES, ENVIRONMENT, SYSTEM, Launch
from agentkernel.jail.port import Job

_NEEDED = 6  # the version that keeps signals in
_READ = restrict.EXECUTE | restrict.READ_FILE | restrict.READ_DIRECTORY
_WORKSPACE = 3  # the descriptor that it comes by where it has no path that is ours
_FILES = ("/etc/ld.so.cache",)


def missing() -> str:
    """What to change; empty when Landlock can be tried."""
    if restrict.landlock_version() < _NEEDED:
        return "landlock: Linux 6.12 or newer has it whole; boot with lsm=landlock,..."
    return "" if seccomp.program() else "seccomp: no filter for this kind of machine"


class Landlock:
    """Programs that have given up files, network, signals and most system calls."""

    layers = ("files", "seccomp", "limits")
    processes = memory_mb = 0

    def __init__(self) -> None:
        self._filter = seccomp.program() or b""

    def launch(self, job: Job, status: int, workspace: int | str | None) -> Launch:  # noqa: ARG002 - it is told otherwise
        """How to start it; see `launch.Backend`."""

        def confine() -> None:
            _enter(workspace)
            rules: list[restrict.Rule] = [(path, _READ) for path in SYSTEM]
            rules += [(path, restrict.READ_FILE) for path in _FILES]
            rules += [(path, restrict.READ_FILE | restrict.WRITE_FILE) for path in DEVICES]
            if workspace is not None:
                rules.append((".", _READ | (restrict.WRITE if job.writable else 0)))
            handled = (
                _READ | restrict.WRITE | restrict.DEVICE,
                restrict.TCP,
                restrict.SIGNALS_AND_ABSTRACT_SOCKETS,
            )
            held = restrict.no_new_privileges() and restrict.landlock(handled, rules)
            if not (held and restrict.seccomp(self._filter)):
                raise PermissionError(0, "Landlock or seccomp refused")

        return _launch(job, workspace, confine)


class Host:
    """Programs under limits, and nothing else."""

    layers = ("limits",)
    processes = memory_mb = 0

    def launch(self, job: Job, status: int, workspace: int | str | None) -> Launch:  # noqa: ARG002 - it is told otherwise
        """How to start it; see `launch.Backend`."""
        return _launch(job, workspace, lambda: _enter(workspace))


def _enter(workspace: int | str | None) -> None:
    if isinstance(workspace, int):
        os.chdir(_WORKSPACE)
        os.close(_WORKSPACE)
    else:
        os.chdir(workspace or "/")


def _launch(job: Job, workspace: int | str | None, confine: Callable[[], None]) -> Launch:
    if job.code is not None:
        argv = list(python.command())
    else:
        argv = [shutil.which(job.argv[0], path=ENVIRONMENT["PATH"]) or job.argv[0], *job.argv[1:]]
    environment = ENVIRONMENT if job.code is not None else {**ENVIRONMENT, **job.environment}
    descriptors = (workspace,) if isinstance(workspace, int) else ()
    return Launch(argv, environment, descriptors, confine=confine)
