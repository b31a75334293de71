"""The gate: what a call has to pass, in which order, and what is written down of it."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from agentkernel.errors import KernelError
from agentkernel.jail.port import Limits, Verdict
from agentkernel.process import State, Wait
from agentkernel.syscalls import files, gate
from agentkernel.syscalls.builtin import Invocation
from agentkernel.syscalls.errors import ToolError
from tests.by_hand import ME, OTHER, run, settle
from tests.callers import (
    ASK,
    NO_FILES,
    SUM,
    WORK,
    Held,
    audited,
    call,
    called,
    calling,
    context,
    events,
    outcomes,
    rest,
)
from tests.fake_jail import BROKEN, FakeJail, ended

HELLO = call("python", code="hello")


def results(process) -> list[str]:
    """What the process's calls came to, as its model sees it."""
    return context(process).split("|")[1:]


async def one(folder: Path, said: str, jail: FakeJail | None = None, settings: dict | None = None, **fields):
    """An interactive process that has made one call; its kernel."""
    bench = await calling(folder, {"go": said}, FakeJail() if jail is None else jail, **(settings or {}))
    process = await bench.exec("go", interactive=True, **fields)
    await rest(bench)
    return bench, process


# Every way to fail, in the order of the checks

FAILURES = {
    "BAD_ARGUMENTS": call("calc", expression=5),
    "TOOL_NOT_FOUND": call("fly", to="Rome"),
    "NOT_ALLOWED": call("calc", expression="1+1"),
    "TOOL_FAILED": call("shell", argv=["false"]),
    "NOT_FOUND": call("mem_read", key="unknown"),
    "TIMEOUT": call("receive", seconds=3),
}


@pytest.mark.parametrize(("code", "said"), FAILURES.items(), ids=list(FAILURES))
def test_a_failure_is_a_result_that_names_its_code(tmp_path: Path, code: str, said: str) -> None:
    async def main() -> None:
        tools = None if code != "NOT_ALLOWED" else ["python"]
        bench, process = await one(tmp_path, said, paths=NO_FILES, tools=tools)
        await asyncio.sleep(5)
        await rest(bench)
        (result,) = results(process)
        assert result.startswith(f"error: {code}: ")
        assert process.wait is Wait.INPUT
        assert [entry["outcome"] for entry in audited(bench)] == [code]
        assert [event["outcome"] for event in events(bench, "syscall_finished")] == [code]
        assert bench.kernel.gate.counters == {"syscalls": 1, "syscall_errors": 1}

    run(main())


def test_a_tool_is_looked_for_before_its_arguments_are_read(tmp_path: Path) -> None:
    async def main() -> None:
        _, process = await one(tmp_path, "[[FLY: anything]]", tools=[])
        assert results(process)[0].startswith("error: TOOL_NOT_FOUND")

    run(main())


def test_arguments_are_checked_before_permission(tmp_path: Path) -> None:
    async def main() -> None:
        _, process = await one(tmp_path, call("calc", expression=5), tools=[])
        assert results(process)[0].startswith("error: BAD_ARGUMENTS")

    run(main())


def test_what_is_not_permitted_takes_nothing_of_the_rate(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("python", code="x"), "next": SUM}
        bench = await calling(tmp_path, said, FakeJail(), tools={"calls": 1})
        process = await bench.exec("go", interactive=True, tools=["calc"])
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "next", bench.screen)
        await rest(bench)
        assert [code for _, _, code in outcomes(bench)] == ["NOT_ALLOWED", "ok"]
        assert process.syscalls == 2

    run(main())


