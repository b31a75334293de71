"""A kernel that dies at any commit, and one that goes on with what it has written down."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentkernel.process import State, Wait
from tests.by_hand import ME, Bench, run, settle, words
from tests.callers import ASK, HELLO, NO_FILES, SUM, Slow, call, calling, context, rest
from tests.fake_jail import FakeJail
from tests.kept import MIXED, POWER, Witness, assert_kept, without_threads

TALK = words(30)
SAID = {
    "talk": TALK,
    "sum": f"Well,\n{SUM}",
    "5": "So it is 5.",
    "work": HELLO,
    "hello": "It says hello.",
    "note": call("mem_write", key="k", value="v"),
    "ok: stored k": call("mem_read", key="k"),
    "v": "I noted v.",
    "ask": ASK,
    "child": call("spawn", prompt="sum"),
    "So it is 5.": "My child says so.",
    "error: INTERRUPTED: the kernel stopped while it ran: it may have been done, or not": "Interrupted.",
}


async def born(folder: Path, jail: FakeJail | None = None, **settings: Any) -> Bench:
    """A kernel with a journal that needs no thread, on what a former one left in the folder."""
    settings = {**MIXED, **settings}
    bench = await calling(folder, SAID, FakeJail() if jail is None else jail, make=Slow, **settings)
    without_threads(bench.kernel.recorder.journal)
    bench.screen = Witness(bench.kernel.recorder.journal)
    await bench.kernel.recover()
    await settle()
    return bench


async def reborn(bench: Bench, folder: Path) -> Bench:
    """The next kernel, on a copy of what this one has written and synced so far."""
    await bench.kernel.recorder.synced()
    to = folder.with_name(f"{folder.name}-next")
    shutil.copytree(folder, to)
    await leave(bench)
    return await born(to)


async def leave(bench: Bench) -> None:
    await bench.kernel.drain(0)
    await bench.kernel.close()


def said(bench: Bench, pid: int) -> str:
    """All that a process has put out, in all its lives."""
    return bench.kernel.recorder.output(pid, 0, 1 << 20).decode()


@dataclass
class Moments:
    """Copies of a kernel's folder, one behind each commit, and how many jobs there had been then."""

    folder: Path
    to: Path
    jail: FakeJail
    jobs: list[int]

    def watch(self, bench: Bench) -> None:
        journal = bench.kernel.recorder.journal
        write: Callable[[], bool] = journal._write

        def written() -> bool:
            new = write()
            if new:
                shutil.copytree(self.folder, self.to / str(len(self.jobs)))
                self.jobs.append(len(self.jail.jobs))
            return new

        journal._write = written


async def to_the_end(bench: Bench) -> None:
    """Steps, and time, until nothing goes on by itself."""
    for _ in range(200):
        await rest(bench)
        live = list(bench.kernel.table)
        if not any(process.state in (State.READY, State.RUNNING) or process.calls for process in live):
            return
        await asyncio.sleep(1)


SCENES: dict[str, tuple[str, dict[str, Any]]] = {
    "length": ("talk", {"max_tokens": 9}),
    "stop": ("talk", {}),
    "stop string": ("talk", {"stop": ["w7 w8"]}),
    "interactive": ("talk", {"interactive": True, "max_tokens": 9}),
    "quota": ("talk", {"interactive": True, "limits": {"max_tokens": 7}}),
    "slide": ("talk", {"context_strategy": "slide"}),
    "summarize": ("talk", {"context_strategy": "summarize"}),
    "an idempotent call": ("sum", {}),
    "a call that is not": ("work", {"paths": NO_FILES}),
    "notes": ("note", {}),
    "a child": ("child", {"max_syscalls": 8}),
}


