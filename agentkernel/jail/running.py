"""One jail from its making to its end: its streams, its clock, its limits, its outcome.

Rules
1. The first limit that is passed is the reason; what follows from the killing changes nothing.
2. A jail is over when its first process and all that it left to the spawner have been reaped, and no
   process is in its groups.
3. A workspace that is over its limit can't be written until the kernel's own tools have made it smaller.
4. A jail made ahead has no clock: time, processor, memory and files count from when it gets its job.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from resource import struct_rusage

from agentkernel.jail import python, quota
from agentkernel.jail.cgroups import Slot
from agentkernel.jail.launch import NOT_EXECUTED, Backend, Launch, Place, fork, weigh
from agentkernel.jail.port import Job, Killed, Outcome
from agentkernel.jail.seeds import Seed

_CHUNK = 1 << 16
_NOT_RUN, _NOT_FOUND = 126, 127
_ARGUMENTS = 131_000  # bytes; the system's bound of one argument, as all
_EXEC_FAILED = ("bwrap: execvp ", NOT_EXECUTED)
_STARTED = b'"child-pid"'  # what bwrap tells before
_LOOK_SHARE = 10  # times as long as a look at the workspace takes, until the next one
_NICE_AFTER_MS, _NICE = 100, 19  # who has used so much of the processor gives way to the engine, and goes on
_SIGNAL_KILLS: dict[int, Killed] = {-signal.SIGXCPU: "cpu", -signal.SIGXFSZ: "workspace"}


class Running:
    """A jail. `pid` is its first process, `orphans` what it left behind and is not yet reaped."""

    def __init__(self, job: Job, backend: str, uid: int | None, workspace: int | None) -> None:
        self.job, self.backend, self.uid, self.workspace = job, backend, uid, workspace
        self.slot: Slot | None = None
        self.mounted = ""
        self.orphans: set[int] = set()
        self.reaped = False
        self.killed: Killed = ""
        self.deadline: float | None = None
        self.pid = 0
        self.output = self.status = self.stdin = -1
        self._launch = Launch([], {})
        self._written = bytearray()
        self._to_write = memoryview(b"")
        self._began = self._look_at = 0.0
        self._exit = 0
        self._cpu_ms = 0.0

    def start(self, backend: Backend, workspace: int | str | None, seed: Seed | None) -> None:
        """Make it, of a seed if there is one; the workspace is an open directory, or a path that is ours."""
        with contextlib.ExitStack() as theirs:
            stdin, self.stdin = _pipe(theirs, 0)
            output, self.output = _pipe(theirs, 1)
            status, self.status = _pipe(theirs, 1)
            launch = backend.launch(self.job, status, workspace)
            doors = self.slot.doors() if self.slot and not seed else ()
            for descriptor in (*doors, *launch.temporary):
                theirs.callback(os.close, descriptor)
            self._launch = launch
            begin = seed.grow if seed else fork
            self.pid = begin(launch, Place(stdin, output, status, doors, self.uid), self.job.limits)

    def suits(self, backend: str, job: Job) -> bool:
        """Whether it was made ahead for such a job, and still stands for that workspace."""
        mine = self.job
        if (
            job.code is None
            or self.reaped
            or self.killed
            or (backend, job.owner) != (self.backend, mine.owner)
        ):
            return False
        asked = job.trust, job.limits, job.writable, job.workspace
        if asked != (mine.trust, mine.limits, mine.writable, mine.workspace):
            return False
        return self.workspace is None or self._same(job.workspace)

    def _same(self, path: str) -> bool:
        """Whether the path still leads to the workspace."""
        try:
            return os.path.samestat(os.fstat(self.workspace or 0), Path(path).lstat())
        except OSError:
            return False

    def begin(self, job: Job) -> bool:
        """Let it do the job; whether there is more of its standard input than it takes at once."""
        self.job = job
        self._began = time.monotonic()
        self.deadline = self._began + job.limits.wall_s
        if self.slot is not None:
            self.slot.count()
        self._to_write = memoryview(job.stdin if job.code is None else python.given(job))
        return self.write()

    def write(self) -> bool:
        """Give it more of its standard input; whether there is yet more to give."""
        try:
            while self._to_write:
                self._to_write = self._to_write[os.write(self.stdin, self._to_write) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            self._to_write = memoryview(b"")
        os.close(self.stdin)
        self.stdin = -1
        return False

    def read(self) -> bool:
        """Take what it has written; whether it may write more."""
        most = self.job.limits.output_bytes
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.output, _CHUNK):
                self._written += data
                if len(self._written) > most:
                    del self._written[most:]
                    self.kill("output")
                    return False
            return False
        return True

    def check(self, now: float) -> None:
        """Kill it if it is over a limit."""
        if self.deadline is None or self.killed or self.reaped:
            return
        if now >= self.deadline:
            self.kill("wall")
        elif now >= self._look_at and self._exceeds_workspace():
            self.kill("workspace")
        elif self.slot is not None and self.slot.out_of_memory():
            self.kill("memory")  # version 1 kills one process and lets the others run
        elif self.slot is not None:
            used = self.slot.cpu_ms()
            if used > self.job.limits.cpu_s * 1000:
                self.kill("cpu")
            elif used > _NICE_AFTER_MS:
                self._renice(_NICE, os.SCHED_IDLE)

    def kill(self, reason: Killed) -> None:
        """End all of it at once."""
        self.killed = self.killed or reason
        self._renice(0, os.SCHED_OTHER)  # the dying need the processor, too
        if self.slot is not None:
            self.slot.kill()
        if not self.reaped:
            os.kill(self.pid, signal.SIGKILL)

    def _renice(self, nice: int, policy: int) -> None:
        """Of each process, and of its session; a core that runs only what is idle is an engine's to take."""
        if self.uid is None or self.slot is None:
            return
        with contextlib.suppress(ProcessLookupError):  # none is left
            os.setpriority(os.PRIO_USER, self.uid, nice)
        for pid in self.slot.members():
            weigh(pid, nice)
            with contextlib.suppress(OSError):  # it is gone
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))

    def end(self, status: int, usage: struct_rusage) -> None:
        """Its first process has been reaped."""
        self.reaped = True
        code = os.waitstatus_to_exitcode(status)
        self._exit = 128 - code if self._launch.wraps and 128 < code <= 128 + signal.NSIG else code
        if self.slot is not None:
            self.slot.kill()
        self._spent(usage)

    def gone(self) -> bool:
        """Whether nothing of it is left."""
        return self.reaped and not self.orphans and (self.slot is None or self.slot.empty())

    def mourn(self, pid: int, usage: struct_rusage) -> None:
        """A process has been reaped that may be one of those it left behind."""
        if pid in self.orphans:
            self.orphans.remove(pid)
            self._spent(usage)

    def _spent(self, usage: struct_rusage) -> None:
        self._cpu_ms += (usage.ru_utime + usage.ru_stime) * 1000

    def outcome(self) -> Outcome | str:
        """What to tell when nothing of it is left, or why it could not be made."""
        ms = (time.monotonic() - self._began) * 1000
        if self.killed != "output":
            self.read()
        reason = self._reason()
        failure = "" if reason else self._failure()
        if failure.startswith(_EXEC_FAILED):
            status = _NOT_FOUND if failure.endswith("No such file or directory") else _NOT_RUN
            why = failure.removeprefix(_EXEC_FAILED[0]).removeprefix(NOT_EXECUTED)
            return not_run(self.job, self.backend, why, status)
        if failure:
            return failure
        cpu_ms = self.slot.cpu_ms() if self.slot else self._cpu_ms
        peak = self.slot.peak_kb() if self.slot else 0
        return Outcome(self._exit, reason, bytes(self._written), ms, cpu_ms, peak, self.backend)

    def close(self) -> None:
        """Give up the descriptors."""
        for descriptor in (
            self.stdin,
            self.output,
            self.status,
            -1 if self.workspace is None else self.workspace,
        ):
            if descriptor >= 0:
                os.close(descriptor)

    def _reason(self) -> Killed:
        if self.killed:
            return self.killed
        if self.slot is not None and self.slot.out_of_memory():
            return "memory"
        if self._exceeds_workspace():
            return "workspace"
        return _SIGNAL_KILLS.get(self._exit, "")

    def _exceeds_workspace(self) -> bool:
        if self.workspace is None or not self.job.writable:
            return False
        began = time.monotonic()
        pids = self.slot.members() if self.slot else ()
        unseen = quota.nameless(self.workspace, pids)
        over = full(self.workspace, self.job) or unseen > self.job.limits.workspace_mb << 20
        now = time.monotonic()
        self._look_at = now + _LOOK_SHARE * (now - began)
        return over

    def _failure(self) -> str:
        """Why the job's program did not begin; empty when it did."""
        try:
            told = os.read(self.status, _CHUNK)
        except BlockingIOError:
            told = b""
        if self._launch.proof in told if self._launch.proof else not told:
            return ""
        said = told if told and _STARTED not in told else bytes(self._written)
        return said.decode("utf-8", "replace").strip() or f"the jail ended with status {self._exit}"