def test_what_comes_too_fast_is_nobodys_to_approve(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": SUM}, tools={"calls": 1})
        await bench.exec("go", approve=["calc"], interactive=True)
        await rest(bench)
        bench.kernel.approve(ME, 1, 1)
        await settle()
        bench.step(3)
        await settle()
        assert [code for _, _, code in outcomes(bench)] == ["ok", "RATE_LIMITED"]

    run(main())


@pytest.mark.parametrize("quota", [1, 3])
def test_a_quota_of_calls_allows_that_many(tmp_path: Path, quota: int) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": SUM})
        process = await bench.exec("go", max_syscalls=quota)
        await rest(bench)
        assert (process.state, process.reason) == (State.DONE, "quota")
        assert (process.syscalls, len(audited(bench))) == (quota, quota)

    run(main())


def test_a_quota_of_none_allows_none(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})
        process = await bench.exec("go", max_syscalls=0)
        await rest(bench)
        assert (process.reason, outcomes(bench)) == ("quota", [])

    run(main())


@pytest.mark.parametrize(("quota", "reason"), [(1, "quota"), (2, "stop")])
def test_what_a_tool_costs_counts_towards_the_quota(tmp_path: Path, quota: int, reason: str) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("spawn", prompt="child")})
        process = await bench.exec("go", max_syscalls=quota)
        await rest(bench)
        assert (process.reason, process.syscalls) == (reason, 0 if reason == "quota" else 2)

    run(main())


def test_a_failed_call_counts_towards_the_quota(tmp_path: Path) -> None:
    async def main() -> None:
        _, process = await one(tmp_path, call("fly", to="Rome"))
        assert (process.syscalls, process.called) == (1, 1)

    run(main())


def test_the_quota_can_be_raised_and_lowered_while_it_calls(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": SUM})
        process = await bench.exec("go", max_syscalls=8, paths=NO_FILES)
        await rest(bench)
        bench.kernel.set_quota(ME, 1, None, 1)
        bench.kernel.gate.jail.end()
        await rest(bench)
        assert (process.reason, process.syscalls) == ("quota", 1)

    run(main())


def test_twelve_calls_in_ten_seconds_then_denied_until_the_first_is_that_old(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM}, engine={"context": 1024})
        process = await bench.exec("go", interactive=True, max_syscalls=100)
        began = bench.kernel.clock()
        for i in range(12):
            await asyncio.sleep(0.5 if i else 0)
            await rest(bench)
            assert process.wait is Wait.INPUT
            await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await rest(bench)
        codes = [code for _, _, code in outcomes(bench)]
        assert codes == ["ok"] * 12 + ["RATE_LIMITED"]
        assert results(process)[-1] == "error: RATE_LIMITED: 12 calls in 10 seconds"
        for seconds, code in ((9.9, "RATE_LIMITED"), (10.0, "ok"), (10.1, "RATE_LIMITED"), (10.5, "ok")):
            await asyncio.sleep(began + seconds - bench.kernel.clock())
            await bench.kernel.send_input(ME, 1, "go", bench.screen)
            await rest(bench)
            assert outcomes(bench)[-1][2] == code

    run(main())


def test_each_process_has_a_rate_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM}, tools={"calls": 1})
        for _ in range(3):
            await bench.exec("go")
        await rest(bench)
        assert [code for _, _, code in outcomes(bench)] == ["ok"] * 3

    run(main())


def test_three_failures_in_a_row_end_a_process(tmp_path: Path) -> None:
    async def main() -> None:
        fly = call("fly", to="Rome")
        said = {"go": fly, "error: TOOL_NOT_FOUND: no tool named fly": fly}
        bench = await calling(tmp_path, said)
        process = await bench.exec("go")
        await rest(bench)
        assert (process.state, process.reason, process.called) == (State.KILLED, "syscall_errors", 3)
        assert len(audited(bench)) == 3

    run(main())


def test_a_success_begins_the_count_of_failures_anew(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"bad": call("fly", to="Rome"), "good": SUM})
        process = await bench.exec("bad", interactive=True)
        for text in ("bad", "good", "bad", "bad"):
            await rest(bench)
            await bench.kernel.send_input(ME, 1, text, bench.screen)
        await rest(bench)
        assert not process.state.ended
        await bench.kernel.send_input(ME, 1, "bad", bench.screen)
        await rest(bench)
        assert process.reason == "syscall_errors"

    run(main())


