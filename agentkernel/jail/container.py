"""Jails by a container runtime, for machines that have one and no bubblewrap.

Rules
1. The runtime isn't root: it runs in a user namespace, as a user that is nobody's, and in namespaces of
   mounts and processes that end with it. What it writes lies in memory, where nobody else sees it.
2. A runtime keeps its hands off control groups: the jail is in its own before the runtime is started.
3. The program sees what it does with bubblewrap, and of /proc the processes of its jail, to be read.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from agentkernel.jail import mounts, python, restrict, seccomp
from agentkernel.jail.launch import DEVICES, ENVIRONMENT, SYSTEM, Launch, die_with, limited, rlimits
from agentkernel.jail.owners import jail_uid, runtime_uid
from agentkernel.jail.port import Job

RUNTIMES = {  # as they are preferred, with their options
    "runsc": "--rootless --network=none --ignore-cgroups --oci-seccomp",
    "runc": "--rootless=true",
    "crun": "--cgroup-manager=disabled",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INSIDE = 1000  # the user that a program is to itself
_PLACE = Path("/tmp")  # noqa: S108 - of the runtime's own
_PLACE_KB = 4096
_STATUS, _USERS = 3, 4  # descriptors in the runtime
_OTHER_GROUPS = Path("/sys/fs/cgroup/unified")  # crun refuses a machine that has both versions
_ENDING_WITH_US = ("/usr/bin/unshare", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
SENTRY = 300, 40  # processes and MiB that it takes; it doesn't bound how many processes a job has
_UNKNOWN_BOUNDS = {"msgqueue", "nice", "rtprio"}  # to a sentry, which has nothing that they bound
_BEGAN = b"began"  # what is on the status pipe then
_JOBS = "+"  # what the names of a job's variables begin with, until the job's own process
_TELLS = f"""
import os
os.write({_STATUS}, {_BEGAN!r})
os.close({_STATUS})
"""
# All of a jail ends with its first process, which no signal from inside reaches, nor a job's variables.
_FIRST_PROCESS = f"""
import os, sys
own = os.fork()
if not own:
    os.setsid()
    of_jobs = [each for each in os.environb.items() if each[0].startswith(b"{_JOBS}")]
    given = dict(os.environb.items() - of_jobs)
    given.update((name[1:], value) for name, value in of_jobs)
    try:
        os.execvpe(sys.argv[1], sys.argv[1:], given)
    except OSError as error:
        os.write(1, os.fsencode(f"{{sys.argv[1]}}: {{error.strerror}}"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
while True:
    ended, status = os.wait()
    if ended == own:
        status = os.waitstatus_to_exitcode(status)
        os._exit(status if status >= 0 else 128 - status)
"""
_CLONE_NEWUSER = 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)


def missing(runtime: str) -> str:
    """What to install; empty when the runtime can be tried."""
    if not shutil.which(runtime, path=_PATH):
        return f"{runtime}: not installed; install {runtime}, or rather bubblewrap"
    if runtime == "runsc" and not _knows(runtime, RUNTIMES[runtime]):
        return "runsc: too old; install one that knows --oci-seccomp"
    if seccomp.program() is None:
        return "seccomp: no filter for this kind of machine"
    return "" if python.interpreter() else "python: none below /usr; install python3"


@cache
def _knows(runtime: str, options: str) -> bool:
    """Whether it has these options; asked, as it would say so where a program's output belongs."""
    asked = [shutil.which(runtime, path=_PATH) or runtime, *options.split(), "help"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0  # noqa: S603 - constants


class Container:
    """Jails by one runtime. It takes a kernel that is root, with users, groups and mounts to give."""

    layers: tuple[str, ...] = ("namespaces", "files", "capabilities", "seccomp", "limits")
    processes = 100  # threads of a runtime in Go, the more the more cores; the job has a limit of its own
    memory_mb = 0

    def __init__(self, runtime: str) -> None:
        log = f"--log=/proc/self/fd/{_STATUS}", "--log-format=json"
        options = *RUNTIMES[runtime].split(), *log, f"--root={_PLACE}/state"
        self._sentry = runtime == "runsc"  # has a kernel of its own, which no descriptor of ours gets into
        run = "run", f"--bundle={_PLACE}", *(("--preserve-fds=1",) * (not self._sentry)), "jail"
        self._argv = [*_ENDING_WITH_US, shutil.which(runtime, path=_PATH) or runtime, *options, *run]
        self._filter = seccomp.rules()
        if self._sentry:  # it has namespaces of its own alone, and may know no other refusal than EPERM
            self.layers = (*self.layers, "sentry")
            self.processes, self.memory_mb = SENTRY
            self._filter["syscalls"] = [
                rule for rule in self._filter["syscalls"] if rule["names"] != ["clone3"]
            ]

    def launch(self, job: Job, status: int, workspace: int | str | None) -> Launch:
        """How to start it; see `launch.Backend`."""
        bundle = msgspec.json.encode(self._bundle(job, workspace))
        users = _users(runtime_uid(job.owner) or 0, jail_uid(job.owner) or 0)
        os.fchmod(status, 0o666)  # to be opened again by another user than ours

        def confine() -> None:
            _enter(_USERS)
            mounts.enter()
            mounts.in_memory(_PLACE, _PLACE_KB)
            if _OTHER_GROUPS.exists():
                mounts.in_memory(_OTHER_GROUPS, 4)
            _furnish(bundle)
            if not restrict.seccomp(seccomp.newest()):
                raise PermissionError(0, "seccomp refused")

        descriptors = status, users
        proof = b"" if self._sentry else _BEGAN
        return Launch(self._argv, {}, descriptors, (users,), confine, wraps=True, proof=proof, limited=True)

    def _bundle(self, job: Job, workspace: int | str | None) -> dict[str, Any]:
        """What a runtime is told, by the OCI runtime specification."""
        interpreter = python.interpreter() or ""
        first = _FIRST_PROCESS if self._sentry else _TELLS + _FIRST_PROCESS
        command = job.argv if job.code is None else python.command()
        environment = {**ENVIRONMENT, "PWD": "/workspace"}
        if job.code is None:
            environment |= {f"{_JOBS}{name}": value for name, value in job.environment.items()}
        bounds = {**rlimits(job.limits), "nproc": (job.limits.pids + 1,) * 2}
        if self._sentry:
            bounds = {name: bound for name, bound in bounds.items() if name not in _UNKNOWN_BOUNDS}
        sets = ("bounding", "effective", "inheritable", "permitted", "ambient")
        namespaces = ("pid", "network", "ipc", "uts", "mount", "cgroup")
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": _INSIDE, "gid": _INSIDE},
                "args": limited(bounds, [interpreter, "-I", "-S", "-c", first, *command]),
                "env": [f"{name}={value}" for name, value in environment.items()],
                "cwd": "/workspace",
                "capabilities": dict.fromkeys(sets, ()),
                "noNewPrivileges": True,
            },
            "root": {"path": "rootfs", "readonly": True},
            "hostname": "jail",
            "mounts": self._mounts(job, workspace),
            "linux": {"namespaces": [{"type": name} for name in namespaces], "seccomp": self._filter},
        }

    def _mounts(self, job: Job, workspace: int | str | None) -> list[dict[str, Any]]:
        made = _mounts(job, workspace)
        if not self._sentry:
            return made
        for mount in made:  # a file system of the host's is one to it, with all that is mounted in it
            mount["options"] = [option for option in mount["options"] if option != "rro"]
        return [*made, _OWN_SYS]


def _mounts(job: Job, workspace: int | str | None) -> list[dict[str, Any]]:
    owned = f"size={(job.limits.memory_mb << 20) // 4}", f"uid={_INSIDE}", f"gid={_INSIDE}", "mode=755"
    read_only = "rbind", "ro", "rro", "nodev"
    shown = [path for path in SYSTEM if Path(path).is_dir() and not Path(path).is_symlink()]
    made = [
        _mount("proc", "proc", "/proc", "ro", "nodev", "noexec", "subset=pid"),
        _mount("bind", f"{_PLACE}/rootfs/dev", "/dev", *read_only),
        *(_mount("bind", path, path, "bind") for path in DEVICES),
        *(_mount("bind", path, path, *read_only) for path in shown),
        *(_mount("tmpfs", "tmpfs", path, "nodev", *owned) for path in ("/tmp", "/dev/shm")),  # noqa: S108
    ]
    if workspace is None:
        return [*made, _mount("tmpfs", "tmpfs", "/workspace", "nodev", *owned)]
    options = ("rbind", "nodev") if job.writable else read_only
    return [*made, _mount("bind", str(workspace), "/workspace", *options)]


def _mount(kind: str, source: str, destination: str, *options: str) -> dict[str, Any]:
    return {"type": kind, "source": source, "destination": destination, "options": ("nosuid", *options)}


_OWN_SYS = _mount("tmpfs", "tmpfs", "/sys", "ro", "size=0")  # in place of what its kernel makes up


def _users(runtime: int, jail: int) -> int:
    """A new user namespace of the jail's user, in which the runtime is root and the jail nobody."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.setresgid(jail, jail, jail)
            os.setresuid(jail, jail, jail)
            if _libc.unshare(_CLONE_NEWUSER) == 0:
                die_with(parent)
                os.kill(os.getpid(), signal.SIGSTOP)
        finally:
            os._exit(1)
    if not os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]):
        raise PermissionError(0, "user namespaces refused")
    try:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{name}").write_text(f"0 {runtime} 1\n{_INSIDE} {jail} 1\n")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _enter(users: int) -> None:
    """Be root of a user namespace of our own user."""
    if _libc.setns(users, _CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespace refused")
    os.close(users)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _furnish(bundle: bytes) -> None:
    """Lay out the bundle."""
    os.umask(0o022)
    root = _PLACE / "rootfs"
    (root / "dev" / "shm").mkdir(parents=True)
    for path in map(Path, DEVICES):
        (root / path.relative_to("/")).touch()
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            (root / path.relative_to("/")).symlink_to(path.readlink())
    (_PLACE / "config.json").write_bytes(bundle)
