"""Several models when things happen at once: turns of many, deaths and unloading amid moves, recovery."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from agentkernel import models
from agentkernel.engine.scripted import ScriptedEngine
from agentkernel.errors import KernelError
from agentkernel.process import Process
from tests.by_hand import ME, Bench, boot, die, run, settle
from tests.gguf_files import write_model
from tests.test_several_models import SCORES, asking, engine_of, finish, inside, short


class Lifelike(ScriptedEngine):
    """Takes `starting` and `stopping` seconds; one that is still to be spawned can't be stopped."""

    starting = stopping = 0.0

    def __init__(self, script) -> None:
        super().__init__(script, auto=False)

    async def start(self, load, on_progress):
        await asyncio.sleep(self.starting)
        return await super().start(load, on_progress)

    async def stop(self) -> None:
        await asyncio.sleep(self.stopping)
        await super().stop()


@pytest.fixture
def lifelike(monkeypatch) -> type[Lifelike]:
    """Engines of that kind, as fast as any other until told."""
    monkeypatch.setattr(Lifelike, "starting", 0.0)
    monkeypatch.setattr(Lifelike, "stopping", 0.0)
    return Lifelike


def alive(bench: Bench) -> list[ScriptedEngine]:
    return [engine for engine in bench.engines if repr(engine) != "<ScriptedEngine dead>"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of the models `demo`, `big` and `third`, which differ by their names."""
    for name in ("demo", "big", "third"):
        write_model(tmp_path / f"{name}.gguf", general__name=name)
    return tmp_path


def test_of_three_models_for_one_place_none_is_passed_over(folder: Path) -> None:
    async def main() -> None:
        bench = await short(folder)
        await bench.exec(max_tokens=1000)
        await asyncio.sleep(1)
        for name in ("big", "third"):
            asked = await asking(bench, name, max_tokens=1000)
            while not asked.done():  # noqa: ASYNC110 - the clock jumps to where its turn begins
                await asyncio.sleep(1)
        turns: list[str] = []
        for _ in range(200):
            turns += inside(bench) - set(turns[-1:])
            await asyncio.sleep(1)
        assert len(set(turns[:3])) == 3
        assert turns[3:9] == turns[:3] * 2

    run(main())


@pytest.mark.parametrize("what", ["leaves", "is unloaded"])
def test_an_engine_that_dies_while_its_model_goes_has_no_successor(folder, lifelike, what) -> None:
    async def main() -> None:
        bench = await boot(folder, make=lifelike)
        served = bench.kernel.models.current()
        await die(bench)
        lifelike.starting = 1.0
        goes = served.leave() if what == "leaves" else bench.kernel.models.unload("demo")
        going = asyncio.ensure_future(goes)
        await asyncio.sleep(0)
        bench.engine.die()
        await going
        await asyncio.sleep(5)
        assert alive(bench) == []

    run(main())


def test_a_model_enters_though_those_that_were_to_leave_for_it_are_unloaded(folder, lifelike) -> None:
    async def main() -> None:
        bench = await boot(folder, make=lifelike, engine={"turn_secs": 10})
        known = bench.kernel.models
        await known.load("big")
        known._most = known.served["demo"].size + known.served["big"].size
        write_model(folder / "third.gguf", llama__block_count=3)
        await asyncio.sleep(5)
        lifelike.stopping = 10.0
        asked = await asking(bench, "third")
        await asyncio.sleep(5)
        await asyncio.gather(*(known.unload(id_) for id_ in ("demo", "big")))
        await asyncio.sleep(30)
        assert asked.done()
        assert set(known.served) == {"third"}
        assert alive(bench) == [known.served["third"].engine]

    run(main())


def test_a_model_that_is_unloaded_while_it_enters_is_gone_and_others_can_enter(folder, lifelike) -> None:
    async def main() -> None:
        bench = await boot(folder, make=lifelike)
        lifelike.starting = 5.0
        asked = await asking(bench, "big")
        asked.cancel()
        await asyncio.wait([asked])
        await bench.kernel.models.unload("big")
        other = await bench.exec(model="third")
        assert other.model_id == "third"
        assert inside(bench) == {"demo", "third"}
        assert len(alive(bench)) == 2

    run(main())


async def broken(folder: Path) -> tuple[Bench, Process]:
    """A kernel whose model `big` is broken, and a process of that, which is in the checkpoint `kept`."""
    bench = await boot(folder, engine={"idle_minutes": 0})
    lost = await bench.exec(model="big")
    await bench.kernel.checkpoint(ME, lost.pid, "kept")
    for _ in range(3):
        engine_of(bench, "big").die()
        await settle()
    assert lost.reason == "engine_failed"
    return bench, lost


def test_a_broken_model_is_chosen_for_nobody(folder: Path) -> None:
    async def main() -> None:
        (folder / "catalog.yaml").write_text(SCORES)
        bench, _ = await broken(folder)
        process = await bench.exec(capability="code")
        assert (process.model_id, process.plan.rationale) == ("demo", "code as asked: scored 3")
        with pytest.raises(KernelError, match="ENGINE_FAILED: big: the engine died 3 times"):
            await bench.exec(model="big")

    run(main())


def test_nothing_is_brought_back_to_a_broken_model(folder: Path) -> None:
    async def main() -> None:
        bench, _ = await broken(folder)
        with pytest.raises(
            KernelError, match="RESTORE_FAILED: its model big: ENGINE_FAILED: big: the engine died"
        ):
            await bench.kernel.restore(ME, "kept", as_new=True)
        assert len(bench.kernel.table) == 0

    run(main())


def test_who_asks_for_a_model_whose_file_is_read_while_the_kernel_stops_is_told(folder, monkeypatch) -> None:
    read, go_on = models._fingerprint, threading.Event()

    async def main() -> None:
        bench = await boot(folder)
        monkeypatch.setattr(models, "_fingerprint", lambda card: go_on.wait(10) and read(card))
        asked = asyncio.ensure_future(bench.exec(model="big"))
        while not bench.kernel.models._registering.locked():  # noqa: ASYNC110 - a thread reads the header
            await asyncio.sleep(0)
        await bench.kernel.drain(0)
        go_on.set()
        with pytest.raises(KernelError, match="SHUTTING_DOWN"):
            await asked
        assert bench.kernel.models.served == {}

    run(main())


@pytest.mark.parametrize("renamed", [False, True])
def test_a_model_that_is_loaded_for_a_replay_is_unloaded_like_any_other(folder: Path, renamed) -> None:
    async def main() -> None:
        bench = await boot(folder, engine={"idle_minutes": 1})
        process = await bench.exec(model="big", max_tokens=3)
        await finish(bench, process)
        await bench.kernel.models.unload("big")
        if renamed:
            (folder / "big.gguf").rename(folder / "third.gguf")
            await bench.kernel.models.load("third")
        again = asyncio.ensure_future(bench.kernel.replay(ME, process.pid))
        while not again.done():
            await asyncio.sleep(0.01)
            for served in bench.kernel.models.served.values():
                served.engine.step()
        assert again.result().tokens == 3
        await asyncio.sleep(300)
        assert set(bench.kernel.models.served) == {"third" if renamed else "demo"}

    run(main())
