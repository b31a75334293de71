"""The gate: jails that are none, what a job is given, and whose files it sees."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.jail.port import Limits, Verdict
from agentkernel.syscalls import files, gate, workspace
from agentkernel.syscalls.errors import ToolError
from tests.by_hand import ME, OTHER, run, settle
from tests.callers import (
    ASK,
    HELLO,
    NO_FILES,
    SUM,
    call,
    called,
    calling,
    events,
    one,
    outcomes,
    rest,
    results,
)
from tests.fake_jail import BROKEN, FakeJail

# Jails that are none


def test_without_a_jail_that_holds_nothing_is_called(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await one(tmp_path, SUM, FakeJail(found=BROKEN))
        assert results(process) == ["error: ESANDBOX: network: a canary got out; install bubblewrap"]
        assert outcomes(bench) == [(1, "calc", "ESANDBOX")]

    run(main())


def test_tools_that_are_switched_off_are_not_called(tmp_path: Path) -> None:
    async def main() -> None:
        _, process = await one(tmp_path, SUM, settings={"tools": {"enabled": False}})
        assert results(process) == ["error: ESANDBOX: tools are switched off"]

    run(main())


def test_the_first_call_waits_for_the_self_test(tmp_path: Path) -> None:
    async def main() -> None:
        _, process = await one(tmp_path, HELLO, FakeJail(untested=True), paths=NO_FILES)
        assert results(process) == ["hello"]

    run(main())


@pytest.mark.parametrize("trust", ["trusted", "untrusted", "confidential"])
@pytest.mark.parametrize("untested", [True, False])
def test_a_trust_that_can_not_be_given_is_refused(tmp_path: Path, trust: str, untested: bool) -> None:
    async def main() -> None:
        weak = Verdict("weak", (), ("standard",), 0, 0.0, ("no user namespaces",))
        bench = await calling(tmp_path, {"go": SUM}, FakeJail(found=weak, untested=untested))
        with pytest.raises(KernelError, match="ESANDBOX") as refused:
            await bench.exec("go", trust=trust)
        assert refused.value.details == {"trust": trust}
        assert len(bench.kernel.table) == 0
        process = await bench.exec("go", trust="standard", interactive=True)
        await rest(bench)
        assert results(process) == ["5"]

    run(main())


@pytest.mark.parametrize("fields", [{"tools": ["fly"]}, {"approve": ["fly"]}, {"tool_limits": {"fly": {}}}])
def test_a_process_can_name_only_tools_that_there_are(tmp_path: Path, fields: dict) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {})
        with pytest.raises(KernelError, match="TOOL_NOT_FOUND"):
            await bench.exec("go", **fields)
        assert len(bench.kernel.table) == 0

    run(main())


def test_a_raw_process_without_tools_calls_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})
        process = await bench.exec("go", raw=True)
        await rest(bench)
        assert (process.called, bench.screen.text[1]) == (0, SUM)

    run(main())


# Limits and the job


async def job_of(folder: Path, settings: dict | None = None, **fields):
    """The job that a call of python came to."""
    bench, process = await one(folder, HELLO, settings=settings, **{"paths": NO_FILES, **fields})
    await called(bench, process)
    (job,) = bench.kernel.gate.jail.jobs
    return job


def test_limits_of_the_kernel_the_tool_and_the_process_only_lower(tmp_path: Path) -> None:
    async def main() -> None:
        tools = {
            "limits": {"wall_s": 6.0, "memory_mb": 100},
            "tool_limits": {"python": {"wall_s": 5.0, "pids": 99}, "shell": {"wall_s": 1.0}},
        }
        asked = {"*": {"memory_mb": 500, "files": 10}, "python": {"wall_s": 7.0, "cpu_s": 2.0, "files": 20}}
        job = await job_of(tmp_path, {"tools": tools}, tool_limits=asked)
        assert job.limits == Limits(wall_s=5.0, cpu_s=2.0, memory_mb=100, pids=32, files=10)

    run(main())


def test_a_job_has_its_process_code_and_trust_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        job = await job_of(tmp_path, trust="confidential")
        assert (job.key, job.owner, job.code, job.argv, job.stdin) == ("1.1", 1, "hello", (), b"")
        assert (job.trust, job.environment, job.workspace) == ("confidential", {}, "")

    run(main())


@pytest.mark.parametrize(
    ("paths", "mounted", "writable"),
    [
        ({}, True, True),
        ({"write": ["out/*"]}, True, False),
        ({"write": []}, True, False),
        ({"read": ["a"]}, False, True),
        ({"read": []}, False, True),
    ],
)
def test_a_job_sees_a_workspace_only_when_it_may_see_all_of_it(
    tmp_path: Path, paths: dict, mounted: bool, writable: bool
) -> None:
    async def main() -> None:
        job = await job_of(tmp_path, paths=paths)
        assert job.workspace == (str(tmp_path / "workspace" / "1") if mounted else "")
        assert job.writable is writable
        assert (tmp_path / "workspace" / "1").is_dir() is mounted

    run(main())


# Workspaces


@pytest.mark.parametrize(
    ("keep", "trust", "kept"),
    [("keep", "standard", True), ("remove", "standard", False), ("keep", "confidential", False)],
)
def test_a_workspace_is_kept_or_goes_with_its_process(
    tmp_path: Path, keep: str, trust: str, kept: bool
) -> None:
    async def main() -> None:
        bench, process = await one(tmp_path, HELLO, settings={"tools": {"workspaces": keep}}, trust=trust)
        await called(bench, process)
        folder = tmp_path / "workspace" / "1"
        assert folder.is_dir()
        bench.kernel.kill(ME, 1)
        await settle()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert folder.is_dir() is kept

    run(main())


def test_a_workspace_goes_though_what_was_killed_writes_a_little_longer(tmp_path: Path, monkeypatch) -> None:
    async def main() -> None:
        bench, process = await one(tmp_path, HELLO, trust="confidential")
        await called(bench, process)
        folder, tries = tmp_path / "workspace" / "1", []

        def pause(seconds: float) -> None:
            tries.append(seconds)

        def clear(folder: int) -> None:
            clear_once(folder)
            if len(tries) < 3:
                os.close(os.open(f"late {len(tries)}", os.O_CREAT, dir_fd=folder))

        clear_once = workspace._clear
        monkeypatch.setattr("agentkernel.syscalls.workspace._clear", clear)
        monkeypatch.setattr("agentkernel.syscalls.gate.time.sleep", pause)
        bench.kernel.kill(ME, 1)
        await settle()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert len(tries) == 3
        assert not folder.exists()

    run(main())


def test_a_workspace_of_a_former_kernels_goes_with_its_process(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {}, FakeJail())
        folder = tmp_path / "workspace" / "1"
        await bench.exec("go", trust="confidential", interactive=True)
        (folder / "below").mkdir(parents=True)
        bench.kernel.kill(ME, 1)
        await settle()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert not folder.exists()

    run(main())


def test_a_write_that_its_process_did_not_live_to_see_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """Threads can't be cancelled: one that is late finds that the workspace was removed."""

    async def main() -> None:
        begun, removed, write = threading.Event(), threading.Event(), files.write_file
        remove = gate.remove_for_good

        def told(*arguments) -> None:
            remove(*arguments)
            removed.set()

        def late(*arguments, **named) -> str:
            begun.set()
            removed.wait()
            return write(*arguments, **named)

        monkeypatch.setattr("agentkernel.syscalls.files.write_file", late)
        monkeypatch.setattr("agentkernel.syscalls.gate.remove_for_good", told)
        bench = await calling(tmp_path, {"go": call("write_file", path="a", content="x")})
        await bench.exec("go", trust="confidential")
        await rest(bench)
        while not begun.is_set():
            await settle()
        bench.kernel.kill(ME, 1)
        await settle()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert not (tmp_path / "workspace" / "1").exists()

    run(main())


