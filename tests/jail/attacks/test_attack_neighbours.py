"""Jobs that run at the same time: an attack takes nothing from them, sees nothing of them, and dies at once.

Rules
1. Who waits for whom is settled by FIFOs that the host puts into workspaces: opening one for writing waits
   for its reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkernel.jail.port import Job
from tests.jail.attacks.attack import PATIENT, PYTHON, seen
from tests.jail.attacks.payloads import ATTACKS
from tests.jail.attacks.scene import DEFIANT, Scene, check_harmless, harmless, meet, running, unhurried

_SECRET = "s3cret-of-the-neighbour"
_NEIGHBOUR = """
import os, sys
with open("private.txt", "w") as file:
    file.write("s3cret-of-the-neighbour")
given = sys.stdin.read()
open("up", "w").close()
with open("go") as go:
    go.read()
with open("private.txt") as file:
    kept = file.read()
print(os.environ["TOKEN"] == sys.argv[1] == given == kept)
"""
_BOMBS = (
    "fork bomb", "memory bomb", "memory bomb of many small processes", "CPU loop in four processes",
    "output flood", "output flood by many on both streams", "huge file", "many inodes", "fill of /tmp",
    "zombies",
    "loop that ignores signals", "daemon by double fork", "death for all who can be signalled",
)  # fmt: skip
_NOSY = (
    "signals to the kernel, to the spawner and to everybody", "death for all who can be signalled",
    "memory of other processes", "secrets in environments and arguments", "tracing", "traversal",
    "writes outside the workspace", "reads of the host's secrets", "descriptors that were left open",
)  # fmt: skip


@contextlib.contextmanager
def _neighbour(scene: Scene) -> Iterator[tuple[Job, Path, Path]]:
    """A job that holds secrets and waits: it opens `up` when it has them, and goes on when `go` is opened."""
    with scene.process() as (owner, facts):
        job = Job(
            f"neighbour-{owner}",
            owner,
            argv=(PYTHON, "-I", "-S", "-c", _NEIGHBOUR, _SECRET),
            stdin=_SECRET.encode(),
            environment={"TOKEN": _SECRET},
            workspace=facts.workspace,
        )
        yield job, scene.pipe(facts, "up"), scene.pipe(facts, "go")


@pytest.mark.parametrize("name", _NOSY)
def test_an_attack_beside_a_neighbour_sees_and_changes_nothing_of_it(scene: Scene, name: str) -> None:
    (attack,) = (each for each in ATTACKS if each.name == name)

    async def beside() -> None:
        with _neighbour(scene) as (neighbour, up, go), scene.process() as (owner, facts):
            alive = asyncio.ensure_future(scene.jail.run(neighbour))
            await meet(up, alive)
            told_of = dataclasses.replace(facts, neighbour=neighbour.workspace)
            outcome = await scene.jail.run(attack.job(told_of, owner))
            assert b"s3cret" not in outcome.output
            for holds in attack.inside:
                holds(seen(outcome))
            await meet(go, alive, write=True)
            told = await alive
            assert (told.status, told.output) == (0, b"True\n"), told

    scene.wait(beside())
    scene.unchanged()


def test_a_crowd_of_attacks_at_once_keeps_no_harmless_job_from_its_work(scene: Scene) -> None:
    attacks = [each for each in ATTACKS if each.name in _BOMBS]
    assert len(attacks) == len(_BOMBS)
    assert scene.jail.verdict is not None
    attacks = [each for each in attacks if each.layer in scene.jail.verdict.layers]

    async def crowd() -> None:
        with contextlib.ExitStack() as stack:
            bad = [(attack, *stack.enter_context(scene.process())) for attack in attacks]
            good = [stack.enter_context(scene.process()) for _ in range(4)]
            seconds = 12.0 if scene.sentry else 3.0
            bombs = [
                asyncio.ensure_future(scene.jail.run(unhurried(attack.job(facts, owner), seconds)))
                for attack, owner, facts in bad
            ]
            for owner, facts in good:
                check_harmless(await scene.jail.run(harmless(facts, owner)), facts)
            for (attack, _, facts), bomb in zip(bad, bombs, strict=True):
                outcome = await bomb
                for holds in attack.inside:
                    holds(seen(outcome))
                assert not running(facts.token)

    scene.wait(crowd())
    scene.serves()
    scene.unchanged()


def test_an_attack_that_defies_its_end_is_gone_when_it_was_cancelled(scene: Scene) -> None:
    async def cancelled() -> None:
        with scene.process() as (owner, facts):
            up = scene.pipe(facts, "up")
            argv = (PYTHON, "-I", "-S", "-c", DEFIANT, facts.token)
            job = Job("defiant", owner, argv=argv, workspace=facts.workspace, limits=PATIENT)
            alive = asyncio.ensure_future(scene.jail.run(job))
            await meet(up, alive)
            assert running(facts.token)
            scene.jail.kill("another")
            scene.jail.kill("defiant")
            outcome = await alive
            assert (outcome.killed, outcome.output) == ("cancelled", b"begun"), outcome
            assert not running(facts.token)

    scene.wait(cancelled())
    scene.serves()
    scene.unchanged()


def test_an_attack_dies_with_the_process_that_it_belongs_to(scene: Scene) -> None:
    async def forgotten() -> None:
        with scene.process() as (owner, facts):
            up = scene.pipe(facts, "up")
            argv = (PYTHON, "-I", "-S", "-c", DEFIANT, facts.token)
            job = Job("defiant", owner, argv=argv, workspace=facts.workspace, limits=PATIENT)
            alive = asyncio.ensure_future(scene.jail.run(job))
            await meet(up, alive)
            scene.jail.forget(owner)
            assert (await alive).killed == "cancelled"
            assert not running(facts.token)

    scene.wait(forgotten())
    scene.serves()
    scene.unchanged()
