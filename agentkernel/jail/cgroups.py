"""Control groups for jails: memory and pids bounded, everything in one killed at once.

Rules
1. Version 2, or version 1 for the limits with version 2 beside it for `cgroup.kill` (hybrid); nothing less.
2. A run's groups lie in one folder that it holds locked; the folder of a run that has died is unlocked, and
   is killed and removed by the next one.
3. A slot serves one jail at a time and is used again: no group is left behind, whatever stays in memory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from agentkernel.jail.port import Limits

_PREFIX = "agentkernel-"
_PLACES = "user.agentkernel"  # an attribute of a run's folder
_FEW = 4096  # bytes that hold the whole of such a file
_GONE_MS = 1000  # how long killed processes may take to be gone
_LOOK_S = 0.001  # between looks, where no event tells


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """This process's own group in the hierarchies that bound memory and pids, and in the one that kills."""

    memory: Path
    pids: Path
    unified: Path
    root: Path  # where the unified one is mounted

    @property
    def hybrid(self) -> bool:
        """Whether the limits are version 1's."""
        return self.memory != self.unified


def find(mountinfo: str, membership: str) -> Hierarchies | None:
    """The hierarchies by /proc/self/mountinfo and /proc/self/cgroup; None when limits or killing lack."""
    own = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    places: dict[str, Path] = {}
    root = Path()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        start, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        names = {"cgroup2": [""], "cgroup": options.split(",")}.get(kind, [])
        for name in set(names) & {"", "memory", "pids"} & own.keys():
            places.setdefault(name, Path(point) / own[name].removeprefix(start.rstrip("/")).lstrip("/"))
            root = Path(point) if name == "" else root
    if "" not in places:
        return None
    return Hierarchies(places.get("memory", places[""]), places.get("pids", places[""]), places[""], root)


class Slot:
    """The groups of one jail at a time. What a jail needs of them is open from `prepare` to `close`."""

    def __init__(self, memory: Path, pids: Path, unified: Path) -> None:
        self.folders = tuple(dict.fromkeys((memory, pids, unified)))
        self._memory, self._pids, self._unified = memory, pids, unified
        self._hybrid = memory != unified
        self._bounds: tuple[int, int] | None = None
        self._cpu_before = self._kills_before = 0
        self._opened = contextlib.ExitStack()
        for folder in self.folders:
            folder.mkdir()

    def doors(self) -> tuple[int, ...]:
        """Open the descriptors that a process writes "0" to in order to enter."""
        return tuple(os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in self.folders)

    def prepare(self, limits: Limits, processes: int, memory_mb: int) -> None:
        """Set the bounds, so many processes and MiB of the jail's own besides, and count from here."""
        self._open()
        bounds = limits.memory_mb + memory_mb << 20, limits.pids + processes
        if bounds != self._bounds:
            self._bound(*bounds)
            self._bounds = bounds
        self.count()

    def count(self) -> None:
        """Let what is used count from here."""
        if self._peak is not None:
            os.pwrite(self._peak, b"0", 0)
        self._cpu_before, self._kills_before = self._cpu_us(), self._kills()

    def close(self) -> None:
        """The jail is gone."""
        self._opened.close()

    def _open(self) -> None:
        self._opened = contextlib.ExitStack()
        self._procs, self._events, self._used = (
            self._opening(self._unified / name, os.O_RDONLY)
            for name in ("cgroup.procs", "cgroup.events", "cpu.stat")
        )
        self._killer = self._opening(self._unified / "cgroup.kill", os.O_WRONLY)
        kills = "memory.oom_control" if self._hybrid else "memory.events"
        self._killed = self._opening(self._memory / kills, os.O_RDONLY)
        peak = self._memory / "memory.max_usage_in_bytes"
        self._peak = self._opening(peak, os.O_RDWR) if self._hybrid else None

    def _opening(self, path: Path, flags: int) -> int:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
        self._opened.callback(os.close, descriptor)
        return descriptor

    def _bound(self, memory: int, pids: int) -> None:
        if self._hybrid:
            swap = self._memory / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text("-1")  # never below the other
            (self._memory / "memory.limit_in_bytes").write_text(str(memory))
            if swap.exists():
                swap.write_text(str(memory))
        else:
            (self._memory / "memory.max").write_text(str(memory))
            (self._memory / "memory.oom.group").write_text("1")
            with contextlib.suppress(FileNotFoundError):  # a machine without swap
                (self._memory / "memory.swap.max").write_text("0")
        (self._pids / "pids.max").write_text(str(pids))

    def kill(self) -> None:
        """End all in it at once."""
        os.pwrite(self._killer, b"1", 0)

    def members(self) -> list[int]:
        """The processes in it."""
        with open(self._procs, closefd=False) as procs:
            procs.seek(0)
            return [int(pid) for pid in procs]

    def empty(self) -> bool:
        """Whether no process is in it."""
        return _field(self._events, b"populated") == 0

    def cpu_ms(self) -> float:
        """Processor time since the count began."""
        return (self._cpu_us() - self._cpu_before) / 1000

    def out_of_memory(self) -> bool:
        """Whether something was killed for want of memory since the count began."""
        return self._kills() > self._kills_before

    def peak_kb(self) -> int:
        """The most memory held since the count began; 0 when the kernel can't count anew."""
        return 0 if self._peak is None else int(os.pread(self._peak, _FEW, 0)) >> 10

    def _cpu_us(self) -> int:
        return _field(self._used, b"usage_usec")

    def _kills(self) -> int:
        return _field(self._killed, b"oom_kill")