def test_a_refusal_is_no_failure(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "error: DENIED: no": SUM}, tools={"errors": 1})
        process = await bench.exec("go", approve=["*"])
        for number in range(1, 6):
            await rest(bench)
            bench.kernel.deny(ME, 1, number, "no")
        await rest(bench)
        assert process.wait is Wait.APPROVAL
        assert [code for _, _, code in outcomes(bench)] == ["DENIED"] * 5

    run(main())


# Approval


async def wanting(folder: Path, **fields):
    """A process whose call waits for a person."""
    bench = await calling(folder, {"go": SUM})
    process = await bench.exec("go", interactive=True, **{"approve": ["calc"], **fields})
    await rest(bench)
    assert process.wait is Wait.APPROVAL
    return bench, process


@pytest.mark.parametrize("approve", [["calc"], ["*"], ["python", "calc"]])
def test_an_approved_call_is_made(tmp_path: Path, approve: list[str]) -> None:
    async def main() -> None:
        bench, process = await wanting(tmp_path, approve=approve)
        (event,) = events(bench, "approval_wanted")
        assert (event["pid"], event["call"], event["tool"]) == (1, 1, "calc")
        assert event["arguments"] == '{"expression": "2+3"}'
        assert outcomes(bench) == []
        question = bench.kernel.approve(ME, 1, 1)
        assert (question.pid, question.call) == (1, 1)
        await rest(bench)
        assert results(process) == ["5"]

    run(main())


@pytest.mark.parametrize(("reason", "told"), [("not now", "not now"), ("", "denied by the operator")])
def test_a_denied_call_is_not_made_and_the_model_learns_why(tmp_path: Path, reason: str, told: str) -> None:
    async def main() -> None:
        bench, process = await wanting(tmp_path)
        bench.kernel.deny(ME, 1, 1, reason)
        await rest(bench)
        assert results(process) == [f"error: DENIED: {told}"]
        assert outcomes(bench) == [(1, "calc", "DENIED")]

    run(main())


def test_a_call_that_nobody_approves_in_time_is_denied(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await wanting(tmp_path)
        await asyncio.sleep(299)
        assert process.wait is Wait.APPROVAL
        await asyncio.sleep(2)
        await rest(bench)
        assert results(process) == ["error: DENIED: nobody approved it within 300 seconds"]
        with pytest.raises(KernelError, match="WRONG_STATE"):
            bench.kernel.approve(ME, 1, 1)

    run(main())


def test_an_approval_is_of_the_call_that_waits_by_who_may(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await wanting(tmp_path)
        kernel = bench.kernel
        with pytest.raises(KernelError, match="CALL_NOT_FOUND") as wrong:
            kernel.approve(ME, 1, 2)
        assert wrong.value.details == {"call": 1}
        with pytest.raises(KernelError, match="FORBIDDEN"):
            kernel.approve(OTHER, 1, 1)
        with pytest.raises(KernelError, match="WRONG_STATE"):
            kernel.answer(ME, 1, "yes")
        kernel.approve(ME, 1, 1)
        with pytest.raises(KernelError, match="WRONG_STATE"):  # it is answered once
            kernel.deny(ME, 1, 1, "no")
        await rest(bench)
        assert results(process) == ["5"]

    run(main())


def test_a_tool_that_is_not_named_needs_no_approval(tmp_path: Path) -> None:
    async def main() -> None:
        _, process = await one(tmp_path, SUM, approve=["python"])
        assert results(process) == ["5"]

    run(main())


def test_a_tool_removed_before_its_approval_is_not_called(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("greet")}, Held())
        tool = b'{"name": "greet", "description": "d", "schema": {"type": "object"}, "command": ["true"]}'
        bench.kernel.register_tool(tool)
        process = await bench.exec("go", approve=["greet"], interactive=True, paths=NO_FILES)
        await rest(bench)
        bench.kernel.unregister_tool("greet")
        bench.kernel.register_tool(tool)  # another tool of that name was not approved
        bench.kernel.approve(ME, 1, 1)
        await rest(bench)
        assert results(process) == ["error: TOOL_NOT_FOUND: greet was removed meanwhile"]
        assert bench.kernel.gate.jail.jobs == []

    run(main())


def test_a_tool_removed_while_it_runs_ends_as_it_would(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("greet")}, Held(lambda _job: None))
        tool = b'{"name": "greet", "description": "d", "schema": {"type": "object"}, "command": ["true"]}'
        bench.kernel.register_tool(tool)
        process = await bench.exec("go", tools=["greet"], interactive=True, paths=NO_FILES)
        await rest(bench)
        bench.kernel.unregister_tool("greet")
        bench.kernel.gate.jail.end(b"hi")
        await rest(bench)
        assert results(process) == ["hi"]
        await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await rest(bench)
        assert results(process)[-2:] == ["go", "error: TOOL_NOT_FOUND: no tool named greet"]

    run(main())


