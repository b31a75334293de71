"""Several models: who runs on which, and how they take turns where not all of them fit into memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel import explain
from agentkernel.admission import load_of
from agentkernel.engine import port
from agentkernel.engine.scripted import ScriptedEngine
from agentkernel.errors import KernelError
from agentkernel.process import Process, State
from tests.by_hand import ADMIN, ME, Bench, boot, run, settle, words
from tests.gguf_files import write_model

SCORES = """
models:
  demo: {fast: 9, general: 9, code: 3}
  big: {reasoning: 8, code: 7, fast: 2}
"""
SLOT = 256 * 2 * 2 * 2 * 32  # bytes


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A directory of the models `demo`, `big` and `third`, alike but for their names."""
    for name in ("demo", "big", "third"):
        write_model(tmp_path / f"{name}.gguf")
    return tmp_path


async def short(folder: Path, models: int = 1, **engine: object) -> Bench:
    """A kernel in whose memory so many models have room."""
    size = (folder / "demo.gguf").stat().st_size + 2 * SLOT
    bench = await boot(folder, engine={"turn_secs": 10, **engine})
    bench.kernel.models._most = models * size + size // 2
    bench.kernel.events.subscribe(ADMIN, bench.screen)
    return bench


def engine_of(bench: Bench, id_: str) -> ScriptedEngine:
    return bench.kernel.models.served[id_].engine


async def asking(bench: Bench, id_: str, **fields: object) -> asyncio.Future[Process]:
    """An EXEC for a model that is known by now, and not yet in memory."""
    asked = asyncio.ensure_future(bench.exec(model=id_, **fields))
    while id_ not in bench.kernel.models.served:  # noqa: ASYNC110 - a thread reads the file
        await asyncio.sleep(0)
    await settle()
    return asked


def moves(bench: Bench) -> list[tuple[str, str]]:
    told = ("model_left", "model_entered")
    return [(event["kind"], event["model"]) for event in bench.screen.events if event["kind"] in told]


def inside(bench: Bench) -> set[str]:
    return {id_ for id_, served in bench.kernel.models.served.items() if served.in_memory}


async def finish(bench: Bench, *processes: Process) -> None:
    """Steps of every engine until these have ended."""
    while not all(process.state.ended for process in processes):
        if not any(served.engine.step() for served in bench.kernel.models.served.values()):
            await asyncio.sleep(0.5)
        await settle()


def test_a_process_runs_on_the_model_that_it_names_and_the_current_one_stays(three: Path) -> None:
    async def main() -> None:
        bench = await boot(three)
        named = await bench.exec(model="big", max_tokens=3)
        plain = await bench.exec(max_tokens=3)
        assert (named.model_id, named.plan.rationale) == ("big", "as asked")
        assert (plain.model_id, plain.plan.rationale) == ("demo", "")
        assert bench.kernel.models.loaded_id == "demo"
        await finish(bench, named, plain)
        assert bench.screen.text == {named.pid: words(3), plain.pid: words(3)}

    run(main())


@pytest.mark.parametrize(
    ("fields", "model", "why"),
    [
        ({"capability": "reasoning"}, "big", "reasoning as asked: scored 8"),
        ({"capability": "code"}, "big", "code as asked: scored 7, before demo 3"),
        ({"capability": "general"}, "demo", "general as asked: scored 9"),
        ({"prompt": "yes or no?"}, "demo", "fast by its words: scored 9, before big 2"),
        ({"prompt": "prove it"}, "big", "reasoning by its words: scored 8"),
        ({"prompt": "hello"}, "demo", ""),
        ({"capability": "reasoning", "model": "third"}, "third", "as asked"),
    ],
)
def test_a_hint_or_the_prompts_words_choose_the_model_with_the_best_score(three, fields, model, why) -> None:
    async def main() -> None:
        (three / "catalog.yaml").write_text(SCORES)
        bench = await boot(three)
        process = await bench.exec(**fields)
        assert (process.model_id, process.plan.rationale) == (model, why)

    run(main())


