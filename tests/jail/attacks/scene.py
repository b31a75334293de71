"""A host with secrets and a jail on it: what an attack is run against, and what must be as before after it.

Rules
1. What a job started is looked for the moment its outcome is told: by its token on any process's command line
   or environment, and below the spawner, where nothing but forks of that may wait for the next job.
2. Secrets lie in files that everybody may read: only the jail hides them.
3. The rest of the host is compared with how it was before, at rest after a harmless job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec import structs

from agentkernel.jail.link import Spawner
from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Job, Outcome, Trust
from agentkernel.syscalls.workspace import Workspace
from tests.jail.attacks.attack import QUICK, Attack, Facts, Seen, seen
from tests.jail.conftest import NOTHING, SETTLING

SECRET = "s3cret of the host"
KERNEL_SECRET = "s3cret of the kernel"  # in its environment
ONLY_THERE = "only-there.txt"  # a name in the neighbour's folder
_PATIENCE_S = 20
_STRAY = (
    "/",
    "/tmp",
    "/var/tmp",
    "/dev",
    "/dev/shm",
    "/dev/mqueue",
    "/run",
    "/etc",
    "/usr",
    "/home",
    "/root",
)
_IPC = ("shm", "sem", "msg")
_HARMLESS = """
echo $((417 + 268)) > harmless.txt
read given
read kept < harmless.txt
echo sum $kept $given
"""
_HARMLESS_CODE = """
with open("harmless.txt", "w") as file:
    print(417 + 268, file=file)
print("sum", open("harmless.txt").read().strip(), input())
"""
_VISIT = """
import os, stat
for folder, folders, files in os.walk("."):
    for name in files:
        path = os.path.join(folder, name)
        try:
            if stat.S_ISREG(os.lstat(path).st_mode) or os.path.islink(path):
                with open(path, "rb") as file:
                    os.write(1, b"content=" + file.read(64) + b"\\n")
        except OSError:
            pass
os.write(1, b"visited=did\\n")
"""
# Forks for ever, deaf to all signals, from when it has opened `up`; its children may have left it no room.
DEFIANT = """
import os, signal
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
os.write(1, b"begun")
def bomb():
    while True:
        try:
            os.fork()
        except OSError:
            pass
for each in range(3):
    try:
        child = os.fork()
    except OSError:
        break
    if not child:
        os.setsid()
        bomb()
open("up", "w").close()
bomb()
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Traces:
    """What an attack could change on the host."""

    processes: frozenset[int]
    descriptors: dict[int, int]
    mounts: str
    ipc: str
    secrets: dict[str, bytes]


