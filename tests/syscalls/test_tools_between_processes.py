"""The built-in tools that reach other processes: children, and messages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.plan import Letter
from agentkernel.process import NO_QUOTA, State, Wait
from tests.by_hand import ME, OTHER, Gated, run, settle, words
from tests.callers import ASK, SUM, Held, call, calling, context, outcomes, rest

# Children


def test_a_child_says_its_answer_to_its_parent(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="child"), "child": " I am it. "}
        bench = await calling(tmp_path, said)
        parent = await bench.exec("go", interactive=True, priority="high")
        await rest(bench)
        assert context(parent) == "go|I am it."
        child = bench.kernel.find(ME, 2)
        assert (child.parent, child.owner, child.priority, child.reason) == (1, ME, "high", "stop")
        assert 2 not in bench.screen.text
        assert outcomes(bench) == [(1, "spawn", "ok")]

    run(main())


def test_a_child_that_needs_no_waiting_for_goes_on_beside_its_parent(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="child", wait=False), "child": call("receive")}
        bench = await calling(tmp_path, said)
        parent = await bench.exec("go")
        await rest(bench)
        assert parent.reason == "stop"
        child = bench.kernel.find(ME, 2)
        assert child.wait is Wait.SYSCALL
        bench.kernel.kill(ME, 2)
        assert child.state is State.KILLED

    run(main())


@pytest.mark.parametrize(
    ("own", "asked", "has"),
    [
        (None, None, None),
        (None, ["calc"], ("calc",)),
        (["calc", "spawn"], None, ("calc", "spawn")),
        (["calc", "spawn"], ["calc", "python"], ("calc",)),
        (["spawn"], [], ()),
    ],
)
def test_a_child_has_at_most_its_parents_tools(tmp_path: Path, own, asked, has) -> None:
    async def main() -> None:
        tools = {} if asked is None else {"tools": asked}
        bench = await calling(tmp_path, {"go": call("spawn", prompt="child", **tools)})
        fields = {"paths": {"read": ["r"], "write": ["w"]}, "approve": ["python"], "trust": "untrusted"}
        parent = await bench.exec("go", tools=own, interactive=True, **fields)
        await rest(bench)
        permits = bench.kernel.find(ME, 2).plan.permits
        assert permits.tools == has
        assert (permits.read, permits.write, permits.approve) == (("r",), ("w",), ("python",))
        assert permits.trust == parent.plan.permits.trust == "untrusted"

    run(main())


@pytest.mark.parametrize("wait", [True, False])
def test_a_child_has_a_part_of_what_its_parent_has_left(tmp_path: Path, wait: bool) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": call("spawn", prompt="child", wait=wait)})
        parent = await bench.exec("go", max_syscalls=9, limits={"max_tokens": 100})
        await rest(bench)
        child = bench.kernel.find(ME, 2)
        left = 100 - len(SUM.split(" ")) - len(call("spawn", prompt="child", wait=wait).split(" "))
        tokens, syscalls = (left - left // 4, 9 - 1 - 2 - 1) if wait else (left // 2, (9 - 1 - 2) // 2)
        assert (child.quota_tokens, child.quota_syscalls) == (tokens, syscalls)
        assert parent.reason == "stop"

    run(main())


def test_what_a_child_has_its_parent_has_not_until_the_child_ends(tmp_path: Path) -> None:
    """Then the parent has what the child didn't use, with which its turn goes on, and no more."""

    async def main() -> None:
        said = {"go": call("spawn", prompt="child"), "child": call("receive")}
        said[f"{said['child']}\nok"] = words(100)
        bench = await calling(tmp_path, said)
        parent = await bench.exec("go", max_syscalls=9, limits={"max_tokens": 50})
        await rest(bench)
        spent = parent.generated
        assert (parent.tokens_left, parent.syscalls_left) == ((50 - spent) // 4, 1)
        await bench.kernel.gate.mailboxes.send(2, Letter(1, "well"))
        await rest(bench)
        child = bench.kernel.find(ME, 2)
        assert (parent.reason, parent.generated) == ("quota", 50 - child.generated)
        assert parent.syscalls_left == 9 - 2 - 1

    run(main())


def test_a_quota_set_meanwhile_is_the_parents_and_its_childrens_together(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="child", wait=False), "child": ASK, "ok: PID 2": ASK}
        bench = await calling(tmp_path, said)
        parent = await bench.exec("go", max_syscalls=8, limits={"max_tokens": 100})
        await rest(bench)
        child = bench.kernel.find(ME, 2)
        bench.kernel.set_quota(ME, 1, {"max_tokens": 200, "max_syscalls": 20})
        assert parent.tokens_left == 200 - parent.generated - child.quota_tokens
        bench.kernel.set_quota(ME, 2, {"max_tokens": 1000, "max_syscalls": 1000})
        child.generated += 500
        bench.kernel.kill(ME, 2)
        assert parent.tokens_left == 200 - parent.generated - child.granted.tokens
        assert parent.syscalls_left == 20 - 3 - 1
        bench.kernel.set_quota(ME, 1, {"max_tokens": parent.generated + child.granted.tokens})
        assert parent.reason == "quota"

    run(main())


