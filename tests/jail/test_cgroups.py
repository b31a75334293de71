"""Groups: found in any layout, bounded in each version's own files, and none left by those who died."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest

from agentkernel.jail import cgroups
from agentkernel.jail.cgroups import Hierarchies, Slot
from agentkernel.jail.port import Limits

_V2_LINE = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
_HYBRID = """\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:3 - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
_BASE = Path("/sys/fs/cgroup")


def test_version_2_is_found() -> None:
    found = cgroups.find(_V2_LINE, "0::/system.slice/agentkernel.service\n")
    own = _BASE / "system.slice/agentkernel.service"
    assert found == Hierarchies(own, own, own, _BASE)
    assert not found.hybrid


def test_a_hybrid_has_limits_of_version_1_and_kills_by_version_2() -> None:
    found = cgroups.find(_HYBRID, "8:pids:/\n4:memory:/outer/one\n1:cpu,cpuacct:/\n0::/\n")
    unified = _BASE / "unified"
    assert found == Hierarchies(_BASE / "memory/outer/one", _BASE / "pids", unified, unified)
    assert found.hybrid


def test_a_container_that_sees_a_part_of_the_tree_is_understood() -> None:
    line = "41 31 0:38 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    found = cgroups.find(line, "0::/docker/x/inner\n")
    assert found
    assert found.unified == _BASE / "inner"


