"""A spawner with a layer taken out: `broken_spawner.py LAYER DESCRIPTOR`."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable

from agentkernel.jail import backends, bwrap, launch, seccomp, spawner
from agentkernel.jail.backends import Machine
from agentkernel.jail.cgroups import Slot


def _open_filter() -> None:
    bwrap.seccomp.program = lambda: seccomp.assemble([(seccomp.RETURN, 0, 0, seccomp.ALLOW)])


def _no_bounds() -> None:
    Slot._bound = lambda *_: None


def _no_limits() -> None:
    launch.resource.setrlimit = lambda number, bound: (
        None if number in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE) else _setrlimit(number, bound)
    )


def _shared_processes() -> None:
    bwrap._ISOLATION = bwrap._ISOLATION.replace("--unshare-all", "--unshare-ipc --unshare-net --unshare-uts")


def _whole_host() -> None:
    system = bwrap._system()
    bwrap._system = lambda: [*system, "--ro-bind", "/sys", "/sys"]


def _capable() -> None:
    bwrap._ISOLATION = bwrap._ISOLATION.replace("--cap-drop ALL", "--cap-add ALL").replace("1000", "0")


def _no_user() -> None:
    backends.jail_uid = spawner.jail_uid = lambda _owner: os.getuid() or 65534


def _told_secrets() -> None:
    bwrap.ENVIRONMENT["SECRET"] = "of the kernel"


def _handed_on() -> None:
    survey = spawner.survey

    def leaking(**options: bool) -> Machine:
        os.dup2(int(sys.argv[1]), 200)
        return survey(**options)

    spawner.survey = leaking


def unusable() -> None:
    bwrap._ISOLATION += " --no-such-option"


_setrlimit = resource.setrlimit
BREAKS: dict[str, tuple[str, Callable[[], None]]] = {
    "no filter": ("seccomp", _open_filter),
    "no bounds on groups": ("cgroups", _no_bounds),
    "no resource limits": ("limits", _no_limits),
    "the host's processes": ("namespaces", _shared_processes),
    "the host's files": ("files", _whole_host),
    "root inside": ("capabilities", _capable),
    "a user of the host": ("own_user", _no_user),
    "secrets in the environment": ("clean", _told_secrets),
    "a descriptor of the kernel": ("clean", _handed_on),
}

if __name__ == "__main__":
    name = sys.argv.pop(1)
    unusable() if name == "unusable" else BREAKS[name][1]()
    spawner.main()
