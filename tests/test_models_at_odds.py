"""Several models when things happen at once: turns of many, deaths and unloading amid moves, recovery."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.engine.scripted import ScriptedEngine
from tests.by_hand import Bench, boot, die, run
from tests.gguf_files import write_model
from tests.test_several_models import asking, inside, short


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
        models = bench.kernel.models
        await models.load("big")
        models._most = models.served["demo"].size + models.served["big"].size
        write_model(folder / "third.gguf", llama__block_count=3)
        await asyncio.sleep(5)
        lifelike.stopping = 10.0
        asked = await asking(bench, "third")
        await asyncio.sleep(5)
        await asyncio.gather(*(models.unload(id_) for id_ in ("demo", "big")))
        await asyncio.sleep(30)
        assert asked.done()
        assert set(models.served) == {"third"}
        assert alive(bench) == [models.served["third"].engine]

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
