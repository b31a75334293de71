"""What is asked of a model whose engine is down: it waits for the next engine, or is told that none comes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.engine.scripted import ScriptedEngine
from agentkernel.errors import KernelError
from agentkernel.process import State
from tests.by_hand import ME, Bench, Gated, boot, die, run, settle, words


class SlowStart(ScriptedEngine):
    """Comes up once the gate is open, or does not."""

    gate: asyncio.Event
    fails = False

    async def start(self, load, on_progress):
        await self.gate.wait()
        if self.fails:
            raise KernelError("LOAD_FAILED", "no")
        return await super().start(load, on_progress)


class Unhurried(Gated):
    """Takes a few rounds of the loop to come up."""

    async def start(self, load, on_progress):
        await settle()
        return await super().start(load, on_progress)


async def down(tmp_path: Path, *, for_good: bool = False) -> tuple[Bench, asyncio.Event]:
    """A kernel whose engine has died while process 1 waited for input, and the gate for the next."""
    made: list[SlowStart] = []
    gate = asyncio.Event()
    gate.set()

    def make(script) -> SlowStart:
        engine = SlowStart(script, auto=False)
        engine.gate, engine.fails = gate, for_good and bool(made)
        made.append(engine)
        return engine

    bench = await boot(tmp_path, make=make)
    await bench.exec(interactive=True, max_tokens=2)
    bench.finish()
    gate.clear()
    await die(bench)
    return bench, gate


def test_an_exec_while_the_engine_is_down_waits_for_the_next_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench, gate = await down(tmp_path)
        asked = asyncio.ensure_future(bench.exec(max_tokens=3))
        await settle()
        assert not asked.done()
        gate.set()
        process = await asked
        bench.finish()
        assert bench.screen.text[process.pid] == words(3)

    run(main())


def test_input_while_the_engine_is_down_waits_for_the_next_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench, gate = await down(tmp_path)
        asked = asyncio.ensure_future(bench.kernel.send_input(ME, 1, "more", bench.screen))
        await settle()
        gate.set()
        await asked
        bench.finish()
        assert bench.screen.text[1] == words(2) * 2

    run(main())


def test_input_to_a_process_that_is_killed_meanwhile_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        bench, gate = await down(tmp_path)
        asked = asyncio.ensure_future(bench.kernel.send_input(ME, 1, "more", bench.screen))
        await settle()
        bench.kernel.kill(ME, 1)
        gate.set()
        with pytest.raises(KernelError, match="PID_NOT_FOUND"):
            await asked

    run(main())


def test_who_waits_for_an_engine_while_the_kernel_stops_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        bench, _ = await down(tmp_path)
        asked = asyncio.ensure_future(bench.exec())
        await settle()
        await bench.kernel.drain(0)
        with pytest.raises(KernelError, match="SHUTTING_DOWN"):
            await asked
        assert len(bench.kernel.table) == 0

    run(main())


def test_an_exec_or_input_that_was_under_way_when_the_engine_died_is_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        gate.set()

        class DiesAsking(ScriptedEngine):
            async def open(self, request):
                await gate.wait()
                return await super().open(request)

        bench = await boot(tmp_path, make=lambda script: DiesAsking(script, auto=False))
        await bench.exec(interactive=True, max_tokens=2)
        bench.finish()
        gate.clear()
        started = asyncio.ensure_future(bench.exec(max_tokens=3))
        turned = asyncio.ensure_future(bench.kernel.send_input(ME, 1, "more", bench.screen))
        await settle()
        bench.engine.die()
        await settle()
        gate.set()
        await asyncio.gather(started, turned)
        bench.finish()
        assert bench.screen.text == {1: words(2) * 2, 2: words(3)}

    run(main())


def test_who_waits_for_a_model_that_breaks_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        bench, gate = await down(tmp_path, for_good=True)
        asked = asyncio.ensure_future(bench.exec())
        await settle()
        gate.set()
        with pytest.raises(KernelError, match="ENGINE_FAILED"):
            await asked
        assert bench.kernel.models.current().users == 0

    run(main())


def test_an_engine_that_does_not_come_up_again_is_a_death(tmp_path: Path) -> None:
    async def main() -> None:
        bench, gate = await down(tmp_path, for_good=True)
        gate.set()
        await settle()
        process = bench.kernel.find(ME, 1)
        assert (process.state, process.reason, len(bench.engines)) == (State.FAILED, "engine_failed", 3)

    run(main())


def test_an_engine_that_dies_once_it_has_taken_every_process_is_followed_by_another(tmp_path: Path) -> None:
    """Before the kernel has come to letting them run there."""

    async def main() -> None:
        bench = await boot(tmp_path, make=Unhurried)
        process = await bench.exec(max_tokens=3)
        bench.engine.die()
        await asyncio.sleep(0)
        bench.engine.gate.clear()
        await settle()
        await settle()
        bench.engine.gate.set()
        await die(bench)
        await settle()
        bench.finish()
        assert (process.state, bench.screen.text) == (State.DONE, {1: words(3)})
        assert (len(bench.engines), bench.kernel.models.current().restarts) == (3, 1)

    run(main())
