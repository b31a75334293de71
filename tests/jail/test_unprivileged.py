"""The jail of a kernel that is not root and has no control groups: what holds, and what is not granted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

import agentkernel
from agentkernel.jail import bwrap, python

_NOBODY = 65_534
_PROGRAM = """
import sys
sys.path[:0] = {paths!r}
import asyncio, json, tempfile
from agentkernel.errors import KernelError
from agentkernel.jail.link import Spawner
from agentkernel.jail.port import Job, Limits
SPAWNER = "import sys; sys.path[:0] = {paths!r}; from agentkernel.jail.spawner import main; main()"
FORKS = (
    "import os, time\\nfor n in range(99):\\n try:\\n  if os.fork() == 0: time.sleep(9)\\n"
    " except OSError: print(n); break"
)
async def main():
    spawner = Spawner(command=(sys.executable, "-I", "-c", SPAWNER))
    verdict = await spawner.start()
    told = dict(backend=verdict.backend, levels=verdict.levels, faults=verdict.faults)
    if verdict.levels:
        with tempfile.TemporaryDirectory() as folder:
            job = Job("a", 1, code="open('a', 'w').write('x')", workspace=folder)
            told["wrote"] = (await spawner.run(job)).status == 0 and open(folder + "/a").read() == "x"
        told["forks"] = int((await spawner.run(Job("b", 1, code=FORKS, limits=Limits(pids=20)))).output)
        stuck = Job("c", 1, ("sh", "-c", "trap '' TERM; sleep 100 & sleep 100"), limits=Limits(wall_s=0.2))
        told["killed"] = (await spawner.run(stuck)).killed
        try:
            await spawner.run(Job("d", 1, ("true",), trust="untrusted"))
        except KernelError as error:
            told["refused"] = error.message
    await spawner.stop()
    print(json.dumps(told))
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_trusted_and_standard_jobs_run_and_stronger_levels_are_refused() -> None:
    setpriv = shutil.which("setpriv")
    if not setpriv or bwrap.missing():
        pytest.skip(f"sandbox not verified: {bwrap.missing() or 'setpriv is not installed'}")
    paths = [str(Path(agentkernel.__file__).parent.parent), sysconfig.get_paths()["purelib"]]
    nobody = [setpriv, f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    command = [*nobody, python.interpreter() or "", "-B", "-c", _PROGRAM.format(paths=paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env={}, check=False)
    if "ModuleNotFoundError" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip("sandbox not verified: nobody can't read this package")
    told = json.loads(done.stdout)
    if told["backend"] != "bwrap":
        pytest.skip(f"sandbox not verified: {told['faults']}")
    assert told["levels"] == ["trusted", "standard"]
    assert any(fault.startswith("cgroups: ") for fault in told["faults"])
    assert told["wrote"]
    assert 10 <= told["forks"] <= 20
    assert told["killed"] == "wall"
    assert "cgroups" in told["refused"]
