"""Who gets the processor first: a jail, until it has computed a while; then everybody else."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from agentkernel.jail.launch import SESSION
from tests.jail.conftest import Jailed
from tests.jail.test_seeds import waiting
from tests.jail.test_spawner import appear, children, told, until

_COMPUTE = """
import os, threading
if os.fork() == 0: os.setsid()
def spin():
    while True: pass
threading.Thread(target=spin).start()
open(f"up{os.getpid()}", "w")
spin()
"""


@pytest.fixture
def weighed(jailed: Jailed) -> Jailed:
    """A jail whose sessions are weighed."""
    if os.getuid() != 0 or not Path("/proc/self/autogroup").exists():
        pytest.skip("sessions aren't weighed here, or only by root")
    waiting(jailed)
    return jailed


def test_a_jail_begins_before_whoever_computes(weighed: Jailed, workspace: Path) -> None:
    async def look() -> list[str]:
        code = "import time\nopen('up', 'w')\ntime.sleep(60)"
        job = weighed.job(code=code, workspace=str(workspace))
        task = asyncio.ensure_future(weighed.spawner.run(job))
        await appear(workspace, 1)
        found = [told(pid, "autogroup") for pid in children(weighed.spawner.os_pid or 0)]
        weighed.spawner.kill(job.key)
        await task
        return found

    found = weighed.runner.run(look())
    assert len(found) > 1
    assert all(line.endswith(f"nice {SESSION}\n") for line in found)


def test_every_thread_of_a_jail_that_has_computed_gives_way(weighed: Jailed, workspace: Path) -> None:
    def gives_way(pid: int) -> bool:
        threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
        idle = all(os.sched_getscheduler(thread) == os.SCHED_IDLE for thread in threads)
        return idle and told(pid, "autogroup").endswith("nice 19\n")

    async def look() -> None:
        job = weighed.job(code=_COMPUTE, workspace=str(workspace))
        task = asyncio.ensure_future(weighed.spawner.run(job))
        await appear(workspace, 2)
        found = children(weighed.spawner.os_pid or 0)
        assert len(found) > 2
        await until(lambda: all(gives_way(pid) for pid in found))
        weighed.spawner.kill(job.key)
        await task

    weighed.runner.run(look())
