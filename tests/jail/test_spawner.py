"""Jails begin and end with their jobs, their owners, their spawner and their kernel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from agentkernel.errors import KernelError
from agentkernel.jail import python
from agentkernel.jail.link import Spawner
from agentkernel.jail.port import Job, Limits, Outcome, Trust
from tests.jail.conftest import Jailed

_LIVE, _WARM = 24, 8  # the spawner's own bounds
# Says that it is there, and then neither ends nor can be ended by what can be ignored.
_DEFIANT = """
import os, signal, sys
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
os.fork()
if os.fork() == 0: os.setsid(); os.fork()
open(sys.argv[1] + str(os.getpid()), "w")
while True: pass
"""


def children(pid: int) -> set[int]:
    """All processes of a spawner's jails; what waits to become one is a fork of the spawner itself."""
    return {each for each in descendants(pid) if told(each, "cmdline") != told(pid, "cmdline")}


def descendants(pid: int) -> set[int]:
    """All that come from a process."""
    found = {int(each) for each in told(pid, f"task/{pid}/children").split()}
    return found.union(*(descendants(each) for each in found))


def told(pid: int, name: str) -> str:
    """What /proc says; nothing of a process that has gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextlib.contextmanager
def awaited(*pids: int) -> Iterator[None]:
    """Wait afterwards until none of these processes is there."""
    opened = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            opened.append(os.pidfd_open(pid))
    yield
    for descriptor in opened:
        assert select.select([descriptor], [], [], 10)[0], "a process outlives its jail"
        os.close(descriptor)


async def appear(folder: Path, count: int) -> None:
    """Wait until so many files are there."""
    await until(lambda: len(list(folder.iterdir())) >= count)


async def until(holds: Callable[[], object]) -> None:
    """Wait until something that no event tells holds."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0)


def test_a_killed_job_takes_all_it_started_with_it(jailed: Jailed, workspace: Path) -> None:
    async def killed() -> Outcome:
        job = jailed.job("x", code=_DEFIANT, workspace=str(workspace))
        task = asyncio.ensure_future(jailed.spawner.run(job))
        await appear(workspace, 6)
        assert jailed.spawner.os_pid
        assert len(children(jailed.spawner.os_pid)) >= 6
        jailed.spawner.kill("no such key")
        jailed.spawner.kill(job.key)
        done = await task
        assert children(jailed.spawner.os_pid) == set()
        return done

    assert jailed.runner.run(killed()).killed == "cancelled"


def test_who_no_longer_waits_for_a_job_ends_it(jailed: Jailed, workspace: Path) -> None:
    async def abandoned() -> None:
        task = asyncio.ensure_future(
            jailed.spawner.run(jailed.job("x", code=_DEFIANT, workspace=str(workspace)))
        )
        await appear(workspace, 1)
        assert jailed.spawner.os_pid
        with awaited(*children(jailed.spawner.os_pid)):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    jailed.runner.run(abandoned())


def test_daemons_end_with_the_job_that_started_them(jailed: Jailed) -> None:
    done = jailed.run("sh", "-c", "setsid sleep 100 >/dev/null 2>&1 & (setsid sleep 100 &) & echo done")
    assert done.output == b"done\n"
    assert jailed.spawner.os_pid
    assert children(jailed.spawner.os_pid) == set()


def test_zombies_of_many_jobs_use_up_nothing(jailed: Jailed) -> None:
    for _ in range(40):
        done = jailed.run("sh", "-c", "for i in 1 2 3; do (sleep 0 & ) ; done; echo ok", owner=7)
        assert done.output == b"ok\n"


def test_more_jobs_than_jails_wait_for_their_turn_and_can_be_killed_waiting(jailed: Jailed) -> None:
    async def crowd() -> None:
        jobs = [jailed.job("cat", "-", stdin=b"x") for _ in range(_LIVE + 6)]
        stuck = [jailed.job("sleep", "100") for _ in range(_LIVE)]
        held = [asyncio.ensure_future(jailed.spawner.run(job)) for job in stuck]
        tasks = [asyncio.ensure_future(jailed.spawner.run(job)) for job in jobs]
        await asyncio.sleep(0)  # all are sent
        jailed.spawner.kill(jobs[0].key)
        assert (await tasks[0]).killed == "cancelled"
        assert (await asyncio.wait(tasks[1:], timeout=0))[0] == set()
        for job in stuck:
            jailed.spawner.kill(job.key)
        assert {done.killed for done in await asyncio.gather(*held)} == {"cancelled"}
        assert {done.output for done in await asyncio.gather(*tasks[1:])} == {b"x"}

    jailed.runner.run(crowd())


