"""Deadlines of processes, on a clock that moves only when nothing else can happen."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentkernel.errors import KernelError
from agentkernel.plan import Deadlines
from agentkernel.process import Process, State
from agentkernel.report import process_status, why
from tests.by_hand import ME, Bench, boot, run, settle, words
from tests.test_recovery import born, leave, reborn


def echo(text: str) -> str:
    return text


def measured(bench: Bench, prompt_ms: float = 1.0, step_ms: float = 10.0) -> None:
    """The model's rates are known."""
    rates = bench.kernel.models.current().paging.pager.rates
    rates.prefill.value, rates.step.value = prompt_ms, step_ms


async def one(folder: Path, **fields: Any) -> tuple[Bench, Process]:
    """A kernel with one process, whose events are shown."""
    bench = await boot(folder)
    bench.kernel.events.subscribe(ME, bench.screen)
    return bench, await bench.exec(**fields)


def shown(bench: Bench, process: Process) -> dict[str, Any]:
    return process_status(bench.kernel, process).data


def missed(bench: Bench) -> list[str]:
    return [event["deadline"] for event in bench.screen.events if event["kind"] == "deadline_missed"]


def test_the_earliest_deadline_has_the_next_slot_and_none_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, echo, engine={"slots": 1})
        await bench.exec("a")
        for deadline in ({}, {"deadline_ms": 9000}, {"ttft_ms": 8000}, {"deadline_ms": 7000}):
            await bench.exec("b", **deadline)
        bench.finish()
        assert list(bench.screen.ends) == [1, 5, 4, 3, 2]

    run(main())


def test_a_first_token_meets_its_deadline_and_is_no_reason_to_go_first_any_more(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 1}, scheduler={"quantum": 1})
        first = await bench.exec(ttft_ms=5000, deadline_ms=60_000)
        await bench.exec(deadline_ms=30_000)
        bench.step(1)
        assert first.generated == 1
        bench.step(1)
        assert bench.kernel.find(ME, 2).state is State.RUNNING
        assert shown(bench, first)["deadline_left_ms"] == 60_000

    run(main())


def test_a_deadline_that_is_missed_is_told_once_and_ends_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await one(tmp_path, ttft_ms=2000, deadline_ms=5000)
        await asyncio.sleep(1.9)
        assert (missed(bench), shown(bench, process)["deadline_left_ms"]) == ([], 100)
        await asyncio.sleep(0.2)
        assert missed(bench) == ["ttft_ms"]
        await asyncio.sleep(10)
        assert missed(bench) == ["ttft_ms", "deadline_ms"]
        data = shown(bench, process)
        assert (data["missed"], data["deadline_left_ms"]) == ("ttft_ms,deadline_ms", None)
        assert "ttft_ms and deadline_ms missed" in why(bench.kernel, process).text
        bench.step(3)
        assert bench.screen.text[1] == words(3)

    run(main())


def test_an_answer_in_time_misses_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await one(tmp_path, ttft_ms=2000, deadline_ms=5000, max_tokens=3)
        await asyncio.sleep(1)
        bench.step(1)
        await asyncio.sleep(3)
        bench.step(2)
        assert process.state is State.DONE
        await asyncio.sleep(60)
        assert missed(bench) == []

    run(main())


