"""What waits to become a jail: in its groups, with nothing of the spawner's, for one jail alone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

import pytest

from tests.jail.conftest import NOTHING, SETTLING, Jailed
from tests.jail.test_spawner import children, descendants, told, until


def waiting(jailed: Jailed) -> set[int]:
    spawner = jailed.spawner.os_pid or 0
    jailed.run("true")
    for _ in range(SETTLING):
        jailed.runner.run(jailed.spawner.run(NOTHING))
    found = descendants(spawner) - children(spawner)
    if not found:
        pytest.skip("sandbox not verified: no groups here to wait in")
    return found


def test_it_has_entered_its_groups_and_holds_one_socket(jailed: Jailed) -> None:
    for pid in waiting(jailed):
        needed = 3 if "memory:" in told(pid, "cgroup") else 1
        jailed.runner.run(
            until(lambda pid=pid, needed=needed: told(pid, "cgroup").count("agentkernel-") == needed)
        )
        jailed.runner.run(until(lambda pid=pid: len(open_files(pid)) == 1))
        assert open_files(pid)[0].startswith("socket:")


def open_files(pid: int) -> list[str]:
    """What the process has open, but for the standard streams and what it closes just now."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += [str(path.readlink())] * (int(path.name) > 2)
    return found


def test_it_becomes_one_jail_and_another_takes_its_place(jailed: Jailed) -> None:
    before = waiting(jailed)
    assert jailed.run("echo", "x").output == b"x\n"
    after = waiting(jailed)
    assert len(after) == len(before)
    assert len(before - after) >= 1


def test_the_death_of_one_that_waits_harms_nobody(jailed: Jailed) -> None:
    before = waiting(jailed)
    for pid in before:
        gone = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        assert select.select([gone], [], [], 10)[0]
        os.close(gone)
    for _ in before:
        jailed.runner.run(jailed.spawner.run(jailed.job("true")))
    assert len(waiting(jailed)) == len(before)
    assert not waiting(jailed) & before
