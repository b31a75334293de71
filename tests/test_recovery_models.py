"""Processes that come back and can't go on, for want of their model, or may not, as they were told to end."""

from __future__ import annotations

import asyncio
import types
from pathlib import Path

import psutil
import pytest

from agentkernel.process import Process, State
from tests.by_hand import ME, Bench, run, settle
from tests.callers import rest
from tests.gguf_files import write_model
from tests.kept import assert_kept
from tests.test_recovery import SAID, TALK, born, leave, said


async def on_two_models(folder: Path) -> tuple[Bench, Process, Process]:
    """A process on the model `other`, with a child, and one on `demo`, all in the midst of what they say."""
    write_model(folder / "other.gguf")
    bench = await born(folder)
    kernel = bench.kernel
    kept = await bench.exec("talk", on_disconnect="detach")
    await kernel.models.load("other")
    lost = await bench.exec("talk", on_disconnect="detach", key="lost")
    for engine in bench.engines:
        engine.step()
    await kernel.fork(ME, lost.pid, 1, bench.screen)
    await kernel.recorder.synced()
    assert {process.model_id for process in kernel.table} == {"demo", "other"}
    await leave(bench)
    return bench, kept, lost


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Path.unlink, "model_lost"),
        (lambda path: path.write_bytes(b"no model"), "model_lost"),
        (lambda path: write_model(path, general__name="another"), "model_changed"),
    ],
    ids=["missing", "broken", "another"],
)
def test_who_has_no_model_any_more_fails_and_can_be_read_and_others_go_on(tmp_path, change, reason):
    async def main() -> None:
        before, kept, lost = await on_two_models(tmp_path)
        seen = before.screen.text[lost.pid]
        assert seen
        change(tmp_path / "other.gguf")
        bench = await born(tmp_path)
        kernel = bench.kernel
        for pid in (lost.pid, lost.pid + 1):
            process = kernel.find(ME, pid)
            assert (process.state, process.reason) == (State.FAILED, reason)
            assert await kernel.wait(ME, pid, 0) == process
        assert kernel.logs(ME, lost.pid, 0, None) == (seen.encode(), len(seen))
        assert (await bench.exec("other", key="lost")).pid == lost.pid
        await kernel.attach(ME, lost.pid, 0, bench.screen)
        await settle()
        assert bench.screen.text[lost.pid] == seen
        assert lost.pid in bench.screen.ends
        assert [process.pid for process in kernel.table] == [kept.pid]
        assert_kept(kernel)
        engine = kernel.models.served["demo"].engine
        while engine.step():
            await settle()
        assert said(bench, kept.pid) == TALK
        await leave(bench)
        bench = await born(tmp_path)
        assert bench.kernel.find(ME, lost.pid).reason == reason
        assert bench.kernel.logs(ME, lost.pid, 0, None)[0] == seen.encode()
        await leave(bench)

    run(main())


SENTENCES = " ".join(f"w{i}." if i % 8 == 7 else f"w{i}" for i in range(40))


@pytest.mark.parametrize(
    ("grace", "whole", "tokens"), [(32, SENTENCES, 8), (10, TALK, 13)], ids=["sentence", "grace"]
)
def test_who_was_told_to_end_ends_with_its_sentence_or_its_grace(tmp_path, monkeypatch, grace, whole, tokens):
    monkeypatch.setitem(SAID, "talk", whole)
    settings = {"limits": {"term_grace_tokens": grace}}

    async def main() -> None:
        bench = await born(tmp_path, **settings)
        process = await bench.exec("talk", interactive=True, on_disconnect="detach")
        bench.step(3)
        bench.kernel.term(ME, process.pid)
        bench.step(2)
        assert process.generated == 5
        await leave(bench)
        bench = await born(tmp_path, **settings)
        process = bench.kernel.find(ME, process.pid)
        assert not process.state.ended
        await rest(bench)
        assert (process.state, process.reason) == (State.TERMINATED, "terminated")
        assert process.generated == tokens
        assert said(bench, process.pid) == " ".join(whole.split(" ")[:tokens])
        await leave(bench)

    run(main())


async def in_little_memory(folder: Path, monkeypatch) -> tuple[Bench, Process, Process]:
    """The next kernel after `on_two_models`, with room for one model; the former one's processes."""
    before, one, other = await on_two_models(folder)
    size = before.kernel.config.engine.slots * 256 * 2 * 2 * 2 * 32
    room = types.SimpleNamespace(available=size + size // 2)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: room)
    return await born(folder), one, other


def test_models_that_do_not_fit_together_take_turns_after_a_restart_too(tmp_path, monkeypatch):
    """Nobody's model is lost for want of room: those of one run, those of the other have to wait."""

    async def main() -> None:
        bench, one, other = await in_little_memory(tmp_path, monkeypatch)
        kernel = bench.kernel
        assert {process.pid for process in kernel.table} == {one.pid, other.pid, other.pid + 1}
        served = kernel.models.served
        assert {id_: each.in_memory for id_, each in served.items()} == {"demo": True, "other": False}
        while len(kernel.table):
            for each in list(served.values()):
                each.engine.step()
            await asyncio.sleep(1)
        assert [said(bench, pid) for pid in (one.pid, other.pid)] == [TALK, TALK]
        await leave(bench)

    run(main())


def test_the_first_engine_of_a_model_that_had_to_wait_knows_who_came_back(tmp_path, monkeypatch):
    async def main() -> None:
        bench, one, other = await in_little_memory(tmp_path, monkeypatch)
        kernel = bench.kernel
        kernel.kill(ME, one.pid)
        await asyncio.sleep(5)
        assert kernel.models.served["other"].in_memory
        while kernel.models.served["other"].engine.step():
            await settle()
        assert said(bench, other.pid) == TALK
        await leave(bench)

    run(main())