def test_where_paths_can_not_be_confined_processes_run_without_files(tmp_path: Path, monkeypatch) -> None:
    async def main() -> None:
        def refuse() -> None:
            raise ToolError("ESANDBOX", "openat2 is missing")

        monkeypatch.setattr("agentkernel.syscalls.workspace.require", refuse)
        said = {"go": call("read_file", path="a"), "sum": SUM}
        bench = await calling(tmp_path, said)
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        assert results(process) == ["error: ESANDBOX: openat2 is missing"]
        await bench.kernel.send_input(ME, 1, "sum", bench.screen)
        await rest(bench)
        assert results(process)[-1] == "5"
        bench.kernel.kill(ME, 1)

    run(main())


def test_the_time_is_told_in_utc(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("get_time")})
        bench.kernel.gate.now = lambda: datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC)
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        assert results(process) == ["2026-01-31T12:00:01Z"]

    run(main())


def test_a_question_is_answered_or_times_out(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": ASK})
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        (question,) = events(bench, "question")
        assert (question["question"], question["call"], question["seconds"]) == ("which one?", 1, 3600.0)
        with pytest.raises(KernelError, match="FORBIDDEN"):
            bench.kernel.answer(OTHER, 1, "mine")
        bench.kernel.answer(ME, 1, "the left one")
        with pytest.raises(KernelError, match="WRONG_STATE"):
            bench.kernel.answer(ME, 1, "the right one")
        await rest(bench)
        assert results(process) == ["the left one"]
        await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await rest(bench)
        await asyncio.sleep(3601)
        await rest(bench)
        assert results(process)[-1] == "error: TIMEOUT: nobody answered within 3600 seconds"

    run(main())