def test_large_input_and_output_pass_whole(jailed: Jailed) -> None:
    data = bytes(range(256)) * 4096
    assert jailed.run("cat", stdin=data, limits=Limits(output_bytes=len(data))).output == data


def test_a_jail_made_ahead_serves_one_job_of_its_owner(jailed: Jailed, workspace: Path) -> None:
    spawner, place = jailed.spawner, str(workspace)

    async def used() -> None:
        assert spawner.os_pid
        job = jailed.job(code="print(1)", owner=5, workspace=place)
        spawner.warm(5, job)
        await until(lambda: _waits(spawner.os_pid or 0))
        before = children(spawner.os_pid)
        other = await spawner.run(jailed.job(code="print(2)", owner=6, workspace=place))
        elsewhere = await spawner.run(jailed.job(code="print(3)", owner=5))
        assert (other.output, elsewhere.output) == (b"2\n", b"3\n")
        assert children(spawner.os_pid) == before, "it was used by another owner, or for another workspace"
        assert (await spawner.run(job)).output == b"1\n"
        assert children(spawner.os_pid) == set(), "it was not used, or is used again"

    jailed.runner.run(used())


def test_code_finds_the_same_in_a_jail_made_ahead_as_in_one_made_at_once(jailed: Jailed) -> None:
    code = (
        "import gc, os, sys\n"
        "print(os.get_blocking(0), sorted(globals()), sorted(sys.modules), gc.get_threshold(), sys.argv)\n"
        "print(sys.stdin.read())"
    )
    job = jailed.job("a", code=code, owner=5, stdin=b"and input")

    async def twice() -> list[bytes]:
        at_once = (await jailed.spawner.run(job)).output
        jailed.spawner.warm(5, job)
        await until(lambda: any(_reads(pid) for pid in children(jailed.spawner.os_pid or 0)))
        return [at_once, (await jailed.spawner.run(job)).output]

    at_once, ahead = jailed.runner.run(twice())
    assert ahead == at_once
    assert at_once.startswith(b"True ")
    assert at_once.endswith(b"and input\n")


@pytest.mark.parametrize("change", ["forgotten", "emptied", "replaced"])
def test_a_jail_made_ahead_does_not_outlive_what_it_was_made_for(
    jailed: Jailed, workspace: Path, change: str
) -> None:
    spawner, place = jailed.spawner, workspace / "w"

    async def changed() -> None:
        assert spawner.os_pid
        place.mkdir()
        job = jailed.job(code="import os; print(os.listdir())", owner=5, workspace=str(place))
        spawner.warm(5, job)
        await spawner.run(jailed.job("true"))
        if change == "forgotten":
            with awaited(*children(spawner.os_pid)):
                spawner.forget(5)
        elif change == "replaced":
            place.rename(workspace / "old")
            place.mkdir()
            (place / "new").touch()
            assert (await spawner.run(job)).output == b"['new']\n"
        else:
            place.rmdir()
            with pytest.raises(KernelError, match="ESANDBOX"):
                await spawner.run(job)
        spawner.forget(5)

    jailed.runner.run(changed())


def test_what_is_made_ahead_is_bounded(jailed: Jailed) -> None:
    async def many() -> None:
        spawner = jailed.spawner
        assert spawner.os_pid
        for owner in range(_WARM + 4):
            spawner.warm(owner, jailed.job(code="print(1)"))
            spawner.warm(owner, jailed.job(code="print(1)"))
        await spawner.run(jailed.job("true"))
        assert len(_first(spawner.os_pid)) <= _WARM + 4  # those dropped may be dying
        for owner in range(_WARM + 4):
            spawner.forget(owner)
        with awaited(*children(spawner.os_pid)):
            await spawner.run(jailed.job("true"))

    jailed.runner.run(many())


