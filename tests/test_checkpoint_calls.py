"""Processes saved while they call, and brought back: no call is made twice that may not be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentkernel.process import Process, Quota, Wait
from tests.by_hand import ME, Bench, Screen, run, settle
from tests.callers import NO_FILES, WORK, Held, call, context, rest
from tests.checkpointed import at_once, back, carried, one_back, saved
from tests.fake_jail import FakeJail
from tests.test_checkpoint_moments import Slowly
from tests.test_recovery import SAID, born, leave, said, to_the_end

INTERRUPTED = "error: INTERRUPTED: the kernel stopped while it ran: it may have been done, or not"


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What models under test say besides; nothing depends on a thread's pace."""
    at_once(monkeypatch)
    for text, answer in {
        "work": WORK,
        "append": call("append_file", path="log", text="x"),
        "wait": call("receive", seconds=50),
        "tell": call("send", pid=1, text="news"),
        "child": call("spawn", prompt="talk", wait=False),
    }.items():
        monkeypatch.setitem(SAID, text, answer)


async def asking(bench: Bench, prompt: str, **fields: Any) -> Process:
    """An interactive process that has come to a call, or to what follows it."""
    process = await bench.exec(prompt, interactive=True, on_disconnect="detach", **fields)
    await rest(bench)
    return process


async def other(bench: Bench, tmp_path: Path, jail: FakeJail | None = None) -> Bench:
    """A kernel elsewhere, with copies of this one's checkpoints, in which nothing has been called."""
    there = await carried(bench, tmp_path / "there", jail)
    await leave(bench)
    return there


