"""A kernel whose disk is full: what it refuses, what goes on, and that all of it comes when there is room."""

from __future__ import annotations

import asyncio

import pytest

from agentkernel.errors import KernelError
from agentkernel.process import State
from tests.by_hand import ME, Bench, run, settle
from tests.callers import NO_FILES, WORK, Held, called, rest, results
from tests.harness import Peer, long, scripted_server
from tests.harness import run as over_the_wire
from tests.kept import MIXED, POWER, assert_kept, copied, no_room
from tests.small_disk import run_on_a_disk_of
from tests.test_recovery import SAID, TALK, begun, born, leave, reborn, said, to_the_end


async def refused(bench: Bench, prompt: str = "talk", **fields: object) -> str:
    """The code that an EXEC is refused with."""
    with pytest.raises(KernelError) as caught:
        await bench.exec(prompt, **fields)
    return caught.value.code


def test_what_is_refused_leaves_nothing_in_the_journal_the_engine_and_the_table(tmp_path):
    async def main() -> None:
        bench, pid = await begun(tmp_path, "talk", 3)
        journal = bench.kernel.recorder.journal
        before = journal.kept(pid)
        with no_room(bench):
            assert await refused(bench) == "JOURNAL_FULL"
            assert await refused(bench, "x" * 200) == "JOURNAL_FULL"
        assert [process.pid for process in bench.kernel.table] == [pid]
        assert list(bench.kernel.models.current().processes) == [pid]
        assert bench.kernel.gate._callers.keys() == {pid}
        assert journal.processes == 1
        assert journal.kept(pid) == before
        assert_kept(bench.kernel)
        bench = await reborn(bench, tmp_path)
        assert bench.kernel.recorder.journal.processes == 1
        with pytest.raises(KernelError, match="PID_NOT_FOUND"):
            bench.kernel.find(ME, pid + 1)
        await leave(bench)

    run(main())


def test_the_key_of_what_was_refused_begins_a_process_once_there_is_room(tmp_path):
    async def main() -> None:
        bench = await born(tmp_path)
        with no_room(bench):
            assert await refused(bench, key="one") == "JOURNAL_FULL"
            assert await refused(bench, key="one") == "JOURNAL_FULL"
        process = await bench.exec("talk", key="one", on_disconnect="detach")
        assert (process.pid, (await bench.exec("other", key="one")).pid) == (3, 3)
        await to_the_end(bench)
        assert said(bench, 3) == bench.screen.text[3] == TALK
        bench = await reborn(bench, tmp_path)
        assert (await bench.exec("other", key="one")).pid == 3
        await leave(bench)

    run(main())


def test_a_key_is_free_again_when_the_kernel_stops_before_its_process_was_told_of(tmp_path):
    async def main() -> None:
        bench = await born(tmp_path)
        synced = bench.kernel.recorder.synced

        async def stopping() -> None:
            await synced()
            bench.kernel.draining = True

        bench.kernel.recorder.synced = stopping
        assert await refused(bench, key="one") == "SHUTTING_DOWN"
        bench.kernel.recorder.synced = synced
        assert bench.kernel.recorder.keyed(ME, "one") is None
        bench = await reborn(bench, tmp_path)
        process = await bench.exec("talk", key="one")
        assert (process.pid, process.state.ended) == (2, False)
        await leave(bench)

    run(main())


def test_children_are_refused_and_leave_nothing(tmp_path):
    async def main() -> None:
        bench, pid = await begun(tmp_path, "talk", 3)
        await bench.kernel.write_memory(ME, pid, 0, b"mine")
        with no_room(bench), pytest.raises(KernelError, match="JOURNAL_FULL"):
            await bench.kernel.fork(ME, pid, 2, bench.screen)
        assert [process.pid for process in bench.kernel.table] == [pid]
        assert bench.kernel.recorder.journal.processes == 1
        await bench.kernel.fork(ME, pid, 1, bench.screen)
        bench = await reborn(bench, tmp_path)
        assert [process.pid for process in bench.kernel.table] == [pid, pid + 3]
        assert await bench.kernel.read_memory(ME, pid + 3, 0, None) == b"mine"
        await leave(bench)

    run(main())


@pytest.mark.parametrize("settings", [{}, POWER], ids=["mixed", "power"])
def test_what_runs_goes_on_unseen_and_comes_whole_and_once_when_there_is_room(tmp_path, settings):
    async def main() -> None:
        bench = await born(tmp_path, **settings)
        process = await bench.exec("talk", on_disconnect="detach")
        bench.step(3)
        await settle()
        seen = bench.screen.text[1]
        with no_room(bench):
            bench.step(10)
            await settle()
            assert process.generated == 13
            assert (bench.screen.text[1], said(bench, 1)) == (seen, seen)
        await to_the_end(bench)
        assert bench.screen.text[1] == said(bench, 1) == TALK
        assert process.state is State.DONE
        assert_kept(bench.kernel)
        await leave(bench)

    run(main())