@dataclass(slots=True)
class Groups:
    """A run's folder of slots."""

    memory: Path
    pids: Path
    unified: Path
    _lock: int
    _made: int = 0
    _free: list[Slot] = field(default_factory=list)

    def take(self) -> Slot:
        """A slot with nothing in it, to be prepared."""
        if self._free:
            return self._free.pop()
        name = str(self._made)
        self._made += 1
        return Slot(self.memory / name, self.pids / name, self.unified / name)

    def give_back(self, slot: Slot) -> None:
        """The slot's jail is gone."""
        slot.close()
        self._free.append(slot)

    def remove(self) -> None:
        """Kill what is in the folder and take it away."""
        for parent in dict.fromkeys((self.memory, self.pids, self.unified)):
            _clear(parent, self.unified)
        os.close(self._lock)


def make(own: Hierarchies, name: str) -> Groups:
    """A run's folder, after those of runs that have died are gone. OSError says what can't be done."""
    if not own.hybrid:
        own = _delegated(own)
    elif not all((folder / "cgroup.procs").exists() for folder in (own.memory, own.pids)):
        raise FileNotFoundError("no memory and pids controllers")
    for stale in own.unified.glob(f"{_PREFIX}*"):
        _sweep(own, stale)
    folders = [parent / f"{_PREFIX}{name}" for parent in (own.memory, own.pids, own.unified)]
    with contextlib.ExitStack() as undo:
        for folder in dict.fromkeys(folders):
            folder.mkdir()
            undo.callback(folder.rmdir)
        lock = _set_up(own, folders)
        undo.pop_all()
    return Groups(folders[0], folders[1], folders[2], lock)


def _set_up(own: Hierarchies, folders: list[Path]) -> int:
    """Make a run's new folder fit to have slots, and hold it; returns the descriptor that does."""
    if not own.hybrid:
        (folders[2] / "cgroup.subtree_control").write_text("+memory +pids")
    elif not (folders[2] / "cgroup.kill").exists():
        raise FileNotFoundError("no cgroup.kill; Linux 5.14 has it")
    with contextlib.suppress(OSError):  # a file system without attributes
        os.setxattr(folders[2], _PLACES, "\0".join(map(str, folders[:2])).encode())
    lock = os.open(folders[2], os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _delegated(own: Hierarchies) -> Hierarchies:
    """The nearest group from ours up that may have children with memory and pids bounded."""
    folder = own.unified
    while True:
        control = folder / "cgroup.subtree_control"
        with contextlib.suppress(OSError):  # EBUSY: it has processes itself; EACCES: not ours
            control.write_text("+memory +pids")
        if {"memory", "pids"} <= set(control.read_text().split()) and os.access(folder, os.W_OK):
            return Hierarchies(folder, folder, folder, own.root)
        if folder == own.root:
            raise PermissionError("no group above ours gives memory and pids controllers to us")
        folder = folder.parent


def _sweep(own: Hierarchies, stale: Path) -> None:
    """Kill and remove another run's folder, unless that run lives."""
    try:
        lock = os.open(stale, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for folder in dict.fromkeys((*_places(own, stale), stale)):
            _clear(folder, stale)
    except BlockingIOError:
        return
    finally:
        os.close(lock)


def _places(own: Hierarchies, stale: Path) -> tuple[Path, ...]:
    """Where a run had its limits: it may have been started in other groups than we."""
    try:
        return tuple(map(Path, os.getxattr(stale, _PLACES).decode().split("\0")))
    except OSError:
        return own.memory / stale.name, own.pids / stale.name


def _clear(folder: Path, unified: Path) -> None:
    if not folder.exists():
        return
    for slot in [path for path in folder.iterdir() if path.is_dir()]:
        if (unified / slot.name).exists():
            (unified / slot.name / "cgroup.kill").write_text("1")
            _await_empty(unified / slot.name)
        _remove(slot)
    folder.rmdir()


def _remove(slot: Path) -> None:
    """Remove a group; who had entered it alone, when its run died, ends too."""
    until = time.monotonic() + _GONE_MS / 1000
    while True:
        try:
            slot.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
        else:
            return
        for pid in (slot / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(_LOOK_S)


def _await_empty(folder: Path) -> None:
    """Wait until no process is left in a group."""
    with (folder / "cgroup.events").open() as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while "populated 1" in events.read():
            if not poll.poll(_GONE_MS):
                return
            events.seek(0)


def _field(descriptor: int, name: bytes) -> int:
    """A number of a file of lines of a name and a number."""
    fields = os.pread(descriptor, _FEW, 0).split()
    return int(fields[fields.index(name) + 1]) if name in fields else 0