def test_each_turn_of_a_conversation_has_its_own_deadline(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await one(tmp_path, deadline_ms=5000, max_tokens=3, interactive=True)
        bench.step(3)
        await asyncio.sleep(60)
        assert missed(bench) == []
        assert shown(bench, process)["deadline_left_ms"] is None
        await bench.kernel.send_input(ME, 1, "more", bench.screen)
        assert shown(bench, process)["deadline_left_ms"] == 5000
        assert "deadline in 5000 ms" in why(bench.kernel, process).text
        await asyncio.sleep(6)
        assert missed(bench) == ["deadline_ms"]
        bench.step(3)
        await bench.kernel.send_input(ME, 1, "more", bench.screen)
        assert process.missed == ()

    run(main())


@pytest.mark.parametrize("what", ["runs", "waits", "is suspended", "says nothing"])
def test_its_wall_time_ends_a_process_whatever_it_does(tmp_path: Path, what: str) -> None:
    async def main() -> None:
        bench, process = await one(tmp_path, max_wall_ms=5000, interactive=True, max_tokens=3)
        if what == "waits":
            bench.step(3)
        elif what == "runs":
            bench.step(1)
        elif what == "is suspended":
            bench.kernel.suspend(ME, 1)
        await asyncio.sleep(4.9)
        assert shown(bench, process)["wall_left_ms"] == 100
        assert "end in 100 ms" in why(bench.kernel, process).text
        await asyncio.sleep(0.2)
        assert (process.state, process.reason) == (State.TERMINATED, "deadline")
        assert process.elapsed(0.0) == pytest.approx(5, abs=0.01)
        assert 1 in bench.screen.ends

    run(main())


def test_time_without_a_kernel_does_not_count(tmp_path: Path) -> None:
    """What is left of its wall time, and of its deadline, is what was left; what was missed is not again."""

    async def main() -> None:
        bench = await born(tmp_path)
        await bench.exec("talk", ttft_ms=1000, deadline_ms=8000, max_wall_ms=10_000, on_disconnect="detach")
        await asyncio.sleep(4)
        await leave(bench)
        await asyncio.sleep(1000)
        bench = await born(tmp_path)
        bench.kernel.events.subscribe(ME, bench.screen)
        process = bench.kernel.find(ME, 1)
        data = shown(bench, process)
        assert (data["missed"], data["deadline_left_ms"], data["wall_left_ms"]) == ("ttft_ms", 4000, 6000)
        await asyncio.sleep(5)
        assert missed(bench) == ["deadline_ms"]
        await asyncio.sleep(1.1)
        assert process.reason == "deadline"
        await leave(bench)

    run(main())


def test_a_crash_takes_at_most_some_seconds_from_the_age_of_one_with_deadlines(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path / "a")
        await bench.exec("talk", max_wall_ms=60_000, on_disconnect="detach")
        await asyncio.sleep(32)
        bench = await reborn(bench, tmp_path / "a")
        assert 28_000 <= shown(bench, bench.kernel.find(ME, 1))["wall_left_ms"] <= 33_000
        await leave(bench)

    (tmp_path / "a").mkdir()
    run(main())


def test_children_of_a_fork_have_the_same_deadlines_from_their_beginning_on(tmp_path: Path) -> None:
    async def main() -> None:
        bench, process = await one(tmp_path, deadline_ms=5000, max_wall_ms=9000)
        bench.step(1)
        await asyncio.sleep(2)
        (child,) = await bench.kernel.fork(ME, 1, 1, bench.screen)
        assert child.deadlines == process.deadlines == Deadlines(5000, 0, 9000)
        assert shown(bench, child)["deadline_left_ms"] == 5000
        await asyncio.sleep(7.5)
        assert (process.reason, child.state.ended) == ("deadline", False)

    run(main())


def test_a_child_that_is_called_has_what_is_left_of_its_parents(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        parent = await bench.exec("child", deadline_ms=5000, ttft_ms=100, max_wall_ms=9000)
        await asyncio.sleep(2)
        for _ in range(60):
            bench.engine.step()
            await settle()
            if len(bench.kernel.table) == 2:
                break
        (child,) = (process for process in bench.kernel.table if process is not parent)
        assert child.deadlines == Deadlines(deadline_ms=3000, max_wall_ms=7000)
        await asyncio.sleep(7.1)
        assert parent.reason == child.reason == "deadline"
        await leave(bench)

    run(main())


async def refused(bench: Bench, **fields: Any) -> KernelError:
    with pytest.raises(KernelError) as caught:
        await bench.exec("ten tokens", **fields)
    await settle()
    return caught.value


def test_what_cannot_be_done_in_time_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 1})
        measured(bench)
        error = await refused(bench, deadline_ms=509, max_tokens=50, key="k")
        assert (error.code, error.details) == ("DEADLINE_UNREACHABLE", {"estimate_ms": 510})
        error = await refused(bench, ttft_ms=9)
        assert error.details == {"estimate_ms": 10}
        served = bench.kernel.models.current()
        assert (len(bench.kernel.table), served.users, len(bench.screen.ends)) == (0, 0, 0)
        assert bench.kernel.accounts.of(ME.name).live == 0
        served.scheduler.check_integrity()
        await bench.exec("ten tokens", deadline_ms=510, ttft_ms=10, max_tokens=50, key="k")
        error = await refused(bench, ttft_ms=100)  # a quantum, and the prompt that is being read, come first
        assert error.details == {"estimate_ms": 10 + 32 * 10 + 10 + 10}
        await bench.exec("ten tokens", ttft_ms=350)
        error = await refused(bench, ttft_ms=350)  # who has the same deadline, and came before, goes first

    run(main())


def test_what_was_not_measured_refuses_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        await bench.exec(deadline_ms=1, ttft_ms=1)

    run(main())


def test_rates_are_measured_of_prompts_and_of_steps_without(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        await bench.exec()
        rates = bench.kernel.models.current().paging.pager.rates
        bench.step(1)
        assert (rates.prefill.value is None, rates.step.value is None) == (False, True)
        bench.step(1)
        assert rates.step.value is not None

    run(main())