def test_a_child_does_not_need_what_its_parent_has_lost(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("spawn", prompt="child"), "use": call("greet")})
        tool = b'{"name": "greet", "description": "d", "schema": {"type": "object"}, "command": ["true"]}'
        bench.kernel.register_tool(tool)
        process = await bench.exec("hi", tools=["greet", "spawn"], interactive=True)
        await rest(bench)
        bench.kernel.unregister_tool("greet")
        (fork,) = await bench.kernel.fork(ME, 1, 1, bench.screen)
        await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await bench.kernel.send_input(ME, 2, "use", bench.screen)
        await rest(bench)
        assert results(process)[-1] == "ok"
        assert results(fork)[-1] == "error: TOOL_NOT_FOUND: no tool named greet"

    run(main())


# The rule of two


def test_a_third_danger_needs_a_person(tmp_path: Path) -> None:
    """Untrusted, private and changing: any two go, all three only with approval."""

    async def main() -> None:
        bench = await calling(tmp_path, {"go": HELLO}, FakeJail())
        process = await bench.exec("go", trust="untrusted", interactive=True, paths=NO_FILES)
        await rest(bench)
        assert process.wait is Wait.APPROVAL
        bench.kernel.approve(ME, 1, 1)
        await rest(bench)
        assert results(process) == ["hello"]

    run(main())


def test_dangers_add_up_over_calls_that_were_made(tmp_path: Path) -> None:
    async def main() -> None:
        read = call("read_file", path="x")
        said = {"go": call("send", pid=1, text="x"), "ok: sent to PID 1": call("receive"), "read": read}
        bench = await calling(tmp_path, said, FakeJail())
        process = await bench.exec("go", trust="untrusted", interactive=True, paths=NO_FILES)
        await rest(bench)
        assert process.wait is Wait.INPUT
        await bench.kernel.send_input(ME, 1, "read", bench.screen)
        await rest(bench)
        assert process.wait is Wait.APPROVAL  # it has changed something, and would read now
        bench.kernel.deny(ME, 1, 3, "")
        await rest(bench)
        assert process.wait is Wait.INPUT

    run(main())


@pytest.mark.parametrize(
    ("trust", "rule"), [("standard", True), ("trusted", True), ("confidential", True), ("untrusted", False)]
)
def test_two_dangers_or_no_rule_need_nobody(tmp_path: Path, trust: str, rule: bool) -> None:
    async def main() -> None:
        settings = {"tools": {"rule_of_two": rule}}
        _, process = await one(tmp_path, HELLO, settings=settings, trust=trust, paths=NO_FILES)
        assert results(process) == ["hello"]

    run(main())


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


# What is written down


