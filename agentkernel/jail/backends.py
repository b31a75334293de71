"""What this machine has to make jails with, looked up once.

Rules
1. The order is the strength: bwrap, container runtimes, wasm, landlock; the host itself only when asked for,
   never as root.
2. What lacks is said with its remedy; a backend that lacks something of its own is not offered. What
   bubblewrap would mend is said of bubblewrap alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agentkernel.jail import bwrap, cgroups, container, landlock, wasm
from agentkernel.jail.launch import Backend
from agentkernel.jail.mounts import Shelf
from agentkernel.jail.owners import jail_uid

SEEDED = {"bwrap"}  # those that are but a program to run, as a process that waits can be told


@dataclass(frozen=True, slots=True)
class Machine:
    """The backends by name, the strongest first, and what all of them stand on."""

    backends: dict[str, Backend]
    groups: cgroups.Groups | None
    shelf: Shelf | None
    own_user: bool
    missing: tuple[str, ...]

    def offers(self) -> dict[str, tuple[str, ...]]:
        """Each backend's layers, with those that all backends get."""
        common = ("cgroups",) * bool(self.groups) + ("own_user",) * self.own_user
        return {name: (*backend.layers, *common) for name, backend in self.backends.items()}


def survey(*, host: bool = False) -> Machine:
    """Look the machine over."""
    missing = []
    groups = shelf = None
    try:
        groups = _groups()
    except OSError as error:
        missing.append(
            f"cgroups: {error}; start the kernel by systemd-run --user --scope -p Delegate=yes, or as root"
        )
    own_user = jail_uid(0) is not None
    if os.geteuid() == 0 and not own_user:
        missing.append("own_user: this user namespace maps too few ids; map 65536")
    try:
        shelf = Shelf() if own_user else None
    except OSError as error:
        missing.append(
            f"mounts: {error}; give the kernel CAP_SYS_ADMIN or start it as another user than root"
        )
    root = os.geteuid() == 0
    backends: dict[str, Backend] = {}
    if not root or own_user:
        backends, faults = _jails(own_user=own_user, containers=bool(groups and shelf))
        missing += faults
    if host and root:
        missing.append("host: refused to root; start the kernel as another user")
    elif host:
        backends["host"] = landlock.Host()
    return Machine(backends, groups, shelf, own_user, tuple(missing))


def _jails(*, own_user: bool, containers: bool) -> tuple[dict[str, Backend], list[str]]:
    """The backends that can be tried, and what lacks of the others."""
    backends: dict[str, Backend] = {}
    faults = []
    if fault := bwrap.missing():
        faults.append(fault)
    else:
        backends["bwrap"] = bwrap.Bwrap(own_user=own_user)
    if containers:
        found = [runtime for runtime in container.RUNTIMES if not container.missing(runtime)]
        backends |= {runtime: container.Container(runtime) for runtime in found}
    if not wasm.missing():
        backends["wasm"] = wasm.Wasm(own_user=own_user)
    if not (fault := landlock.missing()):
        backends["landlock"] = landlock.Landlock()
    elif not backends:
        faults.append(fault)
    return backends, faults


def _groups() -> cgroups.Groups:
    own = cgroups.find(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    if own is None:
        raise FileNotFoundError("no hierarchy of version 2 mounted")
    return cgroups.make(own, str(os.getpid()))
