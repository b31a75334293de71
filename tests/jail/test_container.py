"""What is a container's alone: its runtime's user and places, and an end with whoever started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agentkernel.jail import container
from agentkernel.jail.owners import jail_uid, runtime_uid
from agentkernel.jail.port import Limits
from tests.jail.conftest import Jailed, only
from tests.jail.test_spawner import _DEFIANT, appear, awaited, children, descendants, told

pytestmark = pytest.mark.parametrize("jailed", container.RUNTIMES, indirect=True, scope="module")
_WAIT = "open('up', 'w')\nwhile True: pass"


def test_a_runtime_is_root_of_its_own_user_namespace_alone(jailed: Jailed, workspace: Path) -> None:
    job = jailed.job(code=_WAIT, workspace=str(workspace))

    async def look() -> set[str]:
        task = asyncio.ensure_future(jailed.spawner.run(job))
        await appear(workspace, 1)
        found = children(jailed.spawner.os_pid or 0)
        assert any("--bundle=" in told(pid, "cmdline") for pid in found)
        users = {told(pid, "uid_map") for pid in found}
        jailed.spawner.kill(job.key)
        await task
        return users

    users = jailed.runner.run(look())
    given = {tuple(map(int, line.split())) for each in users for line in each.splitlines()}
    sentry = 65534, runtime_uid(job.owner), 1  # is nobody to itself, in a namespace in this one
    assert given - {sentry} == {(0, runtime_uid(job.owner), 1), (1000, jail_uid(job.owner), 1)}


def test_what_a_runtime_writes_is_seen_by_nobody_and_leaves_with_it(jailed: Jailed, workspace: Path) -> None:
    places = [Path("/run") / name for name in container.RUNTIMES] + [Path("/run/agentkernel"), Path("/tmp")]

    def seen() -> set[str]:
        spawner = Path(f"/proc/{jailed.spawner.os_pid}/root")
        there = [entry for place in (*places, spawner / "tmp") if place.is_dir() for entry in place.iterdir()]
        return {str(entry) for entry in there if {"state", "rootfs", "config.json"} & {entry.name}}

    async def look() -> None:
        before = seen()
        job = jailed.job(code=_WAIT, workspace=str(workspace))
        task = asyncio.ensure_future(jailed.spawner.run(job))
        await appear(workspace, 1)
        assert seen() == before
        jailed.spawner.kill(job.key)
        await task
        assert seen() == before

    jailed.runner.run(look())


def test_a_container_ends_at_once_with_kernel_and_spawner(jailed: Jailed, workspace: Path) -> None:
    """Nobody is left then that could kill its groups."""
    command = only(jailed.spawner.verdict.backend if jailed.spawner.verdict else "")
    program = f"""
        import asyncio
        from agentkernel.jail.link import Spawner
        from agentkernel.jail.port import Job
        async def main():
            spawner = Spawner(command={command!r})
            await spawner.start()
            print(spawner.os_pid, flush=True)
            await spawner.run(Job("k", 1, ("x",), code={_DEFIANT!r}, workspace={str(workspace)!r}))
        asyncio.run(main())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as kernel:
        assert kernel.stdout
        spawner = int(kernel.stdout.readline())
        asyncio.run(appear(workspace, 6))
        with awaited(spawner, *descendants(spawner)):
            kernel.send_signal(signal.SIGSTOP)  # it starts no other spawner
            os.kill(spawner, signal.SIGKILL)
        kernel.kill()


def test_an_init_reaps_what_a_program_leaves(jailed: Jailed) -> None:
    """Zombies would use up the number of its processes."""
    code = """
import os
def fork():
    while True:
        try:
            return os.fork()
        except BlockingIOError:
            pass
for each in range(30):
    child = fork()
    if not child:
        fork()
        os._exit(0)
    os.waitpid(child, 0)
print("done")
"""
    assert jailed.python(code, limits=Limits(pids=8)).output == b"done\n"