def test_nothing_is_chosen_in_place_of_a_model_without_scores(three: Path) -> None:
    async def main() -> None:
        (three / "catalog.yaml").write_text(SCORES)
        bench = await boot(three, model="third")
        process = await bench.exec("prove it", capability="code")
        assert (process.model_id, process.plan.rationale) == ("third", "")

    run(main())


def test_a_model_that_can_not_be_had_is_passed_over(three: Path) -> None:
    async def main() -> None:
        (three / "catalog.yaml").write_text(SCORES)
        (three / "big.gguf").write_text("no model")
        bench = await boot(three)
        process = await bench.exec(capability="code")
        assert (process.model_id, process.plan.rationale) == ("demo", "code as asked: scored 3")
        with pytest.raises(KernelError, match="LOAD_FAILED: big: not a GGUF file"):
            await bench.exec(model="big")

    run(main())


def test_a_model_that_nobody_uses_leaves_for_one_that_is_needed(three: Path) -> None:
    async def main() -> None:
        bench = await short(three)
        process = await bench.exec(model="big", max_tokens=2)
        assert inside(bench) == {"big"}
        assert moves(bench) == [("model_left", "demo")]
        await finish(bench, process)
        assert bench.screen.text[process.pid] == words(2)

    run(main())


def test_models_in_use_take_turns_and_every_process_goes_on_where_it_stood(three: Path) -> None:
    async def main() -> None:
        bench = await short(three)
        first = await bench.exec(max_tokens=30)
        engine_of(bench, "demo").step()
        before = asyncio.get_running_loop().time()
        asked = await asking(bench, "big", max_tokens=30)
        assert inside(bench) == {"demo"}
        second = await asked
        assert asyncio.get_running_loop().time() - before == pytest.approx(10, abs=0.1)
        assert (inside(bench), first.state) == ({"big"}, State.READY)
        engine_of(bench, "big").step()
        why = explain.why(first, bench.kernel.models.served["demo"], 0)
        assert why == "waits for its model demo to be in memory"
        await asyncio.sleep(11)
        assert (inside(bench), second.state) == ({"demo"}, State.READY)
        await finish(bench, first, second)
        assert bench.screen.text == {first.pid: words(30), second.pid: words(30)}
        assert moves(bench)[:3] == [("model_left", "demo"), ("model_left", "big"), ("model_entered", "demo")]

    run(main())


def test_who_waits_for_input_keeps_no_model_in_memory_and_its_next_turn_brings_it_back(three: Path) -> None:
    async def main() -> None:
        bench = await short(three)
        talk = await bench.exec(interactive=True, max_tokens=2)
        bench.finish()
        await asyncio.sleep(2)
        other = await bench.exec(model="big", max_tokens=2)
        assert inside(bench) == {"big"}
        await finish(bench, other)
        assert talk.state is State.WAITING
        await bench.kernel.send_input(ME, talk.pid, "more", bench.screen)
        assert inside(bench) == {"demo"}
        while talk.generated < 4:
            engine_of(bench, "demo").step()
            await settle()
        assert bench.screen.text[talk.pid] == words(2) + words(2)

    run(main())


def test_of_three_models_for_two_places_each_has_its_turn(three: Path) -> None:
    async def main() -> None:
        bench = await short(three, models=2)
        names = ("demo", "big", "third")
        asked = [await asking(bench, name, max_tokens=20) for name in names]
        processes = []
        for each in asked:
            while not each.done():
                for served in bench.kernel.models.served.values():
                    if served.card.id != "third":
                        served.engine.step()
                await asyncio.sleep(1)
            processes.append(each.result())
            assert len(inside(bench)) <= 2
        await finish(bench, *processes)
        assert {process.model_id for process in processes} == set(names)
        assert {bench.screen.text[process.pid] for process in processes} == {words(20)}

    run(main())


def test_what_can_never_fit_is_refused(three: Path) -> None:
    async def main() -> None:
        write_model(three / "huge.gguf", llama__block_count=64)
        bench = await short(three)
        with pytest.raises(KernelError, match="MEMORY_ADMISSION"):
            await bench.exec(model="huge")
        assert set(bench.kernel.models.served) == {"demo"}

    run(main())