@pytest.mark.parametrize("durability", [MIXED, POWER], ids=["mixed", "power"])
@pytest.mark.parametrize("scene", SCENES)
def test_whichever_commit_is_the_last_the_text_is_that_of_an_undisturbed_run(tmp_path, scene, durability):
    prompt, fields = SCENES[scene]
    small = {"engine": {"slots": 2, "context": 24 if fields.get("context_strategy") else 400}, **durability}

    async def main() -> None:
        (tmp_path / "first").mkdir()
        moments = Moments(tmp_path / "first", tmp_path / "copies", FakeJail(), [])
        bench = await born(tmp_path / "first", moments.jail, **small)
        moments.watch(bench)
        process = await bench.exec(prompt, on_disconnect="detach", temperature=0, **fields)
        await to_the_end(bench)
        whole, reason, generated = said(bench, 1), process.reason, process.generated
        assert whole
        assert bench.screen.text[1] == whole
        await leave(bench)
        for moment, jobs in enumerate(moments.jobs):
            jail = FakeJail()
            bench = await born(tmp_path / "copies" / str(moment), jail, **small)
            alive = [process.pid for process in bench.kernel.table]
            before = bench.kernel.recorder.journal.output_size(1)
            if 1 in alive:
                process = bench.kernel.find(ME, 1)
                await bench.kernel.attach(ME, 1, before, bench.screen)
                await to_the_end(bench)
                if "INTERRUPTED" not in context(process) and "Interrupted" not in said(bench, 1):
                    assert (process.reason, process.generated) == (reason, generated)
            assert jobs + len(jail.jobs) <= moments.jobs[-1]
            text = said(bench, 1)
            if "Interrupted" not in text:
                assert text == whole
            assert text.encode()[before:].decode() == bench.screen.text.get(1, "")
            assert_kept(bench.kernel)
            await leave(bench)

    run(main())


async def begun(tmp_path: Path, prompt: str, steps: int = 0, **fields: Any) -> tuple[Bench, int]:
    """A process that is so far, and its kernel."""
    bench = await born(tmp_path)
    fields = {"interactive": True, "on_disconnect": "detach", **fields}
    process = await bench.exec(prompt, **fields)
    if steps:
        bench.step(steps)
    else:
        await rest(bench)
    return bench, process.pid


@pytest.mark.parametrize(("fields", "ask"), [({"approve": ["*"]}, "sum"), ({}, "ask")])
def test_people_are_asked_again(tmp_path, fields, ask):
    async def main() -> None:
        bench, pid = await begun(tmp_path / "a", ask, **fields)
        wait = Wait.APPROVAL if fields else Wait.ANSWER
        assert bench.kernel.find(ME, pid).wait is wait
        bench = await reborn(bench, tmp_path / "a")
        await rest(bench)
        process = bench.kernel.find(ME, pid)
        assert process.wait is wait
        if fields:
            bench.kernel.approve(ME, pid, 1)
        else:
            bench.kernel.answer(ME, pid, "fine")
        await to_the_end(bench)
        assert context(process).split("|")[1] == ("5" if fields else "fine")
        assert process.called == 1
        await leave(bench)

    (tmp_path / "a").mkdir()
    run(main())


def test_who_waits_goes_on_waiting_and_goes_on_when_told(tmp_path):
    async def main() -> None:
        bench, pid = await begun(tmp_path, "talk", 3, max_tokens=9)
        kernel = bench.kernel
        others = await kernel.fork(ME, pid, 3, bench.screen)
        stopped, suspended, ending = (process.pid for process in others)
        await settle()
        kernel.stop_output(ME, stopped)
        kernel.suspend(ME, suspended)
        kernel.suspend(ME, ending)
        kernel.set_quota(ME, suspended, {"max_tokens": 5})
        kernel.set_priority(ME, suspended, "high", 3)
        await rest(bench)
        assert kernel.find(ME, pid).wait is Wait.INPUT
        bench = await reborn(bench, tmp_path)
        kernel = bench.kernel
        await rest(bench)
        found = {process.pid: process for process in kernel.table}
        assert found[pid].wait is Wait.INPUT
        assert found[stopped].wait is Wait.EVENT
        assert found[suspended].state is State.SUSPENDED
        assert (found[suspended].priority, found[suspended].nice) == ("high", 3)
        await kernel.send_input(ME, pid, "sum", bench.screen)
        kernel.continue_output(ME, stopped)
        kernel.resume(ME, suspended, bench.screen)
        await to_the_end(bench)
        assert said(bench, pid).endswith("So it is 5.")
        assert said(bench, stopped) == TALK.partition(" w3")[2].join([" w3", ""])[: len(said(bench, stopped))]
        assert found[suspended].reason == "quota"
        assert found[suspended].generated == 5
        await leave(bench)

    run(main())
