"""Forks of a process whose turn has come to its end, which nothing follows from before it is on the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentkernel.errors import KernelError
from agentkernel.process import Process, State, Wait
from tests.by_hand import ME, Bench, run, settle, words
from tests.callers import rest
from tests.kept import POWER, assert_kept, copied, not_synced
from tests.test_recovery import TALK, born, leave, said, to_the_end


async def forked(
    folder: Path, prompt: str = "talk", then: str = "", context: int = 400, **fields: Any
) -> tuple[Bench, Process, Process]:
    """A process that comes to the end of its last turn, and the child that it got before that was seen."""
    bench = await born(folder, **POWER, engine={"slots": 2, "context": context})
    bench.kernel.events.subscribe(ME, bench.screen)
    parent = await bench.exec(prompt, on_disconnect="detach", **fields)
    if then:
        await rest(bench)
        await bench.kernel.send_input(ME, parent.pid, then, bench.screen)
        await settle()
    with not_synced(bench):
        while parent.turn_end is None:
            bench.step()
        forking = asyncio.ensure_future(bench.kernel.fork(ME, parent.pid, 1, bench.screen))
        await settle()
        assert parent.turn_end is not None
    (child,) = await forking
    await settle()
    return bench, parent, child


@pytest.mark.parametrize(
    "fields", [{}, {"max_tokens": 5}, {"stop": ["w7"]}], ids=["stop", "length", "string"]
)
def test_the_child_of_one_that_ends_does_so(tmp_path, fields):
    async def main() -> None:
        bench, parent, child = await forked(tmp_path, **fields)
        assert parent.state is child.state is State.DONE
        assert child.reason == parent.reason
        await to_the_end(bench)
        assert said(bench, child.pid) == ""
        assert bench.screen.ends.keys() == {parent.pid, child.pid}
        await leave(bench)

    run(main())


def test_the_child_of_one_that_waits_for_input_then_does_so(tmp_path):
    async def main() -> None:
        bench, parent, child = await forked(tmp_path, interactive=True)
        assert (parent.wait, child.wait, child.reason) == (Wait.INPUT, Wait.INPUT, "stop")
        assert child.tokens == parent.tokens
        assert_kept(bench.kernel)
        await bench.kernel.send_input(ME, child.pid, "sum", bench.screen)
        await to_the_end(bench)
        assert said(bench, child.pid).endswith("So it is 5.")
        await leave(bench)

    run(main())


def test_the_child_of_one_that_came_to_its_limit_goes_on_when_told_to(tmp_path):
    async def main() -> None:
        bench, parent, child = await forked(tmp_path, interactive=True, max_tokens=5)
        assert (child.wait, child.reason) == (Wait.INPUT, "length")
        bench.kernel.continue_output(ME, child.pid)
        await rest(bench)
        assert said(bench, parent.pid) == words(5)
        assert said(bench, parent.pid) + said(bench, child.pid) == words(10)
        await leave(bench)

    run(main())


def test_the_child_of_one_whose_context_is_full_goes_on_as_that_does(tmp_path):
    conversation = {"then": "talk", "context": 48, "interactive": True, "context_strategy": "slide"}

    async def main() -> None:
        bench, parent, child = await forked(tmp_path, "a" * 20, **conversation)
        await to_the_end(bench)
        assert bench.screen.kinds().count("context_slid") == 2
        assert (parent.wait, child.wait) == (Wait.INPUT, Wait.INPUT)
        assert said(bench, parent.pid) == f"ok{TALK}"
        assert said(bench, child.pid) != ""
        assert TALK.endswith(said(bench, child.pid))
        assert child.tokens == parent.tokens
        await leave(bench)

    run(main())


def test_one_that_is_about_to_call_has_no_children(tmp_path):
    async def main() -> None:
        with pytest.raises(KernelError, match="WRONG_STATE"):
            await forked(tmp_path, "sum")

    run(main())


def test_a_kernel_that_dies_before_the_child_s_turn_is_over_leaves_that_to_the_next(tmp_path, monkeypatch):
    async def main() -> None:
        bench = await born(tmp_path / "a", **POWER)
        parent = await bench.exec("talk", interactive=True, max_tokens=5)
        with not_synced(bench):
            while parent.turn_end is None:
                bench.step()
            forking = asyncio.ensure_future(bench.kernel.fork(ME, parent.pid, 1, bench.screen))
            await settle()
            folder = copied(tmp_path / "a", tmp_path / "b")
        await forking
        after = await born(folder, **POWER)
        child = after.kernel.find(ME, 2)
        assert (child.wait, child.reason) == (Wait.INPUT, "length")
        await leave(after)
        await leave(bench)

    (tmp_path / "a").mkdir()
    run(main())