def test_who_gives_up_waiting_for_a_model_leaves_nothing_behind(three: Path) -> None:
    async def main() -> None:
        bench = await short(three, idle_minutes=1)
        first = await bench.exec(max_tokens=1000)
        asked = await asking(bench, "big")
        asked.cancel()
        await asyncio.wait([asked])
        await asyncio.sleep(30)
        assert inside(bench) == {"demo"}
        for _ in range(3):
            engine_of(bench, "demo").step()
        assert first.generated == 3
        await asyncio.sleep(60)
        assert set(bench.kernel.models.served) == {"demo"}

    run(main())


def test_a_kernel_that_stops_ends_models_in_memory_and_out_of_it(three: Path) -> None:
    async def main() -> None:
        bench = await short(three)
        await bench.exec(max_tokens=30)
        asked = await asking(bench, "big")
        await bench.kernel.drain(0)
        with pytest.raises(KernelError, match="SHUTTING_DOWN"):
            await asked
        assert bench.kernel.models.served == {}
        assert {repr(engine) for engine in bench.engines} == {"<ScriptedEngine dead>"}

    run(main())


def test_a_model_whose_file_was_replaced_while_it_was_out_of_memory_takes_nobody_on(three: Path) -> None:
    """Nobody goes on with other weights; one that was merely touched is the same."""

    async def main() -> None:
        bench = await short(three)
        first = await bench.exec(max_tokens=100)
        await asking(bench, "big", max_tokens=100)
        await asyncio.sleep(11)
        assert inside(bench) == {"big"}
        (three / "demo.gguf").touch()
        await asyncio.sleep(11)
        assert (inside(bench), first.state.ended) == ({"demo"}, False)
        await asyncio.sleep(11)
        write_model(three / "demo.gguf", general__name="another")
        await asyncio.sleep(15)
        assert (first.state, first.reason) == (State.FAILED, "model_changed")
        with pytest.raises(KernelError, match="ENGINE_FAILED: demo: its file is another one by now"):
            await bench.exec()
        await bench.kernel.models.load("demo")
        assert (await bench.exec(max_tokens=1)).state is not State.FAILED

    run(main())


def test_what_was_measured_of_a_model_is_known_when_it_comes_back_and_nothing_is_told_meanwhile(
    three: Path,
) -> None:
    async def main() -> None:
        bench = await short(three)
        await bench.exec(max_tokens=100)
        served = bench.kernel.models.current()
        rates = served.paging.pager.rates
        rates.prefill.value = rates.step.value = 2.0
        assert load_of(served) is not None
        await asking(bench, "big", max_tokens=100)
        await asyncio.sleep(11)
        assert load_of(served) is None
        await asyncio.sleep(11)
        assert inside(bench) == {"demo"}
        assert load_of(served) is not None

    run(main())


def test_engines_that_work_at_the_same_time_share_the_cores(three: Path) -> None:
    async def main() -> None:
        bench = await short(three, models=3, threads=5)

        def most(*ids: str) -> list[int]:
            """Threads that the engines may use."""
            return [
                next(
                    (
                        each.most
                        for each in reversed(engine_of(bench, id_).sent)
                        if isinstance(each, port.Threads)
                    ),
                    5,
                )
                for id_ in ids
            ]

        first = await bench.exec(max_tokens=3)
        assert most("demo") == [5]
        await bench.exec(model="big", max_tokens=100)
        assert most("demo", "big") == [2, 2]
        third = await bench.exec(model="third", max_tokens=100)
        assert most("demo", "big", "third") == [1, 1, 1]
        await finish(bench, first)
        assert most("big", "third") == [2, 2]
        engine_of(bench, "big").die()
        await settle()
        assert most("big", "third") == [2, 2]
        bench.kernel.kill(ADMIN, third.pid)
        await settle()
        assert most("big") == [5]

    run(main())
