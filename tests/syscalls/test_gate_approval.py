"""The gate: calls that wait for a person, and those that have to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.process import Wait
from tests.by_hand import ME, OTHER, run
from tests.callers import (
    HELLO,
    NO_FILES,
    SUM,
    Held,
    call,
    calling,
    events,
    one,
    outcomes,
    rest,
    results,
)
from tests.fake_jail import FakeJail

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
