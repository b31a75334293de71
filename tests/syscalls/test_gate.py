"""The gate: what a call has to pass, in which order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentkernel.process import State, Wait
from tests.by_hand import ME, run, settle
from tests.callers import (
    NO_FILES,
    SUM,
    WORK,
    audited,
    call,
    calling,
    events,
    one,
    outcomes,
    rest,
    results,
)
from tests.fake_jail import BROKEN, FakeJail

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
        assert (process.syscalls, process.called) == (quota, quota)
        assert [code for _, _, code in outcomes(bench)] == ["ok"] * quota + ["QUOTA"]

    run(main())


def test_a_quota_of_none_allows_none(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})
        process = await bench.exec("go", max_syscalls=0)
        await rest(bench)
        assert (process.reason, outcomes(bench)) == ("quota", [(1, "calc", "QUOTA")])

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
        bench.kernel.set_quota(ME, 1, {"max_syscalls": 1})
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


@pytest.mark.parametrize("code", ["ESANDBOX", "RATE_LIMITED"])
def test_what_the_kernel_can_not_do_is_no_failure_of_the_process(tmp_path: Path, code: str) -> None:
    async def main() -> None:
        settings: dict[str, Any] = {"tools": {"calls": 1}, "engine": {"context": 1024}}
        jail = FakeJail(found=BROKEN) if code == "ESANDBOX" else FakeJail()
        bench = await calling(tmp_path, {"go": SUM}, jail, **settings)
        process = await bench.exec("go", interactive=True)
        for _ in range(6):
            await rest(bench)
            await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await rest(bench)
        assert [outcome for _, _, outcome in outcomes(bench)][1:] == [code] * 6
        assert process.wait is Wait.INPUT

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
