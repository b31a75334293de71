"""What jails of this kind are known to get wrong, one test each."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from pathlib import Path

import pytest

from agentkernel.jail import seccomp
from agentkernel.jail.owners import jail_uid, runtime_uid
from agentkernel.jail.port import Limits
from tests.jail.conftest import BACKENDS, Jailed, has_sentry, own_memory_mb
from tests.jail.test_spawner import appear, children

pytestmark = pytest.mark.parametrize("jailed", BACKENDS, indirect=True, scope="module")

_WAIT = "open('up', 'w')\nwhile True: pass"
_CALL = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in map(int, sys.argv[1:]):
    failed = libc.syscall(number, *map(ctypes.c_long, [-1] * 6)) == -1
    print(number, ctypes.get_errno() if failed else 0)
"""


def told_of_processes(jailed: Jailed, workspace: Path, name: str) -> list[bytes]:
    """What /proc says under this name of the spawner and every process of a running jail."""

    async def look() -> list[bytes]:
        (workspace / "up").unlink(missing_ok=True)
        job = jailed.job(code=_WAIT, owner=9, workspace=str(workspace), environment={"SECRET": "s3cret"})
        task = asyncio.ensure_future(jailed.spawner.run(job))
        await appear(workspace, 1)
        spawner = jailed.spawner.os_pid or 0
        told = [read(pid, name) for pid in (spawner, *children(spawner))]
        jailed.spawner.kill(job.key)
        await task
        return told

    return jailed.runner.run(look())


def read(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def test_no_process_of_a_jail_is_the_hosts_root_or_anybody_of_it(jailed: Jailed, workspace: Path) -> None:
    """A launcher that is the host's root can write /proc/sys whatever capabilities it drops."""
    expected = os.getuid() if jail_uid(9) is None else jail_uid(9)
    assert expected != 0
    for status in told_of_processes(jailed, workspace, "status")[1:]:
        makes_it = re.search(rb"^Name:\t(bwrap|unshare|runsc|exe|runc|crun)", status)
        users = {expected, runtime_uid(9)} if makes_it else {expected}
        for line in re.findall(rb"^[UG]id:\t(.*)$", status, re.MULTILINE):
            assert {int(each) for each in line.split()} <= users
        assert makes_it or re.search(rb"^CapEff:\t0+$", status, re.MULTILINE)


def test_nothing_of_the_environment_reaches_any_process_of_a_jail(jailed: Jailed, workspace: Path) -> None:
    """Clearing the program's environment leaves that of its launcher to be read."""
    names = {
        each.partition(b"=")[0]
        for environment in told_of_processes(jailed, workspace, "environ")
        for each in environment.split(b"\0")
    }
    crun = b"_LIBCONTAINER_CLONED_BINARY"  # its own word to itself
    assert names <= {b"", b"PATH", b"HOME", b"LANG", b"PWD", b"LC_CTYPE", crun}
    assert not any(b"s3cret" in line for line in told_of_processes(jailed, workspace, "cmdline"))


def test_processes_are_bounded_and_one_owners_are_not_anothers(jailed: Jailed) -> None:
    """RLIMIT_NPROC doesn't bind root, and all jails of one user share it."""
    code = (
        "import os, time\nfor n in range(99):\n try:\n  if os.fork() == 0: time.sleep(2); os._exit(0)\n"
        " except OSError: break\nprint(n)"
    )

    async def both() -> list[int]:
        jobs = [jailed.job(code=code, limits=Limits(pids=20)) for _ in range(3)]
        done = await asyncio.gather(*(jailed.spawner.run(job) for job in jobs))
        return [20 if each.killed and has_sentry(jailed) else int(each.output) for each in done]

    assert all(10 <= count <= 20 for count in jailed.runner.run(both()))


def test_many_files_each_within_its_limit_are_over_the_workspaces(jailed: Jailed, workspace: Path) -> None:
    """RLIMIT_FSIZE is no quota."""
    code = "import os\nfor n in range(64):\n os.write(os.open(str(n), 65), bytes(1 << 20))\nwhile True: pass"
    done = jailed.python(code, workspace=str(workspace), limits=Limits(workspace_mb=4))
    assert done.killed == "workspace"


@pytest.mark.parametrize("hold", ["files.append(d)", "files.append(mmap.mmap(d, 1 << 20)); os.close(d)"])
def test_files_without_a_name_are_counted(jailed: Jailed, workspace: Path, hold: str) -> None:
    """A removed file takes its room until the last process lets it go."""
    assert jailed.spawner.verdict
    if "cgroups" not in jailed.spawner.verdict.layers:
        pytest.skip("sandbox not verified: without groups a jail's processes are not known")
    code = f"""
import mmap, os
files = []
for n in range(20):
    d = os.open("x", os.O_CREAT | os.O_RDWR)
    os.unlink("x")
    os.write(d, bytes(1 << 20))
    {hold}
while True: pass
"""
    done = jailed.python(code, workspace=str(workspace), limits=Limits(workspace_mb=8))
    assert done.killed == "workspace"


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])
def test_file_systems_in_memory_are_sized(jailed: Jailed, place: str) -> None:
    code = (
        f"n = 0\ntry:\n for n in range(99): open('{place}/%d' % n, 'wb').write(bytes(1 << 20))\n"
        "except OSError as e: print(n, e.strerror)"
    )
    done = jailed.python(code, limits=Limits(memory_mb=64))
    assert done.output == b"16 No space left on device\n"