def test_one_that_may_be_made_again_is(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        process = await asking(bench, "wait")
        assert process.wait is Wait.SYSCALL
        again = await one_back(bench, process)
        await rest(bench)
        assert again.wait is Wait.SYSCALL
        sender = await asking(bench, "tell")
        await rest(bench)
        assert "news" in context(again)
        assert (again.called, again.syscalls) == (1, 1)
        assert sender.called == 1
        await leave(bench)

    run(main())


@pytest.mark.parametrize("elsewhere", [False, True])
def test_one_that_may_not_be_is_told_to_the_process_and_not_made(tmp_path: Path, elsewhere: bool) -> None:
    async def main() -> None:
        jail = Held()
        bench = await born(tmp_path / "here", jail)
        process = await asking(bench, "work", paths=NO_FILES)
        assert jail.running
        await saved(bench, process)
        if elsewhere:
            jail = Held()
            bench = await other(bench, tmp_path, jail)
        begun = len(jail.jobs)
        (again,) = await back(bench)
        await to_the_end(bench)
        assert context(again).split("|")[1] == INTERRUPTED
        assert said(bench, again.pid).endswith("\nInterrupted.")
        assert len(jail.jobs) == begun
        await leave(bench)
        bench = await born(tmp_path / ("there" if elsewhere else "here"), Held())
        assert context(bench.kernel.find(ME, again.pid)) == context(again)
        await leave(bench)

    run(main())


def test_another_call_follows_one_that_was_interrupted(tmp_path: Path) -> None:
    """Its number is the next: what the journal has of the earlier life's later calls is gone."""

    async def main() -> None:
        jail = Held()
        bench = await born(tmp_path / "here", jail)
        process = await asking(bench, "work", paths=NO_FILES)
        await bench.kernel.checkpoint(ME, process.pid, "tale")
        jail.end()
        await to_the_end(bench)
        for _ in range(2):
            await bench.kernel.send_input(ME, process.pid, "sum", bench.screen)
            await to_the_end(bench)
        assert process.called == 3
        bench.kernel.kill(ME, process.pid)
        (again,) = await back(bench)
        await to_the_end(bench)
        await bench.kernel.send_input(ME, again.pid, "sum", Screen())
        await to_the_end(bench)
        assert again.called == 2
        assert [each.call for each in bench.kernel.recorder.journal.calls(again.pid)] == [1, 2]
        assert said(bench, again.pid).endswith("So it is 5.")
        await leave(bench)

    run(main())


def test_the_result_of_one_is_not_asked_for_again(tmp_path: Path) -> None:
    """What had come of the call and had not joined the context: the engine was away."""

    async def main() -> None:
        jail = Held()
        bench = await born(tmp_path / "here", jail)
        process = await asking(bench, "work", paths=NO_FILES)
        bench.engine.gate.clear()
        jail.end(b"It is done.")
        await settle()
        assert process.calling
        await saved(bench, process)
        bench.engine.gate.set()
        jail = Held()
        bench = await other(bench, tmp_path, jail)
        (again,) = await back(bench)
        await to_the_end(bench)
        assert context(again).split("|")[1] == "It is done."
        assert jail.jobs == []
        await leave(bench)

    run(main())


@pytest.mark.parametrize(("fields", "prompt"), [({"approve": ["*"]}, "sum"), ({}, "ask")])
def test_people_are_asked_again(tmp_path: Path, fields: dict[str, Any], prompt: str) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        process = await asking(bench, prompt, **fields)
        wait = Wait.APPROVAL if fields else Wait.ANSWER
        await saved(bench, process)
        bench = await other(bench, tmp_path)
        (again,) = await back(bench)
        await rest(bench)
        assert again.wait is wait
        if fields:
            bench.kernel.approve(ME, again.pid, 1)
        else:
            bench.kernel.answer(ME, again.pid, "fine")
        await to_the_end(bench)
        assert context(again).split("|")[1] == ("5" if fields else "fine")
        assert again.called == 1
        await leave(bench)

    run(main())


def test_letters_notes_and_what_its_calls_have_cost_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        process = await asking(bench, "note")
        await asking(bench, "tell")
        before = process.syscalls, dict(process.notes), list(process.letters), process.quota_syscalls
        assert before[0] == 2
        assert before[1] == {"k": "v"}
        assert [letter.text for letter in before[2]] == ["news"]
        await saved(bench, process)
        bench = await other(bench, tmp_path)
        (again,) = await back(bench)
        assert (again.syscalls, again.notes, list(again.letters), again.quota_syscalls) == before
        await bench.kernel.send_input(ME, again.pid, "wait", bench.screen)
        await to_the_end(bench)
        assert "news" in context(again)
        assert not again.letters
        await leave(bench)

    run(main())


def test_letters_between_those_that_come_back_as_new_name_their_new_senders(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        await asking(bench, "talk", max_tokens=1)
        await asking(bench, "tell")
        await bench.kernel.checkpoint(ME, None, "tale")
        receiver, sender = await back(bench, as_new=True)
        assert [(letter.sender, letter.text) for letter in receiver.letters] == [(sender.pid, "news")]
        await leave(bench)

    run(main())


async def parent_and_child(bench: Bench) -> tuple[Process, Process]:
    """A process that waits for input, and the child that it has started, which talks."""
    parent = await bench.exec("child", interactive=True, on_disconnect="detach", max_syscalls=8)
    while bench.kernel.table.get(2) is None:
        bench.step()
        await settle()
    bench.step(4)
    await settle()
    child = bench.kernel.find(ME, 2)
    assert child.granted.tokens
    return parent, child


@pytest.mark.parametrize("as_new", [False, True])
def test_a_parent_lends_its_child_what_it_had_lent_and_gets_the_rest_back(
    tmp_path: Path, as_new: bool
) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        parent, child = await parent_and_child(bench)
        lent, generated = parent.lent, child.generated
        await saved(bench)
        parent, child = await back(bench, as_new=as_new)
        assert (child.parent, child.granted, parent.lent) == (parent.pid, lent, lent)
        assert child.generated == generated
        await to_the_end(bench)
        assert (parent.lent, parent.settled.tokens) == (Quota(), child.generated)
        await leave(bench)

    run(main())


def test_a_parent_that_comes_back_without_its_child_lends_nothing_until_that_lives(tmp_path: Path) -> None:
    """A child whose parent had ended, or comes back alone, never makes a quota larger than it was."""

    async def main() -> None:
        bench = await born(tmp_path / "here")
        parent, child = await parent_and_child(bench)
        granted, quota = child.granted, parent.tokens_left + child.granted.tokens
        again = await one_back(bench, parent)  # its child lives on, with what it was granted
        assert not child.state.ended
        assert (again.lent, again.tokens_left) == (granted, quota - granted.tokens)
        await to_the_end(bench)
        assert child.state.ended
        assert (again.lent, again.settled.tokens) == (Quota(), child.generated)
        assert again.tokens_left == again.quota_tokens - again.generated - child.generated
        await leave(bench)

    run(main())


def test_a_child_that_comes_back_alone_costs_its_parent_nothing_more(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "here")
        parent, child = await parent_and_child(bench)
        await saved(bench, child)
        left = parent.tokens_left
        (child,) = await back(bench)
        assert (parent.lent, parent.tokens_left, child.granted) == (Quota(), left, Quota())
        await to_the_end(bench)
        assert parent.tokens_left <= left
        assert parent.settled.tokens < child.generated
        await leave(bench)

    run(main())


def test_calls_and_writes_of_files_wait_while_those_are_read_and_follow_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a call that a person approves meanwhile; what the process says goes on."""

    async def main() -> None:
        jail = FakeJail()
        bench = await born(tmp_path / "here", jail)
        kernel = bench.kernel
        approved = await asking(bench, "hello there", paths=NO_FILES)
        monkeypatch.setitem(SAID, "go", call("python", code="hello"))
        await kernel.send_input(ME, approved.pid, "go", bench.screen)
        slowly = Slowly(monkeypatch)
        saving = asyncio.ensure_future(kernel.checkpoint(ME, None, "tale"))
        await settle()
        writing = asyncio.ensure_future(kernel.put_file(ME, approved.pid, "f", b"data"))
        await rest(bench)
        assert approved.calls
        assert (jail.jobs, saving.done(), writing.done()) == ([], False, False)
        slowly.gate.set()
        await saving
        await writing
        await to_the_end(bench)
        assert len(jail.jobs) == 1
        assert said(bench, approved.pid).endswith("It says hello.")
        kernel.kill(ME, approved.pid)
        (again,) = await back(bench)
        assert await kernel.list_files(ME, again.pid, ".") == ([], True)
        await to_the_end(bench)
        assert len(jail.jobs) == 2  # it had not begun when the process was saved
        await leave(bench)

    run(main())


def test_a_call_approved_while_files_are_read_is_made_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        jail = FakeJail()
        bench = await born(tmp_path / "here", jail)
        monkeypatch.setitem(SAID, "go", call("python", code="hello"))
        process = await asking(bench, "go", approve=["python"], paths=NO_FILES)
        assert process.wait is Wait.APPROVAL
        slowly = Slowly(monkeypatch)
        saving = asyncio.ensure_future(bench.kernel.checkpoint(ME, None, "tale"))
        await settle()
        bench.kernel.approve(ME, process.pid, 1)
        await rest(bench)
        assert (jail.jobs, saving.done()) == ([], False)
        slowly.gate.set()
        await saving
        await to_the_end(bench)
        assert len(jail.jobs) == 1
        await leave(bench)

    run(main())