@pytest.mark.parametrize("mounts", ["", _HYBRID.splitlines()[1]])
def test_without_version_2_nothing_is_found(mounts: str) -> None:
    assert cgroups.find(mounts, "4:memory:/\n0::/\n") is None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Plain folders behave as groups: the file of controllers takes `+name`, not in those that are busy."""
    busy: set[Path] = set()
    write = Path.write_text

    def behave(path: Path, data: str) -> int:
        if path.name == "cgroup.subtree_control":
            if path.parent in busy:
                raise OSError(errno.EBUSY, "it has processes")
            data = data.replace("+", "")
        return write(path, data)

    monkeypatch.setattr(Path, "write_text", behave)
    return busy


def group(folder: Path, controllers: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "cgroup.subtree_control").write_text(controllers)
    return folder


def test_jails_go_below_the_nearest_group_that_gives_them_controllers(
    tmp_path: Path, kernel: set[Path]
) -> None:
    slice_ = group(tmp_path / "a.slice", "cpu memory pids")
    own = group(slice_ / "b.service")
    kernel.add(own)
    group(tmp_path, "memory pids")
    groups = cgroups.make(Hierarchies(own, own, own, tmp_path), "1")
    assert groups.unified == groups.memory == groups.pids == slice_ / "agentkernel-1"
    assert (groups.unified / "cgroup.subtree_control").read_text() == "memory pids"


def test_where_no_group_gives_controllers_it_is_said(tmp_path: Path, kernel: set[Path]) -> None:
    kernel.update((group(tmp_path), group(tmp_path / "own")))
    own = tmp_path / "own"
    with pytest.raises(PermissionError, match="memory and pids"):
        cgroups.make(Hierarchies(own, own, own, tmp_path), "1")


def test_a_hybrid_without_the_controllers_or_cgroup_kill_is_refused(tmp_path: Path) -> None:
    own = Hierarchies(tmp_path / "memory", tmp_path / "pids", tmp_path / "unified", tmp_path / "unified")
    for folder in (own.memory, own.pids, own.unified):
        folder.mkdir()
    with pytest.raises(FileNotFoundError, match="controllers"):
        cgroups.make(own, "1")
    for folder in (own.memory, own.pids):
        (folder / "cgroup.procs").touch()
    with pytest.raises(FileNotFoundError, match=r"cgroup\.kill"):
        cgroups.make(own, "1")


_OPENED = "procs", "events", "kill"


def slot(folder: Path, *, hybrid: bool) -> Slot:
    """A slot in plain folders, with what the kernel says in them."""
    places = [folder / name for name in ("memory", "pids", "unified")] if hybrid else [folder / "one"] * 3
    made = Slot(*places)
    (places[2] / "cpu.stat").write_text("usage_usec 1000\n")
    oom = "memory.oom_control" if hybrid else "memory.events"
    (places[0] / oom).write_text("oom_kill_disable 0\noom_kill 3\n")
    names = "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes"
    for path in (*(places[0] / name for name in names), *(places[2] / f"cgroup.{name}" for name in _OPENED)):
        path.touch()
    return made


def test_version_1_is_bounded_with_its_swap(tmp_path: Path) -> None:
    slot(tmp_path, hybrid=True).prepare(Limits(memory_mb=60, pids=10), 2, 4)
    assert (tmp_path / "memory/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "memory/memory.memsw.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "pids/pids.max").read_text() == "12"  # with the jail's own two


def test_version_2_is_bounded_without_swap_and_runs_out_of_memory_as_a_whole(tmp_path: Path) -> None:
    slot(tmp_path, hybrid=False).prepare(Limits(memory_mb=60, pids=10), 2, 4)
    told = {path.name: path.read_text() for path in (tmp_path / "one").iterdir()}
    assert told["memory.max"] == str(64 << 20)
    assert (told["memory.swap.max"], told["memory.oom.group"], told["pids.max"]) == ("0", "1", "12")


@pytest.mark.parametrize("hybrid", [True, False])
def test_a_slots_counts_begin_anew_with_each_jail(tmp_path: Path, *, hybrid: bool) -> None:
    made = slot(tmp_path, hybrid=hybrid)
    made.prepare(Limits(), 2, 0)
    assert (made.cpu_ms(), made.out_of_memory()) == (0, False)
    (made.folders[-1] / "cpu.stat").write_text("usage_usec 6000\n")
    oom = "memory.oom_control" if hybrid else "memory.events"
    (made.folders[0] / oom).write_text("oom_kill 4\n")
    assert (made.cpu_ms(), made.out_of_memory()) == (5, True)
    made.prepare(Limits(), 2, 0)
    assert (made.cpu_ms(), made.out_of_memory()) == (0, False)


# On the machine's own hierarchies


@pytest.fixture
def machine() -> Hierarchies:
    own = cgroups.find(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    if own is None or os.geteuid() != 0:
        pytest.skip("sandbox not verified: no control groups to be had here")
    return own


def test_a_dead_runs_groups_are_swept_with_all_in_them_and_a_living_runs_are_not(
    machine: Hierarchies,
) -> None:
    try:
        dead, living = cgroups.make(machine, "test-dead"), cgroups.make(machine, "test-living")
    except OSError as error:
        pytest.skip(f"sandbox not verified: {error}")
    taken = dead.take()
    sleeper = subprocess.Popen(["sleep", "100"])
    for door in taken.doors():
        os.write(door, str(sleeper.pid).encode())
        os.close(door)
    fcntl.flock(dead._lock, fcntl.LOCK_UN)  # as when its process ends
    elsewhere = group_of_another_session(machine)
    third = cgroups.make(elsewhere, "test-third")
    try:
        assert sleeper.wait(10) == -signal.SIGKILL
        left = {path.name for path in living.unified.parent.glob("agentkernel-test-*")}
        assert left == {"agentkernel-test-living", "agentkernel-test-third"}
        assert not dead.memory.exists()
        assert not dead.pids.exists()
    finally:
        os.close(dead._lock)
        third.remove()
        living.remove()
        if elsewhere != machine:
            elsewhere.memory.rmdir()
    assert not living.unified.exists()


def test_who_had_entered_one_hierarchy_alone_when_its_run_died_ends_with_the_groups(
    machine: Hierarchies,
) -> None:
    if not machine.hybrid:
        pytest.skip("sandbox not verified: there is one hierarchy alone")
    try:
        groups = cgroups.make(machine, "test-entering")
    except OSError as error:
        pytest.skip(f"sandbox not verified: {error}")
    taken = groups.take()
    sleeper = subprocess.Popen(["sleep", "100"])
    first, *others = taken.doors()
    os.write(first, str(sleeper.pid).encode())
    for door in (first, *others):
        os.close(door)
    groups.remove()
    assert sleeper.wait(10) == -signal.SIGKILL
    assert not groups.memory.exists()


def group_of_another_session(machine: Hierarchies) -> Hierarchies:
    """The machine as a kernel sees it that was started with its memory bounded elsewhere."""
    if not machine.hybrid:
        return machine
    memory = machine.memory / "test-session"
    memory.mkdir()
    return dataclasses.replace(machine, memory=memory)


def test_slots_are_used_again(machine: Hierarchies) -> None:
    try:
        groups = cgroups.make(machine, "test-slots")
    except OSError as error:
        pytest.skip(f"sandbox not verified: {error}")
    try:
        first, second = groups.take(), groups.take()
        groups.give_back(first)
        assert groups.take() is first
        assert second is not first
    finally:
        groups.remove()