def test_an_audit_line_says_who_called_what_and_how_it_ended(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail(lambda _job: msgspec.structs.replace(ended(b"12345"), cpu_ms=3.0, memory_kb=70))
        bench, _ = await one(tmp_path, HELLO, jail, paths=NO_FILES)
        (entry,) = audited(bench)
        told = {key: entry[key] for key in ("owner", "pid", "call", "tool", "trust", "backend", "outcome")}
        assert told == {
            "owner": "me",
            "pid": 1,
            "call": 1,
            "tool": "python",
            "trust": "standard",
            "backend": "fake",
            "outcome": "ok",
        }
        assert (entry["cpu_ms"], entry["memory_kb"], entry["output_bytes"]) == (3.0, 70, 5)
        assert "arguments" not in entry

    run(main())


def test_a_call_without_a_job_names_the_kernel_and_no_earlier_jobs_means(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": HELLO, "hello": SUM}, FakeJail())
        await bench.exec("go", paths=NO_FILES)
        await rest(bench)
        assert [(entry["backend"], entry["output_bytes"]) for entry in audited(bench)] == [
            ("fake", 5),
            ("kernel", 0),
        ]

    run(main())


@pytest.mark.parametrize(("trust", "kept"), [("standard", True), ("confidential", False)])
def test_arguments_are_written_where_asked_but_for_confidential_ones(tmp_path: Path, trust, kept) -> None:
    async def main() -> None:
        bench, _ = await one(tmp_path, SUM, settings={"tools": {"audit_arguments": True}}, trust=trust)
        (entry,) = audited(bench)
        assert entry.get("arguments") == ('{"expression": "2+3"}' if kept else None)

    run(main())


def test_while_calls_can_not_be_written_down_none_is_made(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})
        process = await bench.exec("go", interactive=True)
        log = bench.kernel.gate._audit._log
        readable = os.open(bench.kernel.config.audit_file, os.O_RDONLY)
        written = os.dup(log)
        os.dup2(readable, log)  # every write fails now
        await rest(bench)
        assert results(process) == ["5"]  # it was made before that was known
        for _ in range(2):
            await bench.kernel.send_input(ME, 1, "go", bench.screen)
            await rest(bench)
            assert results(process)[-1] == "error: ESANDBOX: calls can't be written down"
        os.dup2(written, log)
        for answer in ("error: ESANDBOX: calls can't be written down", "5"):
            if process.state.ended:
                process = await bench.exec("go", interactive=True)
            else:
                await bench.kernel.send_input(ME, 1, "go", bench.screen)
            await rest(bench)
            if not process.state.ended:
                assert results(process)[-1] == answer
        assert outcomes(bench)[-1][2] == "ok"
        for each in (readable, written):
            os.close(each)

    run(main())


def test_a_fault_inside_the_kernel_ends_one_process_and_is_written_down(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})

        async def broken(_call: Invocation) -> str:
            raise ZeroDivisionError

        bench.kernel.gate.toolbox.handlers["calc"] = broken
        process = await bench.exec("go")
        other = await bench.exec("other")
        await rest(bench)
        assert (process.state, process.reason) == (State.FAILED, "internal")
        assert other.reason == "stop"
        assert outcomes(bench) == [(1, "calc", "INTERNAL")]

    run(main())


def test_a_tool_has_so_many_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})

        async def slow(_call: Invocation) -> str:
            await asyncio.sleep(100)
            raise AssertionError

        bench.kernel.gate.toolbox.handlers["calc"] = slow
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        await asyncio.sleep(8.1)
        await rest(bench)
        assert results(process) == ["error: TIMEOUT: calc took longer than 8 seconds"]

    run(main())


def test_a_long_result_is_cut_whole_characters_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail(lambda _job: ended("é".encode() * 400))
        settings = {"tools": {"result_bytes": 257}, "engine": {"context": 1024}}
        _, process = await one(tmp_path, HELLO, jail, settings, paths=NO_FILES)
        (result,) = results(process)
        assert result.encode("latin-1").decode() == "é" * 128 + "\n[cut: 800 bytes in all]"

    run(main())


# Secrets


