"""What becomes of processes and keys between two kernels, and of a kernel whose disk fails."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from agentkernel.auth import Principals
from agentkernel.errors import KernelError
from agentkernel.process import Owner, State
from tests.by_hand import ME, OTHER, boot, run
from tests.callers import NO_FILES, WORK, Held, rest
from tests.kept import MIXED
from tests.test_recovery import SAID, begun, born, context, leave, reborn, said, to_the_end


def test_a_call_that_a_shutdown_interrupts_is_told_to_the_process_and_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setitem(SAID, "work", WORK)

    async def main() -> None:
        jail = Held()
        bench = await born(tmp_path, jail)
        process = await bench.exec("work", paths=NO_FILES, interactive=True, on_disconnect="detach")
        await rest(bench)
        assert jail.running
        await leave(bench)
        assert not process.state.ended
        jail = Held()
        bench = await born(tmp_path, jail)
        await to_the_end(bench)
        process = bench.kernel.find(ME, 1)
        assert context(process).split("|")[1].startswith("error: INTERRUPTED: ")
        assert said(bench, 1).endswith("\nInterrupted.")
        assert jail.jobs == []
        await leave(bench)

    run(main())


def test_a_key_is_of_one_process_before_and_after_a_restart(tmp_path):
    async def main() -> None:
        bench, pid = await begun(tmp_path, "talk", key="one", max_tokens=3)
        assert (await bench.exec("other", key="one")).pid == pid
        bench = await reborn(bench, tmp_path)
        assert (await bench.exec("other", key="one")).pid == pid
        assert (await bench.exec("other", key="two")).pid == pid + 1
        tasks = [asyncio.ensure_future(bench.exec("talk", key="three")) for _ in range(2)]
        assert [process.pid for process in await asyncio.gather(*tasks)] == [pid + 2, pid + 2]
        await leave(bench)

    run(main())


def test_a_process_that_ended_is_known_to_the_next_kernel(tmp_path):
    async def main() -> None:
        bench, pid = await begun(tmp_path, "talk", key="one", interactive=False)
        await to_the_end(bench)
        before = bench.kernel.find(ME, pid)
        await leave(bench)
        bench = await born(tmp_path)
        after = await bench.exec("other", key="one")
        assert (after.pid, after.state, after.reason) == (pid, before.state, "stop")
        assert (after.generated, after.marker(bench.kernel.clock())) == (before.generated, before.marker(0))
        assert await bench.kernel.wait(ME, pid, 0) == after
        with pytest.raises(KernelError, match="FORBIDDEN"):
            bench.kernel.find(OTHER, pid)
        with pytest.raises(KernelError, match="PID_NOT_FOUND"):
            bench.kernel.find(ME, pid + 1)
        await leave(bench)

    run(main())


def test_processes_belong_to_who_has_their_owners_name_now(tmp_path):
    async def main() -> None:
        bench, pid = await begun(tmp_path, "talk")
        ended = await bench.exec("talk", interactive=False)
        await to_the_end(bench)
        await leave(bench)
        bench = await boot(tmp_path, **MIXED)
        again = Owner(7, ME.name)
        principals = Principals({"a" * 64: Owner(ME.id, "stranger"), "b" * 64: again}, required=True)
        await bench.kernel.recover(principals.known)
        for known in (pid, ended.pid):
            assert bench.kernel.find(again, known).owner == again
            with pytest.raises(KernelError, match="FORBIDDEN"):
                bench.kernel.find(Owner(ME.id, "stranger"), known)
        assert principals.known(Owner(3, "gone")) == Owner(0, "gone")
        assert Principals({}, required=False).known(ME) == Owner(0, ME.name)
        await leave(bench)

    run(main())


def test_processes_wait_for_resume_where_the_policy_says_so(tmp_path):
    async def main() -> None:
        bench, pid = await begun(tmp_path, "talk", 3)
        await bench.kernel.recorder.synced()
        await leave(bench)
        bench = await born(tmp_path, journal={**MIXED["journal"], "recover": "suspended"})
        await rest(bench)
        assert bench.kernel.find(ME, pid).state is State.SUSPENDED
        bench.kernel.resume(ME, pid, bench.screen)
        await to_the_end(bench)
        assert said(bench, pid) == SAID["talk"]
        await leave(bench)

    run(main())


_FAILS = f"""
import errno, sys
from pathlib import Path
from tests.kept import without_threads
from tests.test_recovery import born, run
def fails(_file):
    raise OSError({errno.EIO}, "broken")
async def main():
    bench = await born(Path(sys.argv[1]))
    journal = bench.kernel.recorder.journal
    if sys.argv[2] == "sync":
        without_threads(journal, fails)
    await bench.exec("talk")
    print("answered", flush=True)
    journal._database._db.set_authorizer(lambda *_: 1)  # no cause that is known to pass
    bench.step()
    print("shown", flush=True)
run(main())
"""


@pytest.mark.parametrize(
    ("fault", "said", "why"), [("sync", "", "broken"), ("write", "answered\n", "not authorized")]
)
def test_a_disk_that_fails_ends_the_kernel_before_anything_more_is_answered(tmp_path, fault, said, why):
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", _FAILS, str(tmp_path), fault]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    said_now = "".join(line for line in done.stdout.splitlines(True) if line in ("answered\n", "shown\n"))
    assert (done.returncode, said_now) == (74, said), done.stderr
    assert why in done.stderr