def test_what_ends_is_seen_to_end_when_there_is_room(tmp_path):
    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("talk")
        bench.step(3)
        with no_room(bench):
            bench.finish()
            await settle()
            assert not process.state.ended
            assert bench.screen.ends == {}
            assert bench.kernel.recorder.journal.kept(1).ended is None
        await to_the_end(bench)
        assert (await bench.kernel.wait(ME, 1, None)).reason == "stop"
        assert bench.screen.text[1] == TALK
        assert bench.screen.ends.keys() == {1}
        await leave(bench)

    run(main())


def test_a_kernel_that_is_killed_while_its_disk_is_full_goes_on_from_what_was_seen(tmp_path):
    async def main() -> None:
        bench = await born(tmp_path / "a")
        await bench.exec("talk", on_disconnect="detach")
        bench.step(3)
        seen = bench.screen.text[1]
        with no_room(bench):
            bench.step(10)
            await settle()
            folder = copied(tmp_path / "a", tmp_path / "b")
        after = await born(folder)
        await after.kernel.attach(ME, 1, len(seen), after.screen)
        await to_the_end(after)
        assert seen + after.screen.text[1] == said(after, 1) == TALK
        await leave(after)
        await leave(bench)

    (tmp_path / "a").mkdir()
    run(main())


def test_a_kernel_that_stops_while_its_disk_is_full_leaves_the_next_what_was_seen(tmp_path):
    async def main() -> None:
        bench = await born(tmp_path)
        await bench.exec("talk", on_disconnect="detach")
        killed = await bench.exec("talk")
        bench.step(3)
        seen = bench.screen.text[1]
        with no_room(bench):
            bench.step(10)
            bench.kernel.kill(ME, killed.pid)
            await settle()
            await leave(bench)
        assert bench.screen.text[1] == seen
        after = await born(tmp_path)
        assert [process.pid for process in after.kernel.table] == [1, 2]  # whose end nobody was told of
        await after.kernel.attach(ME, 1, len(seen), after.screen)
        await to_the_end(after)
        assert seen + after.screen.text[1] == said(after, 1) == TALK
        await leave(after)

    run(main())


def test_a_call_that_may_happen_once_waits_for_room(tmp_path, monkeypatch):
    monkeypatch.setitem(SAID, "work", WORK)

    async def main() -> None:
        jail = Held()
        bench = await born(tmp_path, jail)
        process = await bench.exec("work", paths=NO_FILES, approve=["*"], interactive=True)
        await rest(bench)
        with no_room(bench):
            bench.kernel.approve(ME, 1, 1)
            await settle()
            assert jail.running == []
            assert not process.state.ended
        await asyncio.sleep(1)
        assert len(jail.running) == 1
        jail.end(b"done")
        await called(bench, process)
        assert results(process) == ["done"]
        await leave(bench)

    run(main())


def test_a_verb_that_is_refused_so_was_done_but_for_exec_and_fork(demo):
    async def main() -> None:
        async with (
            scripted_server(demo, settings=MIXED, script=long, auto=False) as bench,
            Peer.connect(bench.port) as peer,
        ):
            assert (await peer.ask("EXEC me 2", b"hi")).ok
            with no_room(bench):
                for command in ("EXEC me - hi", "FORK me - 1", "SUSPEND me - 1", "KILL me - 1"):
                    assert (await peer.ask(command)).code == "JOURNAL_FULL"
                assert bench.kernel.find(ME, 1).state is State.KILLED
                assert len(bench.kernel.table) == 0
            assert (await peer.ask("WAIT me - 1")).ok
            assert (await peer.ask("EXEC me 2", b"hi")).ok
            assert bench.kernel.recorder.journal.processes == 2

    over_the_wire(main())


OVER_THE_WIRE = """
import contextlib
import itertools
from pathlib import Path
from agentkernel.client import Client
from agentkernel.client import ClientError
from tests.conftest import ENDLESS, start_kernel

folder, models = Path({folder!r}), Path({models!r})
kernel = start_kernel(folder, models)
ballast = folder / "ballast"
try:
    with Client(kernel.host, kernel.port) as client:
        stream = client.exec("go", grammar=ENDLESS, max_tokens=1500)
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        refused, keys = [], map(str, itertools.count())
        while len(refused) < 3:  # there may be room in the log once more, when it is in the tables
            key = next(keys)
            try:
                client.exec("go " * 400, max_tokens=1, key=key)
            except ClientError as error:
                assert error.code == "JOURNAL_FULL", error
                refused.append(key)
        ballast.unlink()
        again = client.exec("go", max_tokens=1, key=refused[0]).pid
        assert client.wait(again).reason == "length"
        assert stream.read() == "a" * 1500
        assert client.logs(stream.pid).data == b"a" * 1500
finally:
    code = kernel.stop()
assert code == 0, code
"""


def test_over_the_wire_a_disk_that_fills_up_refuses_and_then_goes_on(models_dir, tmp_path):
    program = OVER_THE_WIRE.format(folder=str(tmp_path), models=str(models_dir))
    run_on_a_disk_of(16 << 20, tmp_path, program)
