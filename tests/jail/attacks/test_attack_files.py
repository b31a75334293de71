"""Programs in the jail race with the kernel's file tools for what a name means, and lose.

Rules
1. The race is run until the tools have met both sides of it: a file of their own, and what took its place.
2. The program goes on until it is cancelled, so no round is run against a workspace at rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Job
from agentkernel.syscalls import files
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.workspace import Workspace
from tests.jail.attacks.attack import PYTHON, QUICK, Facts
from tests.jail.attacks.scene import ONLY_THERE, Scene, meet

_ROUNDS, _MOST_ROUNDS = 300, 10_000
_ENDS = ("ok", "PATH_ESCAPE", "NOT_A_FILE")
_SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
secret, folder = sys.argv[1:3]
def plant():
    for name, target in (("link", secret), ("way", folder)):
        try:
            os.symlink(target, name)
        except OSError:
            pass
    try:
        os.makedirs("d", exist_ok=True)
        for name in ("notes.txt", "d/theirs.txt"):
            with open(name, "x") as file:
                file.write("mine")
    except OSError:
        pass
plant()
open("up", "w").close()
while True:
    for one, other in (
        ("notes.txt", "link"), ("d", "way"), ("notes.txt", "pipe"), ("notes.txt", "link"), ("d", "way"),
    ):
        if libc.renameat2(-100, one.encode(), -100, other.encode(), 2):
            plant()
"""
_LEASE = """
import fcntl, os, signal
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open("notes.txt", os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
open("up", "w").close()
while True:
    signal.pause()
"""


async def _while_it_runs(
    scene: Scene, owner: int, facts: Facts, program: str, work: Callable[[], None]
) -> None:
    """Do the work beside a program, from when it opens `up` on; it must still be running at the end."""
    up = scene.pipe(facts, "up")
    argv = (PYTHON, "-I", "-S", "-c", program, facts.secret, facts.neighbour, facts.token)
    alive = asyncio.ensure_future(
        scene.jail.run(Job("racer", owner, argv=argv, workspace=facts.workspace, limits=QUICK))
    )
    await meet(up, alive)
    try:
        await asyncio.to_thread(work)
    finally:
        scene.jail.kill("racer")
    outcome = await alive
    assert (outcome.killed, outcome.output) == ("cancelled", b""), outcome


def _told(met: Counter[str], call: Callable[..., str], *arguments: str) -> None:
    """Count how a tool ended; nothing of the host may be in what it says."""
    try:
        text = call(*arguments)
    except ToolError as error:
        met[error.code] += 1
        text = str(error)
    else:
        met["ok"] += 1
    assert "s3cret of" not in text
    assert ONLY_THERE not in text


def test_file_tools_never_leave_the_workspace_while_its_names_are_swapped(scene: Scene) -> None:
    with scene.process() as (owner, facts):
        workspace = Workspace(scene.folder / "w", owner, QUICK, jail_uid(owner))
        workspace.put("notes.txt", b"mine")
        workspace.put("d/theirs.txt", b"mine")
        readings: Counter[str] = Counter()
        changes: Counter[str] = Counter()

        def one_round() -> None:
            with contextlib.suppress(OSError):  # it was swapped just now
                Path(facts.workspace, "pipe").unlink(missing_ok=True)
                os.mkfifo(Path(facts.workspace, "pipe"))
            for path in ("notes.txt", "d/theirs.txt", "way/theirs.txt", "link"):
                _told(readings, files.read_file, workspace, path)
            _told(readings, files.list_files, workspace, "d")
            _told(readings, files.search_text, workspace, "s3cret", ".")
            for path in ("notes.txt", "d/theirs.txt", f"d/{facts.token}"):
                _told(changes, files.append_file, workspace, path, "planted")
                _told(changes, files.write_file, workspace, path, "planted")
            _told(changes, files.delete_file, workspace, "d/theirs.txt")

        def race() -> None:
            for done in range(_MOST_ROUNDS):
                one_round()
                if done >= _ROUNDS and all(min(met[end] for end in _ENDS) > 0 for met in (readings, changes)):
                    break

        scene.wait(_while_it_runs(scene, owner, facts, _SWAP, race))
        for met in (readings, changes):
            assert min(met[end] for end in _ENDS) > 0, met
    scene.serves()
    scene.unchanged()


def test_a_lease_on_a_file_makes_no_file_tool_wait(scene: Scene) -> None:
    with scene.process() as (owner, facts):
        workspace = Workspace(scene.folder / "w", owner, QUICK, jail_uid(owner))
        workspace.put("notes.txt", b"mine")
        met: Counter[str] = Counter()

        def use() -> None:
            _told(met, files.read_file, workspace, "notes.txt")
            _told(met, files.append_file, workspace, "notes.txt", "more")
            assert met["ok"] == 0, "the lease was no lease"
            _told(met, files.write_file, workspace, "notes.txt", "new")
            assert met["ok"] == 1

        scene.wait(_while_it_runs(scene, owner, facts, _LEASE, use))
        assert workspace.get("notes.txt", 100) == b"new"
    scene.unchanged()
