"""What many jobs of one process leave in its workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Job, Outcome
from agentkernel.syscalls.workspace import Usage, Workspace
from tests.jail.attacks.attack import QUICK
from tests.jail.attacks.scene import Scene, check_harmless, harmless

_FILL = {
    "bytes": """
import sys
for number in range(100):
    with open("%s-%d" % (sys.argv[1], number), "wb", buffering=0) as file:
        for megabyte in range(3):
            file.write(bytes(1 << 20))
""",
    "names": """
import sys
for number in range(4000):
    open("%s-%d" % (sys.argv[1], number), "w").close()
""",
}


def _held(path: str) -> Usage:
    statuses = [each.stat() for each in Path(path).iterdir()]
    return Usage(sum(status.st_size for status in statuses), len(statuses))


@pytest.mark.parametrize("kind", _FILL)
def test_a_workspace_over_its_limit_grows_no_further_by_more_jobs(scene: Scene, kind: str) -> None:
    with scene.process() as (owner, facts):

        def fill(number: int) -> Outcome:
            job = Job("fill", owner, (str(number),), _FILL[kind], workspace=facts.workspace, limits=QUICK)
            return scene.run(job)

        first = fill(0)
        assert first.killed == "workspace", first
        over = _held(facts.workspace)
        for number in range(1, 4):
            assert fill(number).status != 0
        after = _held(facts.workspace)
        assert after.bytes <= over.bytes
        assert after.files <= over.files

        workspace = Workspace(scene.folder / "w", owner, QUICK, jail_uid(owner))
        for entry in workspace.listing()[0]:
            workspace.delete(entry.name)
        check_harmless(scene.run(harmless(facts, owner)), facts)
    scene.unchanged()
