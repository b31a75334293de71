"""Lanes and those who wait for them, by a kernel whose engine steps when told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentkernel.errors import KernelError
from agentkernel.process import Owner, Process
from agentkernel.report import kernel_status, process_status, why
from agentkernel.request import ExecRequest
from tests.by_hand import ADMIN, ME, OTHER, Bench, Gated, Screen, boot, die, run, settle
from tests.test_kernel_deadlines import measured

ONE = {"engine": {"slots": 1}, "limits": {"queued": 1, "queued_batch": 1, "waiting": 3}}


async def crowded(folder: Path, **settings: Any) -> Bench:
    """A kernel whose slot and lane `interactive` are full."""
    bench = await boot(folder, **{**ONE, **settings})
    await bench.exec("first", max_tokens=2)
    await bench.exec("second", max_tokens=2)
    return bench


def ask(
    bench: Bench, prompt: str = "x", owner: Owner = ME, sink: Screen | None = None, **fields: Any
) -> asyncio.Task[Process]:
    """An EXEC that waits if it must."""
    fields = {"prompt": prompt, "wait": True, "max_tokens": 2, **fields}
    request = msgspec.convert(fields, ExecRequest)
    return asyncio.ensure_future(bench.kernel.exec(owner, request, sink or bench.screen))


async def refused(asked: Any) -> KernelError:
    with pytest.raises(KernelError) as caught:
        await asked
    return caught.value


def told(screen: Screen) -> list[tuple[int, int, int | None]]:
    """The places that were told of: PID, place, estimate."""
    return [(e["pid"], e["position"], e["estimate_ms"]) for e in screen.events if e["kind"] == "queued"]


def test_each_lane_is_full_by_itself_and_weighs_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        await bench.exec("third", lane="batch", max_tokens=2)
        error = await refused(bench.exec(lane="batch"))
        assert (error.code, error.details["queued"], error.details["position"]) == ("BUSY", 1, 2)
        await bench.exec("fourth", lane="background", max_tokens=2)
        assert (await refused(bench.exec())).code == "BUSY"
        bench.finish()
        assert list(bench.screen.ends) == [1, 2, 3, 4]

    run(main())


def test_a_refusal_says_how_long_it_takes_by_what_was_measured(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        measured(bench, prompt_ms=1, step_ms=10)
        bench.engine.sent.clear()
        error = await refused(bench.exec())
        turn = 5 * 1 + 2 * 10  # the prompt of the one that runs, and its answer, which is less than a quantum
        expected = {"queued": 1, "position": 2, "estimate_ms": 2 * turn, "retry_after_ms": turn}
        assert error.details == expected
        shown = f"1 processes wait for a slot: position=2 estimate_ms={2 * turn} retry_after_ms={turn}"
        assert error.message == shown

    run(main())


def test_who_waits_is_answered_when_there_is_room_in_the_order_of_coming(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        asked = [ask(bench) for _ in range(3)]
        await settle()
        assert not any(each.done() for each in asked)
        bench.step(2)
        await settle()
        assert [each.done() for each in asked] == [True, False, False]
        assert bench.kernel.models.current().scheduler.queued("interactive") == 1
        for _ in range(8):
            bench.step()
            await settle()
        assert [each.result().pid for each in asked] == [3, 4, 5]
        assert list(bench.screen.ends) == [1, 2, 3, 4, 5]

    run(main())


def test_owners_take_turns_and_nobody_overtakes_who_waits(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        first, second = ask(bench), ask(bench)
        await settle()
        third = ask(bench, owner=OTHER)
        await settle()
        bench.step(2)
        assert (await refused(bench.exec())).code == "BUSY"  # before those who wait have taken the room
        for expected in (first, third, second):
            await settle()
            assert expected.done()
            bench.step(2)

    run(main())


def test_places_are_told_as_they_change_to_their_owners_and_administrators(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        mine, theirs, everybodys = Screen(), Screen(), Screen()
        for owner, screen in ((ME, mine), (OTHER, theirs), (ADMIN, everybodys)):
            bench.kernel.events.subscribe(owner, screen)
        asked = [ask(bench, owner=owner) for owner in (ME, OTHER, ME)]
        await settle()
        assert told(mine) == [(3, 1, None), (5, 3, None)]
        assert told(theirs) == [(4, 2, None)]
        assert len(told(everybodys)) == 3
        measured(bench, step_ms=10)
        bench.step(2)
        measured(bench, prompt_ms=1, step_ms=10)
        await settle()
        assert told(theirs)[1:] == [(4, 1, 26)]
        assert told(mine)[2:] == [(5, 2, 52)]
        assert all(event["lane"] == "interactive" for event in mine.events if event["kind"] == "queued")
        bench.kernel.kill(ADMIN, 2)
        bench.kernel.kill(ADMIN, 3)  # two places at once: one event
        await settle()
        assert [each.done() for each in asked] == [True, True, True]
        assert len(told(mine)) == 3

    run(main())


def test_who_is_gone_waits_no_more_and_the_others_move_up(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        bench.kernel.events.subscribe(ADMIN, bench.screen)
        leaving = Screen()
        gone, stays = ask(bench, sink=leaving), ask(bench)
        await settle()
        bench.kernel.disconnected(leaving)
        await settle()
        assert gone.cancelled()
        assert told(bench.screen)[-1] == (4, 1, None)
        assert len(bench.kernel.table._promised) == 1
        bench.step(2)
        await settle()
        assert stays.result().pid == 4

    run(main())


def test_so_many_wait_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        waiting = [ask(bench) for _ in range(3)]
        await settle()
        error = await refused(bench.exec(wait=True))
        assert (error.code, error.details["position"]) == ("BUSY", 5)
        batch = ask(bench, lane="batch")
        await settle()
        assert batch.done()
        lanes = kernel_status(bench.kernel, ADMIN).data["lanes"]
        assert (lanes["waiting_interactive"], lanes["queued_interactive"]) == (3, 1)
        assert (lanes["waiting_batch"], lanes["queued_batch"]) == (0, 1)
        for each in waiting:
            each.cancel()
        await settle()
        assert kernel_status(bench.kernel, ADMIN).data["lanes"]["waiting_interactive"] == 0

    run(main())


def test_a_key_that_waits_is_under_way(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        first = ask(bench, key="k")
        await settle()
        assert (await refused(bench.exec(key="k", wait=True))).message == "an EXEC with that key is under way"
        first.cancel()
        await settle()
        again = ask(bench, key="k")
        bench.step(2)
        await settle()
        assert again.done()

    run(main())


@pytest.mark.parametrize("free", [0, 2])
def test_however_many_come_at_once_no_more_are_let_in_than_have_room(tmp_path: Path, free: int) -> None:
    """While the engine is asked of the first; with slots free they need no place in the queue."""

    async def main() -> None:
        slots = {"engine": {"slots": free or 1}, "limits": {"queued": 1, "waiting": 9}}
        bench = await boot(tmp_path, make=Gated, **slots)
        if not free:
            await bench.exec("first")
        bench.engine.gate.clear()
        asked = [ask(bench, wait=False) for _ in range(9)]
        patient = ask(bench)
        await settle()
        assert sum(each.done() for each in asked) == 9 - free - 1
        bench.engine.gate.set()
        await settle()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(each, Process) for each in answers] == [True] * (free + 1) + [False] * (8 - free)
        assert not patient.done()
        bench.kernel.kill(ME, 1)
        await settle()
        assert patient.done()

    run(main())


def test_one_that_is_refused_for_another_reason_leaves_its_place(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path, engine={"slots": 1, "context": 64})
        wrong, right = ask(bench, "x" * 100), ask(bench)
        await settle()
        bench.step(2)
        await settle()
        assert (await refused(wrong)).code == "MEMORY_ADMISSION"
        assert right.done()

    run(main())


@pytest.mark.parametrize("code", ["ENGINE_FAILED", "SHUTTING_DOWN"])
def test_what_waits_while_the_kernel_stops_or_the_model_breaks_is_refused(tmp_path: Path, code: str) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        waiting = ask(bench)
        await settle()
        if code == "SHUTTING_DOWN":
            await bench.kernel.drain(0)
        else:
            for _ in range(3):
                await die(bench)
        assert (await refused(waiting)).code == code

    run(main())


def test_time_that_was_waited_counts_for_deadlines_and_age(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        late, hasty = ask(bench, deadline_ms=9000), ask(bench, ttft_ms=3000)
        await asyncio.sleep(4)
        measured(bench, step_ms=1)
        bench.step(2)
        await settle()
        data = process_status(bench.kernel, late.result()).data
        assert (data["deadline_left_ms"], data["elapsed_secs"]) == (5000, 4)
        bench.step(2)
        await settle()
        assert (await refused(hasty)).code == "DEADLINE_UNREACHABLE"

    run(main())


def test_status_and_why_say_its_place_in_all_and_in_its_lane_and_how_long_it_takes(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        process = await bench.exec("third", lane="batch")
        assert why(bench.kernel, process).text.endswith(
            "waits for a slot: place 2 of 2, 1 slots are taken, place 1 of 1 in lane batch"
        )
        measured(bench, prompt_ms=1, step_ms=10)
        data = process_status(bench.kernel, process).data
        assert (data["lane"], data["queue_position"], data["lane_position"]) == ("batch", 2, 1)
        assert data["estimate_ms"] == 2 * 25
        assert why(bench.kernel, process).text.endswith("in lane batch, about 50 ms")
        running = process_status(bench.kernel, bench.kernel.find(ME, 1)).data
        assert (running["queue_position"], running["lane_position"], running["estimate_ms"]) == (0, 0, None)

    run(main())


def test_its_repr_shows_its_load(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await crowded(tmp_path)
        waiting = ask(bench, owner=Owner(9, "x"))
        await settle()
        assert repr(bench.kernel.admission) == "<Admission waiting=1>"
        waiting.cancel()
        await settle()
        assert repr(bench.kernel.admission) == "<Admission waiting=0>"

    run(main())
