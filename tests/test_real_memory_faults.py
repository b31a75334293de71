"""What is wrong with an image, its file, its disk or its engine costs time, and never a token or an error."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal

import pytest

from agentkernel.engine import port
from agentkernel.process import Wait
from tests.harness import until
from tests.paged_memory import story
from tests.real_kernel import EXEC, FORK, KILL, PING, SUSPEND, alone, begun, real_kernel, talk
from tests.small_disk import run_on_a_disk_of

PROMPTS = [KILL, FORK, PING]
IMAGE = 140_000  # bytes, more than one of these contexts takes and less than two


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What each process says when it is never paged."""
    return asyncio.run(alone(tmp_path_factory.mktemp("alone"), PROMPTS, []))


async def rest_of(real, processes):
    """What is said when each answer goes on to its end, a few tokens at a time; nobody is told more."""
    texts = await talk(real, processes, [])
    assert {process.wait for process in processes} == {Wait.INPUT}
    assert not real.screen.ends
    return texts


def flip(files):
    for file in files:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0x10
        file.write_bytes(data)


def truncate(files):
    for file in files:
        os.truncate(file, file.stat().st_size - 1)


def empty(files):
    for file in files:
        os.truncate(file, 0)


def lengthen(files):
    for file in files:
        file.write_bytes(file.read_bytes() + b"\0")


def remove(files):
    for file in files:
        file.unlink()


def exchange(files):
    """Each is a whole image, of another context: as if of another model, build or time."""
    contents = [file.read_bytes() for file in files]
    for file, data in zip(files, reversed(contents), strict=True):
        file.with_suffix(".other").write_bytes(data)
        file.with_suffix(".other").rename(file)


def make_folders(files):
    for file in files:
        file.unlink()
        file.mkdir()


def fill_folder(files):
    make_folders(files)
    for file in files:
        (file / "something").write_text("in the way")


def lose_folder(files):
    shutil.rmtree(files[0].parent)


DAMAGES = [flip, truncate, empty, lengthen, remove, exchange, make_folders, fill_folder, lose_folder]


@pytest.mark.parametrize("compress", [False, True], ids=["as it is", "compressed"])
@pytest.mark.parametrize("damage", DAMAGES)
@story
async def test_a_damaged_file_costs_a_prefill(tmp_path, expected, damage, compress):
    async with real_kernel(tmp_path, ram=1, memory={"compress": compress}) as real:
        processes = await begun(real, PROMPTS)
        await real.written(2)
        damage(real.files)
        assert await rest_of(real, processes) == expected
        assert real.count("failed") >= 2


@story
async def test_an_intact_file_of_the_same_size_costs_none(tmp_path, expected):
    """What the tests of damage would show if nothing were damaged."""
    async with real_kernel(tmp_path, ram=1) as real:
        processes = await begun(real, PROMPTS)
        await real.written(2)
        assert await rest_of(real, processes) == expected
        assert real.count("failed") == 0


@story
async def test_what_an_earlier_engine_left_is_swept_and_never_read(tmp_path, expected):
    """Files of the right names, and what can't be removed as a file, lie there when an engine starts."""
    async with real_kernel(tmp_path, ram=1) as real:
        await begun(real, PROMPTS)
        await real.written(2)
        folder, kept = real.files[0].parent, [file.read_bytes() for file in real.files]
    for pid, data in enumerate([*kept, kept[0]], 1):
        (folder / f"{pid}.kv").write_bytes(data)
        (folder / f"{pid}.kv-part").write_bytes(data)
    fill_folder([folder / "1.kv"])
    async with real_kernel(tmp_path, ram=1) as real:
        assert [file.name for file in real.files] == ["1.kv"]
        assert await rest_of(real, await begun(real, PROMPTS)) == expected
        assert real.count("failed") >= 1


@story
async def test_a_budget_of_one_image_keeps_one(tmp_path, expected):
    async with real_kernel(tmp_path, ram=IMAGE, disk=0) as real:
        assert await rest_of(real, await begun(real, PROMPTS)) == expected
        assert len([e for e in real.served.paging.pager.entries() if e.tier.value == "ram"]) == 1
        assert real.count("failed") == 0


@pytest.mark.parametrize("ram", [1, IMAGE])
@story
async def test_a_budget_of_one_image_on_disk_keeps_one(tmp_path, expected, ram):
    async with real_kernel(tmp_path, ram=ram, disk=IMAGE) as real:
        assert await rest_of(real, await begun(real, PROMPTS)) == expected
        await until(lambda: len(real.files) <= 1)
        assert real.count("disk-out") >= 1
        assert real.count("failed") == 0


def kill_after(real, kind, seconds):
    """SIGKILL the engine so many seconds after the next command of this kind; a list that then has it."""
    engine, send, seen = real.served.engine, real.served.engine.send, []

    def sending(command):
        send(command)
        if isinstance(command, kind) and not seen:
            seen.append(command)
            asyncio.get_running_loop().call_later(seconds, os.kill, engine.os_pid, signal.SIGKILL)

    engine.send = sending
    return seen


KINDS = {
    "an image is saved": port.Revoke,
    "its file is written": port.Store,
    "it is loaded": port.Grant,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@story
async def test_an_engine_killed_while(tmp_path, kind):
    turns = [EXEC, SUSPEND, KILL]
    expected = await alone(tmp_path / "alone", PROMPTS, turns)
    async with real_kernel(tmp_path / "paged", ram=1) as real:
        processes = await begun(real, PROMPTS)
        for turn, milliseconds in zip([None, *turns], (0, 0.2, 0.5, 2), strict=True):
            before, seen = real.served.restarts, kill_after(real, kind, milliseconds / 1e3)
            texts = await talk(real, processes, [turn] if turn else [])
            assert seen
            await real.restarted(before)
        assert texts == expected


async def outlive_a_full_disk(folder, expected):
    """One image fits on the disk, and the kernel believes that all of them do."""
    async with real_kernel(folder, ram=1) as real:
        processes = await begun(real, PROMPTS)
        await until(lambda: real.count("disk-out") + real.count("failed") == 2)
        assert await rest_of(real, processes) == expected
        assert real.count("failed") >= 1
        assert real.count("disk-out") >= 1


@story
async def test_files_that_may_not_grow_cost_prefills(tmp_path, expected):
    async with real_kernel(tmp_path, ram=1) as real:
        engine = real.served.engine.os_pid
        resource.prlimit(engine, resource.RLIMIT_FSIZE, (4096, 4096))
        processes = await begun(real, PROMPTS)
        assert await rest_of(real, processes) == expected
        await until(lambda: real.count("failed") >= 4)
        assert (real.count("disk-out"), real.files) == (0, [])
        assert list(tmp_path.glob("images/*/*")) == []


def test_a_full_disk_costs_prefills(tmp_path, expected):
    program = (
        "import asyncio, pathlib; from tests.test_real_memory_faults import outlive_a_full_disk as outlive;"
        f"asyncio.run(outlive(pathlib.Path({str(tmp_path)!r}), {expected!r}))"
    )
    images = tmp_path / "images"
    images.mkdir()
    run_on_a_disk_of(IMAGE, images, program)