def test_jobs_find_room_where_jails_made_ahead_take_it(jailed: Jailed) -> None:
    async def full() -> None:
        spawner = jailed.spawner
        for owner in range(_WARM):
            spawner.warm(owner, jailed.job(code="print(1)"))
        stuck = [jailed.job("sleep", "100") for _ in range(_LIVE - 1)]
        held = [asyncio.ensure_future(spawner.run(job)) for job in stuck]
        assert (await spawner.run(jailed.job("echo", "in"))).output == b"in\n"
        for job in stuck:
            spawner.kill(job.key)
        await asyncio.gather(*held)

    jailed.runner.run(full())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_spawner_that_dies_takes_its_jails_with_it_and_is_started_again(
    jailed: Jailed, workspace: Path, loop: object
) -> None:
    async def killed() -> None:
        spawner = Spawner()
        await spawner.start()
        assert spawner.os_pid
        task = asyncio.ensure_future(
            spawner.run(Job("k", 1, ("x",), code=_DEFIANT, workspace=str(workspace)))
        )
        await appear(workspace, 6)
        with awaited(*descendants(spawner.os_pid)):
            os.kill(spawner.os_pid, signal.SIGKILL)
            with pytest.raises(KernelError, match="ESANDBOX"):
                await task
            assert (await spawner.run(Job("l", 1, ("echo", "again")))).output == b"again\n"
        await spawner.stop()

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(killed())


def test_a_spawner_that_dies_again_and_again_stays_down() -> None:
    async def dying() -> None:
        spawner = Spawner(command=(sys.executable, "-c", "raise SystemExit(1)"))
        assert (await spawner.start()).levels == ()
        await until(lambda: spawner.verdict and "times" in spawner.verdict.faults[0])
        with pytest.raises(KernelError, match="it died 4 times"):
            await spawner.run(Job("k", 1, ("true",)))
        await spawner.stop()

    asyncio.run(dying())


def test_all_jails_die_with_the_kernel(jailed: Jailed, workspace: Path) -> None:
    program = f"""
        import asyncio
        from agentkernel.jail.link import Spawner
        from agentkernel.jail.port import Job
        async def main():
            spawner = Spawner()
            await spawner.start()
            print(spawner.os_pid, flush=True)
            await spawner.run(Job("k", 1, ("x",), code={_DEFIANT!r}, workspace={str(workspace)!r}))
        asyncio.run(main())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as kernel:
        assert kernel.stdout
        spawner = int(kernel.stdout.readline())
        asyncio.run(appear(workspace, 6))
        with awaited(spawner, *descendants(spawner)):
            kernel.kill()


@pytest.mark.parametrize("trust", ["trusted", "standard", "untrusted", "confidential"])
def test_a_job_runs_at_every_level_that_was_granted_and_at_no_other(jailed: Jailed, trust: Trust) -> None:
    assert jailed.spawner.verdict
    if trust in jailed.spawner.verdict.levels:
        assert jailed.run("echo", "x", trust=trust).output == b"x\n"
    else:
        with pytest.raises(KernelError, match="ESANDBOX"):
            jailed.run("echo", "x", trust=trust)


def test_a_second_job_of_a_running_jobs_name_is_refused(jailed: Jailed) -> None:
    async def both() -> None:
        job = jailed.job("sleep", "100")
        first = asyncio.ensure_future(jailed.spawner.run(job))
        await asyncio.sleep(0)
        with pytest.raises(KernelError, match="is running"):
            await jailed.spawner.run(job)
        jailed.spawner.kill(job.key)
        assert (await first).killed == "cancelled"

    jailed.runner.run(both())


@pytest.mark.parametrize(
    "limits", [Limits(wall_s=0), Limits(wall_s=float("nan")), Limits(pids=0), Limits(memory_mb=1 << 40)]
)
def test_limits_that_are_none_are_refused(jailed: Jailed, limits: Limits) -> None:
    with pytest.raises(KernelError, match="ESANDBOX: limits"):
        jailed.run("true", limits=limits)


def _reads(pid: int) -> bool:
    """Whether it is an interpreter that waits for what it is to run."""
    return told(pid, "cmdline").startswith(f"{python.interpreter()}\0") and "State:\tS" in told(pid, "status")


def _waits(spawner: int) -> bool:
    """Whether a jail made ahead is whole: its interpreter runs."""
    return any(told(pid, "cmdline").startswith(f"{python.interpreter()}\0") for pid in children(spawner))


def _first(spawner: int) -> list[int]:
    """The first processes of the spawner's jails."""
    return [
        int(pid) for pid in told(spawner, f"task/{spawner}/children").split() if int(pid) in children(spawner)
    ]
