"""Loading, choosing, unloading; what runs goes on whatever becomes of a load."""

from __future__ import annotations

import asyncio
import types
from pathlib import Path

import psutil
import pytest

from agentkernel.engine import port
from agentkernel.engine.scripted import ScriptedEngine
from agentkernel.errors import KernelError
from agentkernel.process import State
from tests.by_hand import ADMIN, ME, Bench, Screen, boot, run, settle, words
from tests.gguf_files import write_model


async def code(awaitable) -> str:
    with pytest.raises(KernelError) as caught:
        await awaitable
    return caught.value.code


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A directory of two models, `demo` and `big/other`."""
    write_model(tmp_path / "demo.gguf")
    write_model(tmp_path / "big" / "other.gguf", llama__context_length=512)
    return tmp_path


def test_new_processes_get_the_model_loaded_last_and_old_ones_keep_theirs(two: Path) -> None:
    async def main() -> None:
        bench = await boot(two)
        old = await bench.exec(max_tokens=4)
        bench.step(2)
        first = bench.engine
        served = await bench.kernel.models.load("big/other")
        new = await bench.exec(max_tokens=2)
        assert (old.model_id, new.model_id, served.card.id) == ("demo", "big/other", "big/other")
        assert set(bench.kernel.models.served) == {"demo", "big/other"}
        bench.finish()
        assert bench.screen.text == {1: words(2), 2: words(2)}
        while first.step():
            pass
        await settle()
        assert bench.screen.text[1] == words(4)
        assert set(bench.kernel.models.served) == {"demo", "big/other"}

    run(main())


@pytest.mark.parametrize("minutes", [3, 0])
def test_a_model_that_is_not_the_current_one_goes_when_nobody_has_used_it_for_long(
    two: Path, minutes: int
) -> None:
    async def main() -> None:
        bench = await boot(two, engine={"idle_minutes": minutes})
        process = await bench.exec(interactive=True, max_tokens=2)
        bench.finish()
        await bench.kernel.models.load("big/other")
        await asyncio.sleep(600)
        assert set(bench.kernel.models.served) == {
            "demo",
            "big/other",
        }  # one of its processes waits for input
        bench.kernel.kill(ME, process.pid)
        await asyncio.sleep(179)
        assert set(bench.kernel.models.served) == {"demo", "big/other"}
        await asyncio.sleep(2)
        assert set(bench.kernel.models.served) == ({"big/other"} if minutes else {"demo", "big/other"})
        await asyncio.sleep(86400)
        assert "big/other" in bench.kernel.models.served
        assert (repr(bench.engines[0]) == "<ScriptedEngine dead>") is bool(minutes)

    run(main())


def test_loading_what_is_loaded_starts_nothing_and_makes_it_the_current_one(two: Path) -> None:
    async def main() -> None:
        bench = await boot(two)
        await bench.exec()
        await bench.kernel.models.load("big/other")
        assert (await bench.kernel.models.load("demo")).card.id == "demo"
        assert len(bench.engines) == 2
        assert bench.kernel.models.current().card.id == "demo"

    run(main())


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("none", "MODEL_NOT_FOUND"),
        ("../outside", "MODEL_NOT_FOUND"),
        ("/etc/passwd", "MODEL_NOT_FOUND"),
        ("big", "LOAD_FAILED"),
        ("notes.txt", "LOAD_FAILED"),
        ("cut", "LOAD_FAILED"),
        ("text", "LOAD_FAILED"),
    ],
)
def test_a_load_that_fails_leaves_the_running_model(two: Path, selector: str, expected: str) -> None:
    async def main() -> None:
        (two / "notes.txt").write_text("no model")
        (two / "text.gguf").write_text("no model")
        (two / "cut.gguf").write_bytes((two / "demo.gguf").read_bytes()[:200])
        bench = await boot(two)
        process = await bench.exec()
        bench.step(2)
        assert await code(bench.kernel.models.load(selector)) == expected
        await still_runs(bench, process)
        assert len(bench.engines) == 1

    run(main())


async def still_runs(bench: Bench, process) -> None:
    models = bench.kernel.models
    assert (models.loaded_id, set(models.served)) == ("demo", {"demo"})
    before = process.generated
    bench.engines[0].step()
    assert process.generated == before + 1
    await bench.exec()


class Refusing(ScriptedEngine):
    """Loads `demo` only."""

    stopped = False

    async def stop(self):
        self.stopped = True
        await super().stop()

    async def start(self, load, on_progress):
        if not load.path.endswith("demo.gguf"):
            on_progress(0.5)
            raise KernelError("LOAD_FAILED", "tensor data out of bounds")
        return await super().start(load, on_progress)


def test_a_file_that_its_engine_refuses_leaves_the_running_model(two: Path) -> None:
    async def main() -> None:
        bench = await boot(two, make=lambda script: Refusing(script, auto=False))
        process = await bench.exec()
        bench.step(2)
        with pytest.raises(KernelError, match="LOAD_FAILED: big/other: tensor data out of bounds"):
            await bench.kernel.models.load("big/other")
        assert bench.engines[1].stopped
        await still_runs(bench, process)
        assert (await bench.kernel.models.load("demo")).card.id == "demo"

    run(main())


def free_memory(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=size))


def test_a_model_too_large_for_memory_leaves_the_running_model(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        bench = await boot(two, engine={"slots": 4, "context": 512})
        process = await bench.exec()
        per_slot = 512 * 2 * 2 * 2 * 32
        size = (two / "big" / "other.gguf").stat().st_size
        larger = two / "larger.gguf"
        larger.write_bytes((two / "big" / "other.gguf").read_bytes() + bytes(1000))
        free_memory(monkeypatch, 999)  # and what the running one takes
        taken = bench.kernel.models.current().size
        assert taken == size + 4 * per_slot
        with pytest.raises(KernelError) as caught:
            await bench.kernel.models.load("larger")
        assert caught.value.code == "MEMORY_ADMISSION"
        assert caught.value.details == {"needed_bytes": taken + 1000, "free_bytes": taken + 999}
        await still_runs(bench, process)
        free_memory(monkeypatch, taken + 1000)
        await bench.kernel.models.load("larger")

    run(main())


@pytest.mark.parametrize(("fitting", "slots"), [(1000, 16), (16, 16), (10, 10), (1, 1)])
def test_without_a_setting_slots_take_at_most_a_quarter_of_free_memory(
    two: Path, monkeypatch: pytest.MonkeyPatch, fitting: int, slots: int
) -> None:
    async def main() -> None:
        size, per_slot = (two / "big" / "other.gguf").stat().st_size, 512 * 2 * 2 * 2 * 32
        free_memory(monkeypatch, size + 4 * fitting * per_slot)
        bench = await boot(two, model="big/other", engine={"slots": 0})
        assert bench.kernel.models.current().load.slots == slots

    run(main())


def test_an_engine_is_told_its_file_and_its_shape(two: Path) -> None:
    async def main() -> None:
        settings = {"slots": 40, "context": 128, "batch": 32, "gpu_layers": 3, "threads": 2}
        bench = await boot(two, engine=settings, scheduler={"max_step_ms": 99}, memory={"paging": "off"})
        assert bench.kernel.models.current().load == port.Load(
            path=str(two / "demo.gguf"),
            slots=40,
            context=128,
            batch=40,
            threads=2,
            gpu_layers=3,
            max_step_ms=99,
        )

    run(main())


@pytest.mark.parametrize(("trained", "context"), [(256, 256), (100_000, 4096), (0, 4096)])
def test_without_a_setting_a_slot_is_as_long_as_the_training_context_up_to_4096(
    tmp_path: Path, trained: int, context: int
) -> None:
    async def main() -> None:
        write_model(tmp_path / "demo.gguf", llama__context_length=trained)
        bench = await boot(tmp_path)
        assert bench.kernel.models.current().load.context == context

    run(main())


class Slow(ScriptedEngine):
    """Loads in steps, as the test says."""

    gate: asyncio.Event
    begun: asyncio.Event

    async def start(self, load, on_progress):
        self.begun.set()
        for fraction in (0.0, 0.04, 0.31, 0.35):
            on_progress(fraction)
        await self.gate.wait()
        return await super().start(load, on_progress)


async def loading(two: Path) -> tuple[Bench, asyncio.Event, asyncio.Future]:
    gate, begun = asyncio.Event(), asyncio.Event()
    gate.set()

    def make(script) -> Slow:
        engine = Slow(script, auto=False)
        engine.gate, engine.begun = gate, begun
        return engine

    bench = await boot(two, make=make)
    bench.kernel.events.subscribe(ADMIN, bench.screen)
    gate.clear()
    begun.clear()
    pending = asyncio.ensure_future(bench.kernel.models.load("big/other"))
    await begun.wait()
    return bench, gate, pending


def test_while_one_model_loads_the_other_runs_and_a_second_load_is_refused(two: Path) -> None:
    async def main() -> None:
        bench, gate, pending = await loading(two)
        process = await bench.exec(max_tokens=2)
        while bench.engines[0].step():
            pass
        assert (process.model_id, process.state) == ("demo", State.DONE)
        with pytest.raises(KernelError, match="LOAD_BUSY: big/other is being loaded"):
            await bench.kernel.models.load("demo")
        gate.set()
        assert (await pending).card.id == "big/other"
        await bench.kernel.models.load("demo")

    run(main())


def test_subscribers_see_a_load_in_tenths_and_the_change(two: Path) -> None:
    async def main() -> None:
        bench, gate, pending = await loading(two)
        gate.set()
        await pending
        assert bench.screen.events == [
            {"kind": "load_progress", "model": "big/other", "fraction": fraction}
            for fraction in (0.0, 0.31, 1.0)
        ] + [{"kind": "model_changed", "model": "big/other"}]

    run(main())


def test_load_takes_the_selected_model_by_default(two: Path) -> None:
    async def main() -> None:
        bench = await boot(two, model="")
        models = bench.kernel.models
        assert await code(models.load("")) == "MODEL_SELECTOR"
        assert await code(models.info("")) == "MODEL_SELECTOR"
        assert await code(models.select("none")) == "MODEL_NOT_FOUND"
        await models.select("big/other")
        assert (models.selected_id, models.loaded_id) == ("big/other", "")
        assert (await models.load("")).card.id == "big/other"
        await models.select("demo")
        assert (models.selected_id, models.loaded_id) == ("demo", "big/other")
        assert (await models.info("")).id == "demo"
        assert (await models.info("big/other")).context_train == 512
        assert [card.id for card in await models.cards()] == ["big/other", "demo"]

    run(main())


def test_a_model_in_use_is_not_unloaded(two: Path) -> None:
    async def main() -> None:
        bench = await boot(two)
        models = bench.kernel.models
        bench.kernel.events.subscribe(ADMIN, Screen())
        await bench.exec()
        with pytest.raises(KernelError) as caught:
            await models.unload("")
        assert (caught.value.code, caught.value.details) == ("LOAD_BUSY", {"processes": 1})
        bench.kernel.kill(ME, 1)
        assert await models.unload("demo") == "demo"
        assert (models.loaded_id, models.served) == ("", {})
        assert repr(bench.engine) == "<ScriptedEngine dead>"
        assert await code(models.unload("")) == "NO_MODEL"
        assert await code(models.unload("demo")) == "MODEL_NOT_FOUND"
        assert await code(bench.exec()) == "NO_MODEL"

    run(main())
