"""The end of the spawner, by request or by violence, is the end of every attack.

Rules
1. Each test has a spawner of its own, and ends it in the midst of an attack.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agentkernel.errors import KernelError
from agentkernel.jail.link import Spawner
from agentkernel.jail.port import Job, Outcome
from tests.jail.attacks.attack import PATIENT, PYTHON
from tests.jail.attacks.scene import DEFIANT, Scene, meet, running

Act = Callable[[Spawner, asyncio.Task[Outcome]], Coroutine[Any, Any, None]]


def _groups(spawner: int | None) -> list[Path]:
    """The control groups of a spawner."""
    return list(Path("/sys/fs/cgroup").rglob(f"agentkernel-{spawner}"))


def _in_the_midst(scene: Scene, act: Act) -> None:
    """Do something to a spawner that has an attack in a jail, and stop it; nothing may be left."""
    spawners = []

    async def attack() -> None:
        with scene.process() as (owner, facts):
            up = scene.pipe(facts, "up")
            jail = Spawner(command=scene.command)
            await jail.start()
            argv = (PYTHON, "-I", "-S", "-c", DEFIANT, facts.token)
            job = Job("defiant", owner, argv, workspace=facts.workspace, limits=PATIENT)
            alive = asyncio.create_task(jail.run(job))
            await meet(up, alive)
            spawners.append(jail.os_pid)
            assert running(facts.token)
            assert "cgroups" not in (jail.verdict.layers if jail.verdict else ()) or _groups(jail.os_pid)
            try:
                await act(jail, alive)
                assert not running(facts.token)
            finally:
                spawners.append(jail.os_pid)
                await jail.stop()

    scene.wait(attack())
    assert not any(map(_groups, spawners))
    scene.serves()
    scene.unchanged()


def test_a_stopped_spawner_leaves_no_attack_and_no_group(scene: Scene) -> None:
    async def stop(jail: Spawner, alive: asyncio.Task[Outcome]) -> None:
        await jail.stop()
        with pytest.raises(KernelError, match="ESANDBOX"):
            await alive

    _in_the_midst(scene, stop)


def test_a_killed_spawner_leaves_no_attack_to_the_next_one(scene: Scene) -> None:
    async def kill(jail: Spawner, alive: asyncio.Task[Outcome]) -> None:
        assert jail.os_pid is not None
        os.kill(jail.os_pid, signal.SIGKILL)
        with pytest.raises(KernelError, match="ESANDBOX"):
            await alive
        ended = await jail.run(Job("next", 1, ("echo", "685")))
        assert (ended.status, ended.output) == (0, b"685\n")

    _in_the_midst(scene, kill)