def test_a_restart_leaves_with_a_child_what_it_was_granted(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="child"), "child": "well", "stay": ASK, "ok: PID 3": ASK}
        said["well"] = call("spawn", prompt="stay", wait=False)
        journal = {"durability": "mixed"}
        bench = await calling(tmp_path, said, journal=journal)
        parent = await bench.exec("go", max_syscalls=20, limits={"max_tokens": 100}, on_disconnect="detach")
        while parent.wait is not Wait.ANSWER:
            await rest(bench)
        before = parent.tokens_left, parent.syscalls_left, parent.lent, parent.settled
        assert NO_QUOTA not in before
        await bench.kernel.drain(0)
        await bench.kernel.close()

        bench = await calling(tmp_path, said, journal=journal)
        assert await bench.kernel.recover() == 2
        parent = bench.kernel.find(ME, 1)
        assert (parent.tokens_left, parent.syscalls_left, parent.lent, parent.settled) == before
        await bench.kernel.drain(0)
        await bench.kernel.close()

    run(main())


def test_a_child_that_could_not_begin_has_used_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("spawn", prompt="x" * 300)})
        process = await bench.exec("go", interactive=True, max_syscalls=8)
        await rest(bench)
        assert process.syscalls_left == 8 - 2
        assert process.tokens_left == process.quota_tokens - process.generated

    run(main())


def test_who_has_one_token_left_starts_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        said = call("spawn", prompt="child")
        bench = await calling(tmp_path, {"go": said})
        process = await bench.exec("go", limits={"max_tokens": len(said.split(" ")) + 1})
        await rest(bench)
        assert outcomes(bench) == [(1, "spawn", "QUOTA_EXCEEDED")]
        assert process.reason == "quota"

    run(main())


def test_why_a_child_ended_is_told_unless_it_was_done(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="child"), "child": "one two three four five six seven eight nine"}
        bench = await calling(tmp_path, said)
        parent = await bench.exec("go", interactive=True, max_tokens=6)
        await rest(bench)
        assert context(parent) == "go|one two three four five six\n[ended: length]"

    run(main())


@pytest.mark.parametrize("how", ["kill", "term", "disconnect", "drain"])
def test_a_child_ends_with_the_parent_that_waits_for_it(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="child"), "child": call("receive")}
        bench = await calling(tmp_path, said)
        await bench.exec("go")
        await rest(bench)
        child = bench.kernel.find(ME, 2)
        assert child.wait is Wait.SYSCALL
        match how:
            case "disconnect":
                bench.kernel.disconnected(bench.screen)
            case "drain":
                await bench.kernel.drain(1)
            case _:
                getattr(bench.kernel, how)(ME, 1)
        await settle()
        assert child.state.ended
        assert len(bench.kernel.table) == 0

    run(main())


def test_a_child_that_is_killed_ends_its_parents_wait(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="child"), "child": call("receive")}
        bench = await calling(tmp_path, said)
        parent = await bench.exec("go", interactive=True)
        await rest(bench)
        bench.kernel.kill(ME, 2)
        await rest(bench)
        assert context(parent) == f"go|{call('receive')}\n\n[ended: killed]".replace("\n\n", "\n")

    run(main())


def test_a_parent_killed_while_its_child_is_opened_leaves_no_child(tmp_path: Path) -> None:
    """Neither in the table nor in the engine, which may know of it before the kernel does."""

    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("spawn", prompt="child")}, make=Gated)
        await bench.exec("go")
        bench.engine.gate.clear()
        await rest(bench)
        assert len(bench.kernel.table) == 1
        bench.kernel.kill(ME, 1)
        await settle()
        bench.engine.gate.set()
        await rest(bench)
        assert len(bench.kernel.table) == 0
        assert bench.engine._batcher._sequences == {}

    run(main())


