"""KV images in checkpoints, on the real engine: a process goes on elsewhere without another prefill."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
import uvloop

from agentkernel import carrying
from agentkernel.carrying import exported
from tests.by_hand import ME
from tests.harness import until
from tests.real_kernel import CHATML, KILL, TINY, Real, real_kernel

TALE = "Once there was a cat. " * 10
ENDLESS = "root ::= [a-z ] root"
FREE = {
    "raw": True,
    "temperature": 1.5,
    "grammar": ENDLESS,
    "seed": 3,
    "deterministic": True,
    "max_tokens": 300,
}


async def saved(bench: Real, **fields) -> tuple[int, int]:
    """The PID of a process that is in the midst of its text and in the checkpoint `tale`; tokens of that."""
    process = await bench.begin(TALE, interactive=False, **{**FREE, **fields})
    await bench.generated(process, 20)
    bench.kernel.suspend(ME, process.pid)
    checkpoint = await bench.kernel.checkpoint(ME, process.pid, "tale")
    (held,) = checkpoint.manifest.processes
    assert held.image_tokens >= process.prompt_tokens
    return process.pid, held.tokens


def carry(folder: Path, to: Path) -> Path:
    """Another kernel's folder, with the checkpoints of the first."""
    shutil.copytree(folder / "checkpoints", to / "checkpoints")
    return to


async def goes_on(bench: Real) -> str:
    """All that the process of the checkpoint has said in the end."""
    ((process, _),) = await bench.kernel.restore(ME, "tale", as_new=False)
    if process.wait is None:
        bench.kernel.resume(ME, process.pid, bench.screen)
    await until(lambda: process.state.ended)
    return bench.kernel.recorder.output(process.pid, 0, 1 << 20).decode()


@pytest.mark.parametrize("model", [TINY, CHATML])
@pytest.mark.parametrize("slots", [1, 2])
def test_a_process_goes_on_from_its_image(tmp_path: Path, model: str, slots: int) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path / "a", model=model, engine={"slots": slots}) as bench:
            pid, tokens = await saved(bench)
            if slots == 1:  # its image goes to memory
                await bench.ask(KILL)
            bench.kernel.resume(ME, pid, bench.screen)
            await until(lambda: not [p for p in bench.kernel.table if p.pid == pid])
            text = bench.screen.text[pid]
        async with real_kernel(
            carry(tmp_path / "a", tmp_path / "b"), model=model, engine={"slots": slots}
        ) as bench:
            assert await goes_on(bench) == text
            assert (bench.count("disk-in"), bench.count("failed")) == (1, 0)
            assert bench.served.prompt_tokens < tokens / 2

    uvloop.run(main())


def test_an_image_that_the_engine_does_not_want_costs_a_prefill(tmp_path: Path, monkeypatch) -> None:
    """Its file is another by the time it is read."""

    def damaged(served, process, tokens, digest):
        path = carrying.place(served, process.pid)
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        carrying.adopt(served, process, tokens, digest)

    async def main() -> None:
        async with real_kernel(tmp_path / "a") as bench:
            pid, _ = await saved(bench)
            bench.kernel.resume(ME, pid, bench.screen)
            await until(lambda: not len(bench.kernel.table))
            text = bench.screen.text[pid]
        monkeypatch.setattr("agentkernel.checkpointing.adopt", damaged)
        async with real_kernel(carry(tmp_path / "a", tmp_path / "b")) as bench:
            assert await goes_on(bench) == text
            assert (bench.count("disk-in"), bench.count("failed")) == (0, 1)

    uvloop.run(main())


@pytest.mark.parametrize("without", ["paging", "room", "library", "slots"])
def test_without_an_image_the_context_is_computed_again(tmp_path: Path, monkeypatch, without: str) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path / "a") as bench:
            if without == "room":
                monkeypatch.setattr(carrying, "_ROOM", 1 << 60)
            process = await bench.begin(TALE, interactive=False, **FREE)
            await bench.generated(process, 20)
            bench.kernel.suspend(ME, process.pid)
            checkpoint = await bench.kernel.checkpoint(ME, process.pid, "tale")
            assert bool(checkpoint.manifest.processes[0].image) == (without != "room")
            await until(lambda: bench.files == [])  # the engine removes what was copied
            bench.kernel.resume(ME, process.pid, bench.screen)
            await until(lambda: process.state.ended)
            text = bench.text(process)
        if without == "library":
            monkeypatch.setattr(carrying, "version", lambda _name: "other")
        memory = 0 if without == "paging" else 1 << 26
        slots = {"slots": 2 if without == "slots" else 1}
        async with real_kernel(carry(tmp_path / "a", tmp_path / "b"), ram=memory, engine=slots) as bench:
            assert await goes_on(bench) == text
            assert (bench.count("disk-in"), bench.count("failed")) == (0, 0)

    uvloop.run(main())


def test_what_the_image_holds_is_compared_with_the_tokens_that_go_with_it(tmp_path: Path) -> None:
    """And an engine that dies meanwhile has written none."""

    async def main() -> None:
        async with real_kernel(tmp_path) as bench:
            process = await bench.ask(TALE, raw=True)
            async with exported(bench.served, process, process.tokens[:90]) as image:
                assert image is not None
                assert image.tokens == 90
                assert image.path.exists()
            async with exported(bench.served, process, [0, *process.tokens]) as image:
                assert image is None
            waiting = asyncio.get_running_loop().create_task(_export(bench, process))
            await asyncio.sleep(0)
            await bench.kill_engine()
            assert await waiting in (None, True)
            await until(lambda: bench.files == [])

    uvloop.run(main())


async def _export(bench: Real, process) -> bool | None:
    async with exported(bench.served, process, list(process.tokens)) as image:
        return None if image is None else True