async def with_secret(folder: Path, said: dict[str, str], jail: FakeJail, **settings):
    """A kernel that keeps a secret, and what became public when one process has run."""
    (folder / "state").mkdir(exist_ok=True)
    file = folder / "state" / "secrets"
    file.write_text("KEY: hunter2-hunter2\nOTHER: not-for-greet\n")
    file.chmod(0o600)
    return await calling(folder, said, jail, **settings)


GREET = b"""
name: greet
description: d
schema: {type: object, properties: {who: {type: string}}, additionalProperties: false}
command: [greet, "{who}"]
secrets: [KEY]
"""


def test_a_secret_is_in_its_tools_jail_alone_and_in_nothing_that_is_seen(tmp_path: Path) -> None:
    async def main() -> None:
        leak = FakeJail(lambda job: ended(f"it is {job.environment.get('KEY')}".encode()))
        said = {"go": call("greet", who="hunter2-hunter2"), "it is [secret KEY]": HELLO}
        bench = await with_secret(tmp_path, said, leak, tools={"audit_arguments": True})
        bench.kernel.register_tool(GREET)
        process = await bench.exec("go", paths=NO_FILES, approve=["greet"], interactive=True)
        await rest(bench)
        bench.kernel.approve(ME, 1, 1)
        await rest(bench)
        greet, python = leak.jobs
        assert (greet.argv, greet.environment) == (("greet", "hunter2-hunter2"), {"KEY": "hunter2-hunter2"})
        assert python.environment == {}
        assert results(process) == ["it is [secret KEY]", "it is None"]
        (wanted,) = events(bench, "approval_wanted")
        assert wanted["arguments"] == '{"who": "[secret KEY]"}'
        assert "hunter2" not in bench.kernel.config.audit_file.read_text()
        assert "hunter2" not in repr(bench.screen.events)

    run(main())


def test_a_secret_in_an_error_or_a_question_is_not_shown(tmp_path: Path) -> None:
    async def main() -> None:
        fail = FakeJail(lambda _job: ended(b"hunter2-hunter2", 1))
        told = "error: TOOL_FAILED: ended with status 1\n[secret KEY]"
        said = {"go": HELLO, told: call("ask_human", question="Is it hunter2-hunter2?")}
        bench = await with_secret(tmp_path, said, fail)
        process = await bench.exec("go", paths=NO_FILES)
        await rest(bench)
        assert context(process) == f"go|{told}"
        (question,) = events(bench, "question")
        assert question["question"] == "Is it [secret KEY]?"
        assert bench.kernel.gate.people.of(1).said == "Is it [secret KEY]?"

    run(main())


def test_a_cut_leaves_no_part_of_a_secret(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail(lambda _job: ended(b"x" * 250 + b"hunter2-hunter2" + b"y" * 100))
        bench = await with_secret(
            tmp_path, {"go": HELLO}, jail, tools={"result_bytes": 256}, engine={"context": 1024}
        )
        process = await bench.exec("go", paths=NO_FILES, interactive=True)
        await rest(bench)
        assert "hunter" not in context(process)
        assert context(process).startswith("go|" + "x" * 250 + "[secre\n[cut: ")

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
        await asyncio.get_running_loop().shutdown_default_executor()
        assert folder.is_dir() is kept

    run(main())


def test_a_write_that_its_process_did_not_live_to_see_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """Threads can't be cancelled: one that is late finds that the workspace was removed."""

    async def main() -> None:
        begun, removed, write, remove = threading.Event(), threading.Event(), files.write_file, gate._remove

        def told(*arguments) -> None:
            remove(*arguments)
            removed.set()

        def late(*arguments, **named) -> str:
            begun.set()
            removed.wait()
            return write(*arguments, **named)

        monkeypatch.setattr("agentkernel.syscalls.files.write_file", late)
        monkeypatch.setattr("agentkernel.syscalls.gate._remove", told)
        bench = await calling(tmp_path, {"go": call("write_file", path="a", content="x")})
        await bench.exec("go", trust="confidential")
        await rest(bench)
        while not begun.is_set():
            await settle()
        bench.kernel.kill(ME, 1)
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