def test_out_of_memory_ends_all_of_a_jail_and_says_so(jailed: Jailed) -> None:
    """Version 1 of control groups kills one process and lets the others go on."""
    assert jailed.spawner.verdict
    if "cgroups" not in jailed.spawner.verdict.layers:
        pytest.skip("sandbox not verified: no memory controller here")
    code = (
        "import os\nif os.fork():\n while True: pass\n"
        "b = bytearray(60 << 20)\nfor n in range(0, len(b), 4096): b[n] = 1"
    )
    done = jailed.python(code, limits=Limits(memory_mb=40, wall_s=60))
    assert done.killed == "memory"
    assert done.memory_kb <= 41 + own_memory_mb(done) << 10
    assert jailed.spawner.os_pid
    assert children(jailed.spawner.os_pid) == set()


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"])
def test_no_socket_is_made(jailed: Jailed, family: str) -> None:
    """A fresh network namespace does not keep vsock from the host of a virtual machine."""
    done = jailed.python(f"import socket; socket.socket(socket.{family}, socket.SOCK_STREAM)")
    assert done.output.endswith(b"PermissionError: [Errno 1] Operation not permitted\n")


def test_every_call_of_the_list_is_refused(jailed: Jailed) -> None:
    """Who makes the jail may know fewer calls by name than the list has, and leave the others out."""
    numbers = seccomp.numbers(seccomp.REFUSED).values()
    told = jailed.python(_CALL, *map(str, numbers)).output.decode().splitlines()
    unknown = {f"{number} {errno.ENOSYS}" for number in numbers} if has_sentry(jailed) else set()
    assert [line for line in told if line not in unknown] == [
        f"{number} {errno.EPERM}" for number in numbers if f"{number} {errno.ENOSYS}" not in {*told} & unknown
    ]


def test_calls_that_are_newer_than_the_list_do_not_exist(jailed: Jailed) -> None:
    newer = range(453, 500)
    told = jailed.python(_CALL, *map(str, newer)).output.decode().splitlines()
    assert told == [f"{number} {errno.ENOSYS}" for number in newer]


def test_the_pairs_of_sockets_that_event_loops_need_are_made(jailed: Jailed) -> None:
    done = jailed.python("import asyncio; print(asyncio.run(asyncio.sleep(0, 'ran')))")
    assert done.output == b"ran\n"


def test_no_process_outside_can_be_seen_or_signalled(jailed: Jailed) -> None:
    """Beside the kernel without a namespace of its own a program can stop and trace it."""
    code = (
        "import os, sys\n"
        "for pid in map(int, sys.argv[1:]):\n"
        " try: os.kill(pid, 0); print('reached', pid)\n"
        " except OSError as e: print(e.strerror)\n"
        "print(os.path.exists('/proc/%s' % sys.argv[1]), os.getppid())"
    )
    done = jailed.python(code, str(os.getpid()), str(jailed.spawner.os_pid))
    assert done.output == b"No such process\nNo such process\nFalse 1\n"


def test_nothing_but_workspace_and_temporary_folders_can_be_written(jailed: Jailed) -> None:
    code = (
        "import os\n"
        "for place in ('/', '/usr', '/usr/bin', '/dev', '/etc', '/workspace', '/tmp', '/dev/shm'):\n"
        " try: open(place + '/x', 'w'); print(place)\n except OSError: pass"
    )
    assert jailed.python(code).output.split() == [b"/workspace", b"/tmp", b"/dev/shm"]


def test_what_stands_in_the_root_of_a_jail(jailed: Jailed) -> None:
    done = jailed.python("import os; print(*sorted({*os.listdir('/')} - {'lib32', 'lib64', 'libx32'}))")
    own = b" sys" if has_sentry(jailed) else b" proc"  # an empty folder in place of what a sentry makes up
    assert done.output.replace(b" proc", b"").replace(own, b"") == b"bin dev etc lib sbin tmp usr workspace\n"
    assert jailed.python("import os; print(*os.listdir('/etc'))").output in (b"alternatives\n", b"\n")
