"""Output that can't be given out yet: nobody sees it, however they ask, and all of it comes once it can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from agentkernel.process import Process, State
from tests.by_hand import ME, Bench, Screen, run, settle, words
from tests.kept import MIXED, POWER, no_room, not_synced
from tests.test_recovery import born, leave, to_the_end

Meanwhile = Callable[[Bench], AbstractContextManager[None]]
SEEN, SAID = words(3), words(7)

pytestmark = pytest.mark.parametrize(
    ("settings", "meanwhile"), [(MIXED, no_room), (POWER, not_synced)], ids=["full", "power"]
)


async def speaking(folder: Path, settings: dict[str, object], **fields: object) -> tuple[Bench, Process]:
    """A process of which three words were seen."""
    bench = await born(folder, **settings)
    bench.kernel.events.subscribe(ME, bench.screen)
    process = await bench.exec("talk", on_disconnect="detach", **fields)
    bench.step(3)
    await settle()
    assert bench.screen.text == {1: SEEN}
    return bench, process


def ended(screen: Screen, text: str) -> bool:
    """It has got this and then the marker; `Screen` sees to that there is no gap, and nothing twice."""
    return screen.text == {1: text} and screen.ends.keys() == {1}


def test_neither_logs_nor_attach_tells_of_it(tmp_path, settings, meanwhile):
    async def main() -> None:
        bench, process = await speaking(tmp_path, settings)
        others = [Screen(), Screen()]
        with meanwhile(bench):
            bench.step(4)
            await settle()
            assert process.generated == 7
            assert bench.kernel.logs(ME, 1, 0, None) == (SEEN.encode(), len(SEEN))
            assert bench.kernel.logs(ME, 1, 3, 99) == (SEEN.encode()[3:], len(SEEN))
            _, _, size = await bench.kernel.attach(ME, 1, 0, others[0])
            _, start, _ = await bench.kernel.attach(ME, 1, None, others[1])
            assert (size, start) == (len(SEEN), len(SEEN))
            await settle()
            assert [screen.text for screen in (bench.screen, *others)] == [{1: SEEN}, {1: SEEN}, {}]
        await asyncio.sleep(1)
        rest = SAID.removeprefix(SEEN)
        assert [screen.text for screen in (bench.screen, *others)] == [{1: SAID}, {1: SAID}, {1: rest}]
        assert bench.kernel.logs(ME, 1, 0, None) == (SAID.encode(), len(SAID))
        await to_the_end(bench)
        await leave(bench)

    run(main())


def test_who_attaches_to_what_has_ended_gets_all_of_it_and_then_the_marker(tmp_path, settings, meanwhile):
    async def main() -> None:
        bench, _ = await speaking(tmp_path, settings)
        before, late = Screen(), Screen()
        await bench.kernel.attach(ME, 1, 0, before)
        await settle()
        with meanwhile(bench):
            bench.step(4)
            bench.kernel.kill(ME, 1)
            await bench.kernel.attach(ME, 1, 0, late)
            waiting = asyncio.ensure_future(bench.kernel.wait(ME, 1, None))
            await settle()
            assert (before.text, late.text) == ({1: SEEN}, {1: SEEN})
            assert before.ends == late.ends == bench.screen.ends == {}
            assert not waiting.done()
            assert "session_finished" not in bench.screen.kinds()
        await asyncio.sleep(1)
        assert ended(before, SAID)
        assert ended(late, SAID)
        assert ended(bench.screen, SEEN)  # what was not sent of a process that is killed is dropped
        assert (await waiting).state is State.KILLED
        assert bench.screen.kinds().count("session_finished") == 1
        await leave(bench)

    run(main())


def test_who_is_ended_otherwise_than_by_kill_is_read_to_its_end(tmp_path, settings, meanwhile):
    async def main() -> None:
        bench, process = await speaking(tmp_path, settings)
        with meanwhile(bench):
            bench.step(4)
            bench.kernel.set_quota(ME, 1, {"max_tokens": 5})
            assert process.reason == "quota"
            await settle()
            assert bench.screen.text == {1: SEEN}
            assert bench.screen.ends == {}
        await asyncio.sleep(1)
        assert ended(bench.screen, SAID)
        await leave(bench)

    run(main())


def test_whom_a_process_was_taken_from_reads_on(tmp_path, settings, meanwhile):
    async def main() -> None:
        bench, _ = await speaking(tmp_path, settings)
        taker = Screen()
        with meanwhile(bench):
            bench.step(1)
            taking = asyncio.ensure_future(bench.kernel.attach(ME, 1, 0, taker, take=True))
            await settle()
            bench.step(3)
        await asyncio.gather(taking, return_exceptions=True)
        await asyncio.sleep(1)
        assert bench.screen.text == {1: SAID}
        assert taker.text == ({} if meanwhile is no_room else {1: SAID})  # a full disk refuses it
        await to_the_end(bench)
        assert bench.screen.ends.keys() == {1}
        await leave(bench)

    run(main())