def _pipe(theirs: contextlib.ExitStack, end: int) -> tuple[int, int]:
    """The jail's end (0 to read from, 1 to write to), closed at the exit, and ours, which is kept."""
    pipe = os.pipe()
    theirs.callback(os.close, pipe[end])
    os.set_blocking(pipe[1 - end], False)
    return pipe[end], pipe[1 - end]


def not_run(job: Job, backend: str, why: str, status: int = _NOT_RUN) -> Outcome:
    """The outcome of a job whose program could not be started for what it is."""
    return Outcome(
        status, "", why.encode("utf-8", "replace")[: job.limits.output_bytes], 0.0, 0.0, 0, backend
    )


def full(workspace: int, job: Job, uid: int | None = None) -> bool:
    """Whether the workspace is over the job's limits; what is root's in it is given to the user."""
    most = job.limits.workspace_files
    return quota.measure(workspace, most, uid).exceeds(job.limits.workspace_mb << 20, most)


def unrunnable(job: Job) -> str:
    """Why no program can be started so: what no argument list holds; empty when one can."""
    texts = [*job.argv, *job.environment, *job.environment.values(), job.workspace]
    if job.code is None and (not job.argv or not job.argv[0]):
        return "no program named"
    if any("\0" in text for text in texts):
        return "a NUL in arguments, environment or workspace"
    if any(not name or "=" in name for name in job.environment):
        return "a variable's name is empty or has ="
    if job.code is None and sum(len(text.encode()) + 1 for text in texts) > _ARGUMENTS:
        return f"arguments and environment are over {_ARGUMENTS} bytes"
    return ""