def test_a_child_that_can_not_be_is_a_failure_of_the_call(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="x" * 300)}
        bench = await calling(tmp_path, said, limits={"processes": 1})
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        assert context(process).startswith("go|error: QUOTA_EXCEEDED: ")
        assert len(bench.kernel.table) == 1

    run(main())


def test_a_prompt_too_long_for_a_child_is_a_failure_and_no_process(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("spawn", prompt="x" * 300)}, limits={"processes": 2})
        process = await bench.exec("go", interactive=True)
        for _ in range(2):
            await rest(bench)
            assert context(process).rpartition("|")[2].startswith("error: TOOL_FAILED: prompt of 300 tokens")
            await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await rest(bench)
        assert len(bench.kernel.table) <= 1

    run(main())


# Messages


def test_a_message_reaches_the_process_that_waits_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"hear": call("receive"), "tell": call("send", pid=1, text="hi there")}
        bench = await calling(tmp_path, said)
        reader = await bench.exec("hear", interactive=True)
        await rest(bench)
        writer = await bench.exec("tell", interactive=True)
        await rest(bench)
        assert context(reader) == "hear|from PID 2: hi there"
        assert context(writer) == "tell|ok: sent to PID 1"

    run(main())


def test_who_writes_to_a_full_box_waits_until_one_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"tell": call("send", pid=1, text="x"), "hear": call("receive")}
        bench = await calling(tmp_path, said, tools={"messages": 1})
        reader = await bench.exec("idle", interactive=True)
        writers = [await bench.exec("tell", interactive=True) for _ in range(2)]
        await rest(bench)
        await asyncio.sleep(1)
        assert [writer.wait for writer in writers] == [Wait.INPUT, Wait.SYSCALL]
        await bench.kernel.send_input(ME, 1, "hear", bench.screen)
        await rest(bench)
        assert [writer.wait for writer in writers] == [Wait.INPUT, Wait.INPUT]
        assert context(reader).endswith("hear|from PID 2: x")

    run(main())


def test_a_sender_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("send", pid=1, text="x")}, tools={"messages": 1})
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await rest(bench)
        await asyncio.sleep(9)
        await rest(bench)
        assert context(process).endswith("go|error: TIMEOUT: send took longer than 8 seconds")

    run(main())


@pytest.mark.parametrize("pid", [2, 3, 4, 99])
def test_nobody_reaches_others_processes_nor_those_that_take_none_or_are_gone(tmp_path: Path, pid) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"tell": call("send", pid=pid, text="x")}, engine={"slots": 4})
        process = await bench.exec("idle", interactive=True)
        await bench.exec("theirs", OTHER, interactive=True)
        await bench.exec("raw", raw=True, interactive=True)
        await bench.exec("gone")
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "tell", bench.screen)
        await rest(bench)
        assert context(process).endswith(f"tell|error: NOT_FOUND: no live process {pid}")

    run(main())


def test_a_sender_learns_that_its_reader_ended(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"tell": call("send", pid=1, text="x")}, tools={"messages": 1})
        await bench.exec("idle", interactive=True)
        writers = [await bench.exec("tell", interactive=True) for _ in range(2)]
        await rest(bench)
        bench.kernel.kill(ME, 1)
        await rest(bench)
        assert context(writers[1]) == "tell|error: NOT_FOUND: no live process 1"

    run(main())


@pytest.mark.parametrize("seconds", [0, 7])
def test_a_reader_waits_as_long_as_it_says(tmp_path: Path, seconds: int) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("receive", seconds=seconds)})
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        await asyncio.sleep(seconds + 0.1)
        await rest(bench)
        assert context(process) == f"go|error: TIMEOUT: no message within {seconds} seconds"
        assert process.times(bench.kernel.clock())["syscall"] == pytest.approx(seconds)

    run(main())


def test_a_message_that_is_there_is_read_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"tell": call("send", pid=1, text="x"), "hear": call("receive", seconds=0)}
        bench = await calling(tmp_path, said)
        process = await bench.exec("tell", interactive=True)
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "hear", bench.screen)
        await rest(bench)
        assert context(process).endswith("hear|from PID 1: x")

    run(main())


def test_a_process_is_not_held_up_by_the_end_of_its_reader(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("receive")}, Held())
        await bench.exec("go")
        await rest(bench)
        bench.kernel.kill(ME, 1)
        await settle()
        with pytest.raises(KernelError, match="PID_NOT_FOUND"):
            bench.kernel.live(ME, 1)
        assert repr(bench.kernel.gate.mailboxes) == "<Mailboxes boxes=0 letters=0>"

    run(main())
