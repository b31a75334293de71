"""A spawner with a layer taken out of bubblewrap's jails or, where that is left out, of containers."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from agentkernel.jail import backends, bwrap, container, launch, seccomp, spawner, wasm
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
    os.closerange = lambda *_: None
    survey = spawner.survey

    def leaking(**options: bool) -> Machine:
        os.dup2(int(sys.argv[1]), 200)
        return survey(**options)

    spawner.survey = leaking


def _unusable_bwrap() -> None:
    bwrap._ISOLATION += " --no-such-option"


def _unusable() -> None:
    _unusable_bwrap()
    container.RUNTIMES = dict.fromkeys(container.RUNTIMES, "--no-such-option")
    wasm.missing = lambda: "left out by this test"


def _in_the_bundle(change: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
    """Let every container's bundle be changed so."""

    def apply() -> None:
        made = container.Container._bundle

        def changed(self: container.Container, *given: Any) -> dict[str, Any]:
            bundle = made(self, *given)
            change(bundle)
            return bundle

        container.Container._bundle = changed

    return apply


def _no_filter(bundle: dict[str, Any]) -> None:
    del bundle["linux"]["seccomp"]


def _one_host(bundle: dict[str, Any]) -> None:
    bundle["linux"]["namespaces"] = [each for each in bundle["linux"]["namespaces"] if each["type"] != "uts"]
    del bundle["hostname"]


def _see_the_host(bundle: dict[str, Any]) -> None:
    bundle["mounts"].append(container._mount("bind", "/sys", "/sys", "rbind"))


def _may_anything(bundle: dict[str, Any]) -> None:
    every = ("CAP_SETUID", "CAP_SETGID", "CAP_SYS_NICE", "CAP_MKNOD")
    bundle["process"]["capabilities"] = dict.fromkeys(bundle["process"]["capabilities"], every)


def _unlimited(bundle: dict[str, Any]) -> None:
    bundle["process"]["args"] = [each for each in bundle["process"]["args"] if not each.startswith("--")]


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

CONTAINER_BREAKS: dict[str, tuple[str, Callable[[], None]]] = {
    "a bundle without a filter": ("seccomp", _in_the_bundle(_no_filter)),
    "a bundle with the host's name": ("namespaces", _in_the_bundle(_one_host)),
    "a bundle with the host's files": ("files", _in_the_bundle(_see_the_host)),
    "a bundle with capabilities": ("capabilities", _in_the_bundle(_may_anything)),
    "a bundle without limits": ("limits", _in_the_bundle(_unlimited)),
}
UNUSABLE = {"no bwrap": _unusable_bwrap, "no namespaces": _unusable}

if __name__ == "__main__":
    name = sys.argv.pop(1)
    if name in CONTAINER_BREAKS:
        bwrap.missing = lambda: "left out by this test"
        del container.RUNTIMES["runsc"]  # which has a kernel of its own to grant things of
    layers = {each: how for each, (_, how) in {**BREAKS, **CONTAINER_BREAKS}.items()}
    {**layers, **UNUSABLE}[name]()
    spawner.main()
