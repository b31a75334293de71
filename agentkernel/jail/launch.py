"""From a fork of the spawner to the program that is the jail: groups, limits, user, descriptors, exec.

Rules
1. Between fork and exec nothing is loaded and nothing waits for anyone.
2. Whatever fails says so on the status pipe, and ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import math
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from agentkernel.jail.port import Job, Limits

AHEAD = 10  # how much nicer a jail is than the spawner, which keeps the limits whatever jails and engine do
SESSION = -10  # nice value of a jail's: it begins before an engine goes on
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/workspace", "LANG": "C.UTF-8"}
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives")  # to read
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
NOT_EXECUTED = "exec: "  # before what is said when the job's own program can't be run
FAILED = 125  # exit status of a process that could not become its jail
_PRLIMIT = "/usr/bin/prlimit"
_UNHELD_MB = 64  # of address space that a program maps but doesn't hold
_OWN_PROCESSES = 8  # of the jails around the program
_PR_SET_PDEATHSIG = 1
_ABOVE_OURS = 100  # descriptors are first moved out of the way of those they become
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a backend starts a job.

    `descriptors` has those of ours that the program inherits, in order from 3 on; `temporary` are those of
    them that nobody needs once it has. `confine` is called last, in the process itself. `wraps` is whether
    the program stands between us and the job's own, and tells that one's end by a signal as 128 + n. `proof`
    is what the status pipe holds when the job's own has run; where there is none, it is empty then.
    `limited` is whether the job's own gets its limits by what the program is told, `together` whether all of
    it stays in the session in which it began, which can then be weighed, `changes_user` whether what is
    started becomes the jail's user itself, when it has loaded what only ours may.
    """

    argv: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()
    temporary: tuple[int, ...] = ()
    confine: Callable[[], None] | None = None
    wraps: bool = False
    proof: bytes = b""
    limited: bool = False
    together: bool = False
    changes_user: bool = False


class Backend(Protocol):
    """A way to jail a program."""

    @property
    def layers(self) -> tuple[str, ...]:
        """What holds a program in."""

    @property
    def processes(self) -> int:
        """How many it has itself around the job's, threads among them."""

    @property
    def memory_mb(self) -> int:
        """How much memory it takes itself, in MiB, where that is much beside a job's."""

    def launch(self, job: Job, status: int, workspace: int | str | None) -> Launch:
        """How to start it; the workspace is an open directory, or a path that only we can change."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a jail is made from: its standard streams, its groups' doors and its user."""

    stdin: int
    output: int
    status: int
    doors: tuple[int, ...]
    uid: int | None


def fork(launch: Launch, place: Place, limits: Limits) -> int:
    """Start it; returns the process id."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            settle(place.doors, weighed=launch.together)
            become(launch, place, limits, parent)
        except OSError as error:
            _say(place.status, "", launch, error)
        finally:
            os._exit(FAILED)
    return pid


def memory_file(data: bytes) -> int:
    """An open file in memory, at its beginning."""
    descriptor = os.memfd_create("jail", os.MFD_CLOEXEC)
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], written)
    return descriptor


def die_with(parent: int) -> None:
    """End with the parent, even if it has ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(FAILED)


def settle(doors: tuple[int, ...], *, weighed: bool) -> None:
    """What a fork of the spawner does before it is any job's: enter its groups, in a session of its own."""
    for door in doors:
        os.write(door, b"0")
    with open("/proc/self/oom_score_adj", "wb", buffering=0) as score:  # noqa: PTH123 - nothing is loaded
        score.write(b"1000")  # where memory runs out for all, jails go first
    os.nice(AHEAD)
    os.setsid()
    if weighed:
        weigh("self", SESSION)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def become(launch: Launch, place: Place, limits: Limits, parent: int) -> NoReturn:
    """What a process that has settled does to be the jail's first."""
    status, stage = place.status, ""
    try:
        sources = [place.stdin, place.output, place.output, *launch.descriptors]
        moved = [_duplicate(source) for source in sources]
        status = _duplicate(place.status)
        for target, source in enumerate(moved):
            os.dup2(source, target)
        status = os.dup2(status, len(moved), inheritable=False)
        os.closerange(status + 1, os.sysconf("SC_OPEN_MAX"))
        if not launch.limited:
            _limit(limits, own_user=place.uid is not None)
        if place.uid is not None and not launch.changes_user:
            change_user(place.uid)
        if launch.confine is not None:
            launch.confine()
        die_with(parent)  # again: to change the user takes it back
        stage = "" if launch.wraps else NOT_EXECUTED
        os.execve(launch.argv[0], launch.argv, launch.environment)  # noqa: S606 - no shell
    except OSError as error:
        _say(status, stage, launch, error)
    finally:
        os._exit(FAILED)


def _say(status: int, stage: str, launch: Launch, error: OSError) -> None:
    os.write(status, f"{stage}{error.filename or launch.argv[0]}: {error.strerror}".encode())


def weigh(process: int | str, nice: int) -> None:
    """Weigh the process's session so, as the scheduler weighs sessions first (sched(7), autogroups).

    Nothing happens where it is gone, where there are no such groups, or where only root may.
    """
    with contextlib.suppress(OSError):
        group = os.open(f"/proc/{process}/autogroup", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(group, b"%d" % nice)
        finally:
            os.close(group)


def _duplicate(source: int) -> int:
    return fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE_OURS)


def limited(bounds: Mapping[str, tuple[int, int]], command: Sequence[str]) -> list[str]:
    """The command under bounds, as `rlimits` gives them."""
    return [_PRLIMIT, *(f"--{name}={soft}:{hard}" for name, (soft, hard) in bounds.items()), "--", *command]


def rlimits(limits: Limits) -> dict[str, tuple[int, int]]:
    """The bounds of a process and its children, but for the number of processes: of a user, not of a jail."""
    seconds = math.ceil(limits.cpu_s)
    return {
        "core": (0, 0),
        "as": ((limits.memory_mb + _UNHELD_MB) << 20,) * 2,
        "fsize": (limits.workspace_mb << 20,) * 2,
        "nofile": (limits.files,) * 2,
        "cpu": (seconds, seconds + 1),
        "msgqueue": (0, 0),
        "nice": (0, 0),
        "rtprio": (0, 0),
        "memlock": (0, 0),
    }


def _limit(limits: Limits, *, own_user: bool) -> None:
    """Bound the process and its children; the number of processes only of a user that is the jail's alone."""
    bounds = rlimits(limits)
    if own_user:
        bounds["nproc"] = (limits.pids + _OWN_PROCESSES,) * 2
    bind(bounds)


def bind(bounds: Mapping[str, tuple[int, int]]) -> None:
    """Put this process and its children under bounds, as `rlimits` gives them."""
    for name, bound in bounds.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), bound)


def change_user(uid: int) -> None:
    """Be that user and group alone, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
