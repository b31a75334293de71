"""What kernel and jail say to each other, and the jail's interface.

Rules
1. A job runs in a jail of its own that ends with it: whatever it started is gone when its outcome is told.
2. Nothing of the kernel's environment, files or descriptors is in a jail: what a job needs stands in it.
3. A jail that can't be made as asked is an error, never a weaker jail.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import msgspec

Trust = Literal["trusted", "standard", "untrusted", "confidential"]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Killed = Literal["", "wall", "cpu", "memory", "output", "workspace", "cancelled"]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one job: seconds, MiB, counts, bytes."""

    wall_s: Seconds = 8.0
    cpu_s: Seconds = 8.0
    memory_mb: Count = 128
    pids: Count = 32
    files: Count = 64
    output_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 30)] = 65_536
    workspace_mb: Count = 16
    workspace_files: Count = 1024

    def halved(self) -> Limits:
        """Half of everything but the number of open files: what an untrusted job gets."""
        return Limits(
            wall_s=self.wall_s / 2,
            cpu_s=self.cpu_s / 2,
            memory_mb=max(self.memory_mb // 2, 1),
            pids=max(self.pids // 2, 1),
            files=self.files,
            output_bytes=self.output_bytes // 2,
            workspace_mb=max(self.workspace_mb // 2, 1),
            workspace_files=max(self.workspace_files // 2, 1),
        )


class Job(msgspec.Struct, frozen=True):
    """One program to run. `key` names it for `kill`; `owner` is the PID whose workspace it may use.

    With `code` the program is Python and `argv` its `sys.argv[1:]`; without, `argv` is program and arguments,
    the program found in /usr/bin and /bin. `workspace` is a directory of the host, in the jail `/workspace`
    and the current directory; without one that is an empty file system in memory. Besides `environment` a
    program gets PATH, HOME, LANG and PWD. An untrusted job has half the limits and can't write its workspace.
    """

    key: str
    owner: int
    argv: tuple[str, ...] = ()
    code: str | None = None
    trust: Trust = "standard"
    stdin: bytes = b""
    environment: dict[str, str] = {}
    workspace: str = ""
    writable: bool = True
    limits: Limits = Limits()


class Outcome(msgspec.Struct, frozen=True):
    """How a job ended: its exit status (negative: minus the signal), or the limit it was killed for.

    A program that can't be found or run has status 127 or 126, as in a shell. `output` is what it wrote,
    standard output and error as they came, up to the limit; `ms` is wall time, `cpu_ms` that of all its
    processes, `memory_kb` the most they held (0 where the machine can't say).
    """

    status: int
    killed: Killed
    output: bytes
    ms: float
    cpu_ms: float
    memory_kb: int
    backend: str


class Verdict(msgspec.Struct, frozen=True):
    """What the self-test found: the backend that holds, its layers, and what is missing or was escaped.

    `levels` are the trust levels that this machine can give; none when tools are disabled. `faults` says,
    a line each, which layer failed and what to install or change.
    """

    backend: str
    layers: tuple[str, ...]
    levels: tuple[Trust, ...]
    canaries: int
    ms: float
    faults: tuple[str, ...] = ()


class Jail(Protocol):
    """A way to run jobs. `verdict` is None until the self-test is over."""

    verdict: Verdict | None

    async def start(self) -> Verdict:
        """Find the strongest backend and test it. Never raises: what fails is in the verdict."""

    async def run(self, job: Job) -> Outcome:
        """Run the job to its end. Raises KernelError ESANDBOX when no jail as asked can be had."""

    def kill(self, key: str) -> None:
        """End the job and all it started at once; its outcome is `cancelled`. Unknown keys are ignored."""

    def warm(self, owner: int, job: Job) -> None:
        """Expect such a Python job of the owner soon: a jail may be made ahead, for its next `run` alone."""

    def forget(self, owner: int) -> None:
        """The owner has ended: end its jobs and drop what was made ahead for it."""

    async def stop(self) -> None:
        """End every job and the spawner."""
