"""The strongest backend: bubblewrap, with a seccomp filter, as a user of the jail's own.

Rules
1. Options go through a descriptor, NUL between them: none may hold one, and none is in an argument list.
2. The program sees /usr, its workspace, sized file systems in memory and four devices; nothing else is there,
   no /proc and no /sys, and but for workspace, /tmp and /dev/shm nothing can be written.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from agentkernel.jail import python, seccomp
from agentkernel.jail.launch import DEVICES, ENVIRONMENT, SYSTEM, Launch, limited, memory_file
from agentkernel.jail.port import Job

PROGRAM = "/usr/bin/bwrap"
_ISOLATION = (
    "--unshare-all --unshare-user --disable-userns --die-with-parent --cap-drop ALL --clearenv"
    " --uid 1000 --gid 1000 --hostname jail"
)
_ARGS, _SECCOMP, _STATUS, _WORKSPACE = 3, 4, 5, 6  # descriptors in bwrap
_RAN = b'"exit-code"'  # it tells that of the program


def missing() -> str:
    """What to install or change; empty when bwrap can be tried."""
    if not os.access(PROGRAM, os.X_OK):
        return "bwrap: not installed; install bubblewrap 0.8 or newer"
    asked = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=False)  # noqa: S603 - a constant
    if not {"--disable-userns", "--bind-fd"} <= set(asked.stdout.split()):
        return "bwrap: too old; install bubblewrap 0.8 or newer"
    if seccomp.program() is None:
        return "seccomp: no filter for this kind of machine"
    return "" if python.interpreter() else "python: none below /usr; install python3"


class Bwrap:
    """Jails by bubblewrap."""

    layers = ("namespaces", "files", "capabilities", "seccomp", "limits")
    processes = 2  # its monitor and its init
    memory_mb = 0

    def __init__(self, *, own_user: bool) -> None:
        self._own_user = own_user
        self._filter = seccomp.program() or b""
        self._root = [*_ISOLATION.split(), *_system(), *_devices()]

    def launch(self, job: Job, status: int, workspace: int | str | None) -> Launch:
        """How to start it; the workspace is an open directory, or a path that only we can change."""
        options = [*self._root, *self._writable(job, workspace)]
        together = job.code is not None  # then in a process group of its own
        if not together:
            options.append("--new-session")
        environment = ENVIRONMENT if job.code is not None else {**ENVIRONMENT, **job.environment}
        for name, value in environment.items():
            options += ["--setenv", name, value]
        options += ["--seccomp", str(_SECCOMP), "--json-status-fd", str(_STATUS)]
        temporary = (memory_file("\0".join(options).encode() + b"\0"), memory_file(self._filter))
        descriptors = (*temporary, status, workspace) if isinstance(workspace, int) else (*temporary, status)
        argv = [PROGRAM, "--args", str(_ARGS), "--", *self._command(job)]
        return Launch(argv, {}, descriptors, temporary, wraps=True, proof=_RAN, together=together)

    def _command(self, job: Job) -> list[str]:
        command = list(job.argv if job.code is None else python.command())
        if self._own_user:
            return command
        # The user runs more than this jail; inside, its namespace counts the jail's processes alone.
        return limited({"nproc": (job.limits.pids + self.processes,) * 2}, command)

    def _writable(self, job: Job, workspace: int | str | None) -> list[str]:
        share = str((job.limits.memory_mb << 20) // 4)
        options = ["--size", share, "--tmpfs", "/tmp", "--size", share, "--tmpfs", "/dev/shm"]  # noqa: S108
        kind = "--bind" if job.writable else "--ro-bind"
        if workspace is None:
            options += ["--size", share, "--tmpfs", "/workspace"]
        elif isinstance(workspace, int):
            options += [f"{kind}-fd", str(_WORKSPACE), "/workspace"]
        else:
            options += [kind, workspace, "/workspace"]
        return [*options, "--remount-ro", "/", "--chdir", "/workspace"]


def _system() -> list[str]:
    """/usr, and what lies beside it where the host hasn't moved all below /usr."""
    options = []
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    return options


def _devices() -> list[str]:
    options = ["--dir", "/dev"]
    for path in DEVICES:
        options += ["--dev-bind", path, path]
    return options
