"""One model being served: slots, an engine that dies, and what becomes of its processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog.testing

from agentkernel.engine import port
from agentkernel.engine.scripted import ScriptedEngine
from agentkernel.errors import KernelError
from agentkernel.process import State, Wait
from tests.by_hand import ADMIN, ME, Screen, boot, die, run, settle, words


def test_more_processes_than_slots_take_turns_as_slots_come_free(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: text)
        for prompt in ("a b c", "d", "e f", "g"):
            await bench.exec(prompt)
        bench.finish()
        assert bench.screen.text == {1: "a b c", 2: "d", 3: "e f", 4: "g"}
        assert [(grant.pid, grant.slot) for grant in bench.sent(port.Grant)] == [
            (1, 0),
            (2, 1),
            (3, 1),
            (4, 0),
        ]
        assert bench.sent(port.Revoke) == []

    run(main())


def test_an_idle_holder_gives_way_and_comes_back_from_its_image(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: f"re: {text}", engine={"slots": 1})
        idle = await bench.exec("one", interactive=True)
        bench.finish()
        await bench.exec("other")
        assert bench.engine.sent[-2:] == [port.Revoke(1, keep=True), port.Grant(2, 0)]
        assert bench.kernel.models.current().evictions == 1
        bench.finish()
        await bench.kernel.send_input(ME, 1, "two", bench.screen)
        bench.finish()
        assert bench.screen.text == {1: "re: onere: two", 2: "re: other"}
        assert idle.wait is Wait.INPUT

    run(main())


def test_when_the_engine_dies_nothing_is_lost_or_said_twice(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        bench.kernel.events.subscribe(ADMIN, bench.screen)
        runs, queued = await bench.exec(max_tokens=9), await bench.exec(max_tokens=3)
        third = await bench.exec(max_tokens=2, stop=" w5")
        bench.step(2)
        bench.engine.die("signal 11")
        assert (runs.state, runs.phase) == (State.READY, "queued")
        bench.kernel.readable(1)
        await settle()
        assert len(bench.engines) == 2
        bench.finish()
        assert bench.screen.text == {1: words(9), 2: words(3), 3: words(2)}
        assert {p.state for p in (runs, queued, third)} == {State.DONE}
        died, *_, again = [event for event in bench.screen.events if event["kind"].startswith("engine")]
        assert died == {"kind": "engine_died", "model": "demo", "reason": "signal 11", "broken": False}
        assert again == {"kind": "engine_restarted", "model": "demo", "processes": 3}
        assert bench.kernel.models.current().restarts == 1

    run(main())


@pytest.mark.parametrize("after", range(6))
def test_a_death_at_any_token_of_any_turn_is_not_seen_in_the_text(tmp_path: Path, after: int) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: f"re: {text} ok", engine={"slots": 1})
        await bench.exec("one", interactive=True)
        for _ in range(after):
            bench.step()
        await die(bench)
        bench.finish()
        await bench.kernel.send_input(ME, 1, "two", bench.screen)
        for _ in range(after):
            bench.step()
        await die(bench)
        bench.finish()
        assert bench.screen.text[1] == "re: one okre: two ok"

    run(main())


def test_a_death_in_a_turn_that_went_beyond_its_limit_is_not_seen_in_the_text(tmp_path: Path) -> None:
    """What began a stop string was said at the limit; with what follows it is none."""

    async def main() -> None:
        bench = await boot(tmp_path)
        await bench.exec(interactive=True, max_tokens=3, stop=" w2 w3")
        bench.finish()
        assert bench.screen.text[1] == words(3)
        bench.kernel.continue_output(ME, 1)
        bench.step(2)
        await die(bench)
        bench.finish()
        assert bench.screen.text[1] == words(6)

    run(main())


def test_waiting_and_suspended_processes_survive_a_death_as_they_were(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 4})
        stopped, sleeps = await bench.exec(max_tokens=4), await bench.exec(max_tokens=4)
        slow = Screen()
        slow.full = True
        behind = await bench.exec(sink=slow, max_tokens=4)
        turned = await bench.exec(interactive=True, max_tokens=1)
        bench.step()
        bench.kernel.stop_output(ME, 1)
        bench.kernel.suspend(ME, 2)
        before = [(p.state, p.wait) for p in (stopped, sleeps, behind, turned)]
        await die(bench)
        bench.step(2)
        assert [(p.state, p.wait) for p in (stopped, sleeps, behind, turned)] == before
        bench.kernel.continue_output(ME, 1)
        bench.kernel.resume(ME, 2, None)
        slow.full = False
        bench.kernel.readable(3)
        bench.kernel.continue_output(ME, 4)
        bench.finish()
        assert bench.screen.text == {1: words(4), 2: words(4), 4: words(2)}
        assert slow.text == {3: words(4)}

    run(main())


def test_what_was_changed_while_the_engine_was_down_holds(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 4})
        for _ in range(4):
            await bench.exec(max_tokens=5)
        bench.step(2)
        bench.engine.die()
        bench.kernel.set_quota(ME, 1, {"max_tokens": 4})
        bench.kernel.kill(ME, 2)
        bench.kernel.suspend(ME, 3)
        bench.kernel.term(ME, 4)
        await settle()
        bench.finish()
        assert bench.screen.text == {1: words(4), 2: words(2), 3: words(2), 4: words(5)}
        assert bench.kernel.table.find(4).reason in ("terminated", "length")
        assert set(bench.screen.ends) == {1, 2, 4}

    run(main())


def test_three_deaths_in_a_minute_break_the_model(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 1})
        bench.kernel.events.subscribe(ADMIN, bench.screen)
        processes = [await bench.exec() for _ in range(3)]
        bench.kernel.suspend(ME, 3)
        for _ in range(2):
            await die(bench)
            assert {process.state.ended for process in processes} == {False}
            await asyncio.sleep(25)
        await die(bench)
        assert {(p.state, p.reason) for p in processes} == {(State.FAILED, "engine_failed")}
        assert set(bench.screen.ends) == {1, 2, 3}
        assert bench.screen.events[-4]["broken"] is True
        assert repr(bench.kernel.models.current()) == "<Served demo broken processes=0>"
        with pytest.raises(KernelError, match="ENGINE_FAILED"):
            await bench.exec()
        assert len(bench.engines) == 3

    run(main())


def test_three_deaths_in_more_than_a_minute_do_not(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec()
        for _ in range(6):
            await die(bench)
            await asyncio.sleep(31)
        bench.step(3)
        assert (process.state, bench.screen.text[1]) == (State.RUNNING, words(3))

    run(main())


def test_a_broken_model_can_be_loaded_again(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        for _ in range(3):
            await die(bench)
        await bench.kernel.models.load("demo")
        await bench.exec(max_tokens=2)
        bench.finish()
        assert bench.screen.text == {1: words(2)}

    run(main())


class Forgetful(ScriptedEngine):
    """Does not take process 2 back."""

    async def open(self, request):
        if request.pid == 2 and getattr(request, "tokens", None):
            raise KernelError("MEMORY_ADMISSION", "too long now")
        return await super().open(request)


def test_a_process_that_a_new_engine_refuses_fails_alone(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, make=lambda script: Forgetful(script, auto=False))
        processes = [await bench.exec(max_tokens=3) for _ in range(3)]
        bench.step()
        await die(bench)
        bench.finish()
        assert [process.reason for process in processes] == ["length", "engine_failed", "length"]
        assert bench.screen.text == {1: words(3), 2: words(1), 3: words(3)}

    run(main())


def test_a_death_gives_a_terminated_process_no_more_grace(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, limits={"term_grace_tokens": 4})
        process = await bench.exec()
        bench.step(2)
        bench.kernel.term(ME, 1)
        bench.step()
        await die(bench)
        bench.finish()
        assert process.state is State.TERMINATED
        assert bench.screen.text[1] == words(2 + 4)

    run(main())


class Poisoned(ScriptedEngine):
    """Dies of a prompt that says so, before it answers."""

    async def open(self, request: port.Open | port.Append) -> list[int]:
        if isinstance(request, port.Open) and request.prompt == "poison":
            asyncio.get_running_loop().call_soon(self.die)
            await asyncio.sleep(0)
            raise KernelError("ENGINE_FAILED", "the engine ended")
        return await super().open(request)


def test_a_request_that_kills_engines_fails_alone_however_often_it_comes(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, make=lambda script: Poisoned(script, auto=False))
        neighbour = await bench.exec(max_tokens=5)
        for _ in range(3):
            with pytest.raises(KernelError, match="ENGINE_FAILED"):
                await bench.exec("poison")
            await settle()
        assert len(bench.engines) == 1 + 3 * 2
        bench.finish()
        assert (neighbour.reason, bench.screen.text[1]) == ("length", words(5))

    run(main())


def test_when_nothing_runs_the_books_are_checked(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        served = bench.kernel.models.current()
        for leak in (False, True):
            await bench.exec(max_tokens=1)
            if leak:
                served.scheduler._free.clear()
            with structlog.testing.capture_logs() as logs:
                bench.finish()
            wrong = [entry["error"] for entry in logs if entry["event"] == "the books are wrong"]
            assert wrong == (["slots leaked: held [], free [0]"] if leak else [])

    run(main())


def test_what_moving_its_context_takes_is_time_of_its_own_and_all_adds_up(tmp_path: Path) -> None:
    """No more is counted than has passed since the phase began."""

    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(max_tokens=50)
        bench.step(2)
        await asyncio.sleep(3)
        engine = bench.engine
        engine.on_paged(port.Paged(process.pid, "in", 5, 100, 2000.0))
        now = bench.kernel.clock()
        assert process.times(now) == {"queued": 0, "prefill": 0, "decode": 1, "swap": 2}
        await asyncio.sleep(1)
        engine.on_paged(port.Paged(process.pid, "disk-in", 5, 100, 9000.0))
        engine.on_paged(port.Paged(99, "out", 5, 100, 9000.0))
        now = bench.kernel.clock()
        assert process.times(now) == {"queued": 0, "prefill": 0, "decode": 1, "swap": 3}
        assert sum(process.times(now).values()) == process.elapsed(now) == 4

    run(main())