@dataclass(slots=True)
class Scene:
    """A jail, an event loop to run it on, and a folder with secrets, a neighbour's files and workspaces."""

    jail: Spawner
    runner: asyncio.Runner
    folder: Path
    trust: Trust  # of all jobs: the first that the backend is good for
    command: tuple[str, ...]  # that starts such a jail
    owners: int = 100
    calm: Traces | None = None

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something of the jail to its end, which must come."""
        return self.runner.run(asyncio.wait_for(work, _PATIENCE_S))

    @contextlib.contextmanager
    def process(self) -> Iterator[tuple[int, Facts]]:
        """A process that has had no jail yet, its workspace, and what it may be told; all gone at the end."""
        self.owners += 1
        owner, token = self.owners, secrets.token_hex(8)
        workspace = Workspace(self.folder / "w", owner, QUICK, jail_uid(owner))
        path = workspace.make()
        places = (self.folder / "secret.txt", path, self.folder / "n")
        try:
            yield owner, Facts(token, os.getpid(), self.spawner, *map(str, places))
        finally:
            self.jail.forget(owner)
            workspace.remove()
        assert not path.exists(), "the workspace can't be removed"

    def strike(self, attack: Attack, *, ahead: bool = False) -> Seen:
        """Run an attack; nothing of it may run or lie around, and its workspace must stay usable.

        `ahead` runs it as code in a jail that was made ahead. Skips what needs a layer that the jail hasn't.
        """
        if self.jail.verdict is None or attack.layer not in self.jail.verdict.layers:
            pytest.skip(f"sandbox not verified: the jail has no {attack.layer}")
        with self.process() as (owner, facts), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind("\0" + facts.token)
            job = attack.code_job(facts, owner) if ahead else attack.job(facts, owner)
            if self.sentry:
                job = unhurried(job, 2.0)
            if ahead:
                self.jail.warm(owner, structs.replace(job, trust=self.trust))
            outcome = self.run(job)
            assert not running(facts.token), "processes are left"
            with contextlib.suppress(BlockingIOError):
                raise AssertionError(f"the host heard {ear.recv(100, socket.MSG_DONTWAIT)!r}")
            assert b"s3cret" not in outcome.output
            if any(Path(facts.workspace).iterdir()):
                self._visit(facts.workspace, owner)
            self._strays(facts)
        return seen(outcome)

    @property
    def spawner(self) -> int:
        """The process that makes the jails."""
        assert self.jail.os_pid is not None
        return self.jail.os_pid

    @property
    def sentry(self) -> bool:
        """Whether a kernel stands between jail and host."""
        return self.jail.verdict is not None and "sentry" in self.jail.verdict.layers

    def pipe(self, facts: Facts, name: str) -> Path:
        """A FIFO in a workspace that everybody may open. Skips where the jail opens none of the host's."""
        if self.sentry:
            pytest.skip("a sentry opens no FIFO of the host's")
        path = Path(facts.workspace, name)
        os.mkfifo(path)
        path.chmod(0o666)
        return path

    def run(self, job: Job) -> Outcome:
        """Run a job to its end."""
        return self.wait(self.jail.run(structs.replace(job, trust=self.trust)))

    def serves(self) -> None:
        """A harmless job of somebody else comes out right."""
        with self.process() as (owner, facts):
            job = harmless(facts, owner)
            if self.jail.verdict is not None and "wasm" in self.jail.verdict.layers:
                job = structs.replace(job, argv=(), code=_HARMLESS_CODE)
            check_harmless(self.run(job), facts)
            made_by = (Path(facts.workspace) / "harmless.txt").stat().st_uid
            assert made_by == (jail_uid(owner) or os.geteuid())

    def unchanged(self) -> None:
        """The host is as it was when this was last asked."""
        for _ in range(SETTLING):
            self.run(NOTHING)
        found = self._traces()
        before, self.calm = self.calm or found, found
        for what in Traces.__slots__:
            assert getattr(found, what) == getattr(before, what), what

    def _visit(self, workspace: str, owner: int) -> None:
        """The owner's next job in what was left of the workspace sees nothing of the host through it."""
        job = Job(f"visit-{owner}", owner, code=_VISIT, workspace=workspace, limits=QUICK)
        outcome = self.run(job)
        assert outcome.killed in ("", "workspace"), outcome
        assert outcome.killed or b"visited=did" in outcome.output, outcome
        assert b"s3cret" not in outcome.output

    def _strays(self, facts: Facts) -> None:
        for place in (*_STRAY, str(self.folder), facts.neighbour, str(Path.cwd())):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                found = [path for path in Path(place).iterdir() if facts.token in path.name]
                assert not found, f"left: {found}"
        for folder, _, files in os.walk(facts.workspace):
            for name in files:
                told = Path(folder, name).lstat()
                assert told.st_uid or not told.st_mode & 0o6000, f"{name} runs as root"

    def _traces(self) -> Traces:
        ours = (self.spawner, os.getpid())
        files = (self.folder / "secret.txt", *(self.folder / "n").iterdir())
        return Traces(
            processes=frozenset(
                pid for pid in _below(self.spawner) if _command(pid) != _command(self.spawner)
            ),
            descriptors={pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in ours},
            mounts="".join(Path(f"/proc/{pid}/mountinfo").read_text() for pid in ours),
            ipc="".join(Path(f"/proc/sysvipc/{kind}").read_text() for kind in _IPC),
            secrets={str(path): path.read_bytes() for path in files},
        )


def unhurried(job: Job, seconds: float) -> Job:
    """The job with so much time at least, for where jails take some to begin."""
    return structs.replace(job, limits=structs.replace(job.limits, wall_s=max(job.limits.wall_s, seconds)))


def furnish(folder: Path) -> None:
    """Put secrets into a folder that everybody may read."""
    folder.chmod(0o755)
    (folder / "n").mkdir(mode=0o755)
    for path in (folder / "secret.txt", folder / "n" / "theirs.txt"):
        path.write_text(SECRET)
        path.chmod(0o644)


def harmless(facts: Facts, owner: int) -> Job:
    """A job that computes, reads and writes."""
    argv = ("sh", "-c", _HARMLESS)
    return Job(f"harmless-{owner}", owner, argv, stdin=b"and its input\n", workspace=facts.workspace)


def check_harmless(outcome: Outcome, facts: Facts) -> None:
    """It came out right, and wrote what it had to."""
    assert (outcome.status, outcome.killed, outcome.output) == (0, "", b"sum 685 and its input\n"), outcome
    assert (Path(facts.workspace) / "harmless.txt").read_text() == "685\n"


async def meet(path: Path, beside: asyncio.Future[Outcome], *, write: bool = False) -> None:
    """Open a FIFO, and wait until the job beside has opened its other end and, if that writes, closed it.

    Fails with what became of the job if it ends without, and leaves no thread behind that waits for it.
    """
    opening = asyncio.ensure_future(asyncio.to_thread(_open, path, write))
    try:
        await asyncio.wait((opening, beside), return_when=asyncio.FIRST_COMPLETED)
        assert opening.done(), beside.result()
    finally:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        await opening


def _open(path: Path, write: bool) -> None:
    with path.open("wb" if write else "rb") as fifo:
        if not write:
            fifo.read()


def running(token: str) -> list[int]:
    """The processes of the host, but this one's, that bear the token."""
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            told = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            if token.encode() in told:
                found.append(pid)
    return found


def _processes() -> list[int]:
    mine = os.getpid()
    return [
        int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != mine
    ]


def _parents() -> dict[int, int]:
    found = {}
    for pid in _processes():
        with contextlib.suppress(OSError):
            # The name between the parentheses is whatever a process calls itself.
            told = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
            found[pid] = int(told[1])
    return found


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _below(root: int) -> set[int]:
    parents, found = _parents(), {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    # What waits to become a jail is a fork of the spawner itself.
    return {root} | {pid for pid in found if _cmdline(pid) != _cmdline(root)}


def _cmdline(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
