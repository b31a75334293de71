"""An attack as data: a program that says what it managed, and what it may manage.

Rules
1. A program reports each of its tries as a line `probe=result`: `did`, `did:value`, or the name of the error.
2. What an oracle names must have been reported: a program that never came to its try proves nothing.
3. `filtered` tries are made with arguments that the system call itself would refuse otherwise than the
   filter does (EFAULT, EINVAL, EBADF): who reports such an error got past the filter.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from agentkernel.jail.port import Job, Killed, Limits, Outcome

PYTHON = "/usr/bin/python3"
QUICK = Limits(wall_s=5.0, cpu_s=5.0, memory_mb=96, pids=24, files=64, workspace_mb=4, workspace_files=200)
PATIENT = msgspec.structs.replace(
    QUICK, wall_s=60.0, cpu_s=60.0, memory_mb=512
)  # for what the test ends itself

PRELUDE = """
import errno, json, os, sys
facts = json.loads(sys.argv[1])
def say(probe, result):
    os.write(1, ("%s=%s\\n" % (probe, result)).encode("utf-8", "backslashreplace"))
def attempt(probe, action, *arguments):
    try:
        value = action(*arguments)
    except OSError as fault:
        say(probe, errno.errorcode.get(fault.errno, fault.errno))
    except Exception as fault:
        say(probe, type(fault).__name__)
    else:
        say(probe, "did" if value is None else "did:%s" % (value,))
        return value
def aside(probe, action, *arguments):
    child = os.fork()
    if not child:
        attempt(probe, action, *arguments)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        say(probe, "SIGNAL%d" % os.WTERMSIG(status))
"""

CALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = {
    "socket": (41, 198), "clone": (56, 220), "ptrace": (101, 117), "syslog": (103, 116),
    "personality": (135, 92), "pivot_root": (155, 41), "chroot": (161, 51), "acct": (163, 89),
    "settimeofday": (164, 170), "mount": (165, 40), "umount2": (166, 39), "swapon": (167, 224),
    "reboot": (169, 142), "sethostname": (170, 161), "init_module": (175, 105), "delete_module": (176, 106),
    "quotactl": (179, 60), "clock_settime": (227, 112), "kexec_load": (246, 104), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "unshare": (272, 97), "perf_event_open": (298, 241),
    "fanotify_init": (300, 262), "open_by_handle_at": (304, 265), "setns": (308, 268),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "finit_module": (313, 273), "seccomp": (317, 277), "bpf": (321, 280), "userfaultfd": (323, 282),
    "ioctl": (16, 29), "iopl": (172, -1), "ioperm": (173, -1), "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
}
ARM = os.uname().machine == "aarch64"
def call(number, *arguments):
    if isinstance(number, str):
        number = NUMBERS[number][ARM]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(each) for each in arguments])
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
    return result
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a program is told of the host, that it may try the real thing."""

    token: str
    kernel: int
    spawner: int
    secret: str
    workspace: str
    neighbour: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a job told: its outcome and its report."""

    outcome: Outcome
    report: Mapping[str, str]

    def matching(self, pattern: str) -> dict[str, str]:
        """The reported probes of that name, where `*` stands for anything; at least one."""
        wanted = re.compile(re.escape(pattern).replace(r"\*", ".*"))
        found = {probe: result for probe, result in self.report.items() if wanted.fullmatch(probe)}
        assert found, f"no {pattern} was tried: {self.outcome}"
        return found


Oracle = Callable[[Seen], None]


@dataclass(frozen=True, slots=True)
class Attack:
    """A hostile program and what must be true of its report and its outcome.

    `calls` gives it `call`, for system calls by name or number; `layer` is what a jail needs to hold it.
    """

    name: str
    program: str
    inside: tuple[Oracle, ...]
    limits: Limits = QUICK
    calls: bool = False
    layer: str = "limits"

    def job(self, facts: Facts, owner: int) -> Job:
        """The job that runs it as a program, with the token on its command line."""
        job = self.code_job(facts, owner)
        argv = (PYTHON, "-I", "-S", "-c", job.code or "", *job.argv)
        return msgspec.structs.replace(job, code=None, argv=argv)

    def code_job(self, facts: Facts, owner: int) -> Job:
        """The job that runs it as code, in a jail made ahead if there is one."""
        told = json.dumps({name: getattr(facts, name) for name in Facts.__slots__})
        code = PRELUDE + (CALLS if self.calls else "") + textwrap.dedent(self.program)
        key = f"{self.name}-{owner}"
        return Job(key, owner, (told,), code, workspace=facts.workspace, limits=self.limits)


def seen(outcome: Outcome) -> Seen:
    """Read a job's report; of a probe tried twice the first success, else the last error."""
    report: dict[str, str] = {}
    for line in outcome.output.decode("utf-8", "replace").splitlines():
        probe, separator, result = line.partition("=")
        if separator and not report.get(probe, "").startswith("did"):
            report[probe] = result
    return Seen(outcome, report)


def refused(*patterns: str) -> Oracle:
    """Each of these was tried and failed with an error of the system."""

    def check(told: Seen) -> None:
        for pattern in patterns:
            for probe, result in told.matching(pattern).items():
                assert re.fullmatch(r"E[A-Z0-9]+|SIGNAL\d+|nothing", result), f"{probe} {result}"

    return check


def filtered(*patterns: str) -> Oracle:
    """Each of these was tried and refused by the filter of system calls."""

    def check(told: Seen) -> None:
        for pattern in patterns:
            for probe, result in told.matching(pattern).items():
                assert result in ("EPERM", "EACCES", "ENOSYS", "SIGNAL31"), f"{probe} {result}"

    return check


def reports(probe: str, *values: str) -> Oracle:
    """The probe's result is one of these."""

    def check(told: Seen) -> None:
        assert told.matching(probe)[probe] in values, f"{probe}={told.report[probe]}"

    return check


def at_most(probe: str, bound: int) -> Oracle:
    """The probe's result is a number up to the bound."""

    def check(told: Seen) -> None:
        assert int(told.matching(probe)[probe]) <= bound, f"{probe}={told.report[probe]}"

    return check


def only(probe: str, *allowed: str) -> Oracle:
    """The probe's result is words of which each is allowed."""

    def check(told: Seen) -> None:
        strange = set(told.matching(probe)[probe].split()) - set(allowed)
        assert not strange, f"{probe}: {strange}"

    return check


def killed(*limits: Killed) -> Oracle:
    """The job was killed for one of these limits."""

    def check(told: Seen) -> None:
        in_sentry = ("memory",) * (told.outcome.backend == "runsc")  # it takes some for all that a job does
        assert told.outcome.killed in (*limits, *in_sentry), told.outcome

    return check


def ended(*statuses: int) -> Oracle:
    """The job ended by itself, with one of these statuses (0 when none is named)."""

    def check(told: Seen) -> None:
        assert told.outcome.killed == "", told.outcome
        assert told.outcome.status in (statuses or (0,)), told.outcome

    return check


def unless_own(*oracles: Oracle) -> Oracle:
    """They hold, unless what is tried is a sentry's own, who then has the limits of the jail himself."""

    def check(told: Seen) -> None:
        for holds in oracles * (told.outcome.backend != "runsc"):
            holds(told)

    return check
