"""Processes saved at any moment, ended, and brought back: they go on as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.memory import PAGE
from agentkernel.process import State, Wait
from tests.by_hand import ADMIN, ME, OTHER, Screen, run, settle
from tests.callers import rest
from tests.checkpointed import at_once, back, carried, one_back, read, saved
from tests.fake_jail import FakeJail
from tests.kept import assert_kept
from tests.test_recovery import SCENES, TALK, born, leave, said, to_the_end


@pytest.fixture(autouse=True)
def threadless(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)


@pytest.mark.parametrize("scene", SCENES)
def test_saved_at_any_step_it_says_what_an_undisturbed_run_says(tmp_path: Path, scene: str) -> None:
    prompt, fields = SCENES[scene]
    small = {"engine": {"slots": 2, "context": 24 if fields.get("context_strategy") else 400}}

    async def main() -> None:
        jail = FakeJail()
        bench = await born(tmp_path, jail, **small)
        asked = {"temperature": 0, "on_disconnect": "detach", **fields}
        process, steps = await bench.exec(prompt, **asked), 0
        while bench.engine.step():
            await settle()
            steps += 1
        await to_the_end(bench)
        whole, reason, generated = said(bench, process.pid), process.reason, process.generated
        assert whole
        assert steps > 2
        for before in range(steps):
            process, jobs = await bench.exec(prompt, **asked), len(jail.jobs)
            for _ in range(before):
                bench.engine.step()
                await settle()
            if process.state.ended:
                break
            again = await one_back(bench, process)
            assert (again.pid, again.state.ended) == (process.pid, False)
            reader = await read(bench, again.pid, 0)
            await to_the_end(bench)
            text = said(bench, again.pid)
            assert reader.text[again.pid] == text
            assert len(jail.jobs) <= jobs + 1
            if "Interrupted" not in text:
                assert text == whole
                assert (again.reason, again.generated) == (reason, generated)
            if not again.state.ended:
                bench.kernel.kill(ME, again.pid)
            assert_kept(bench.kernel)
        await leave(bench)

    run(main())


def test_readers_and_logs_get_it_from_any_byte(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("talk")
        bench.step(5)
        size = process.offset
        again = await one_back(bench, process)
        readers = {start: await read(bench, again.pid, start) for start in (0, 3, size)}
        assert bench.kernel.logs(ME, again.pid, 2, None) == (TALK.encode()[2:size], size)
        bench.finish()
        await settle()
        for start, reader in readers.items():
            assert reader.text[again.pid] == TALK[start:]
            assert again.pid in reader.ends
        assert (await bench.kernel.wait(ME, again.pid, 0)).generated == again.generated
        await leave(bench)

    run(main())


def test_as_new_ones_it_goes_on_as_often_as_one_likes_beside_itself(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("talk", key="one")
        bench.step(4)
        await bench.kernel.checkpoint(ME, process.pid, "tale")
        twins = [*await back(bench, as_new=True), *await back(bench, as_new=True)]
        assert [twin.pid for twin in twins] == [2, 3]
        assert [twin.plan.key for twin in (process, *twins)] == ["one", "", ""]
        bench.finish()
        await settle()
        assert [said(bench, pid) for pid in (1, 2, 3)] == [TALK] * 3
        assert bench.screen.text.keys() == {1}  # nobody is sent what they say
        await leave(bench)

    run(main())


def test_a_kernel_that_never_had_it_goes_on_with_its_pid_and_numbers_later_ones_above(tmp_path: Path) -> None:
    async def main() -> None:
        first = await born(tmp_path / "first")
        for _ in range(4):
            process = await first.exec("talk")
        first.step(3)
        await first.kernel.checkpoint(ME, process.pid, "tale")
        second = await carried(first, tmp_path / "second")
        await leave(first)
        (again,) = await back(second)
        assert again.pid == process.pid == 4
        assert (await second.exec("talk")).pid == 5
        second.finish()
        await settle()
        assert said(second, 4) == TALK
        await leave(second)

    (tmp_path / "first").mkdir()
    run(main())


def test_the_next_kernel_brings_it_back_and_has_it_after_another_crash(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("talk")
        bench.step(4)
        await saved(bench, process)
        for _ in range(2):
            await leave(bench)
            bench = await born(tmp_path)
            if not len(bench.kernel.table):
                await back(bench)
            bench.step(2)
        await leave(bench)
        bench = await born(tmp_path)
        bench.finish()
        await settle()
        assert said(bench, process.pid) == TALK
        assert bench.kernel.find(ME, process.pid).reason == "stop"
        await leave(bench)

    run(main())


def test_it_goes_back_to_an_earlier_moment_and_forward_to_a_later_one(tmp_path: Path) -> None:
    """Whatever it said between: what it has put out is that of the moment it came back from."""

    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("talk", interactive=True, max_tokens=4)
        await rest(bench)
        await bench.kernel.checkpoint(ME, 1, "earlier")
        await bench.kernel.send_input(ME, 1, "sum", bench.screen)
        await to_the_end(bench)
        await saved(bench, process, "later")
        later = said(bench, 1)
        await back(bench, "earlier")
        assert said(bench, 1) == later[: len(said(bench, 1))] != later
        await bench.kernel.send_input(ME, 1, "hello", Screen())
        bench.step(2)
        await settle()
        bench.kernel.kill(ME, 1)
        (process,) = await back(bench, "later")
        assert said(bench, 1) == later
        assert process.offset == len(later)
        bench.kernel.kill(ME, 1)
        await leave(bench)
        bench = await born(tmp_path)
        assert said(bench, 1) == later
        await leave(bench)

    run(main())


def test_all_are_saved_at_one_moment_each_owner_s_and_an_administrator_s_everybody_s(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        mine = [await bench.exec("talk") for _ in range(2)]
        other = await bench.exec("talk", owner=OTHER)
        for _ in range(3):
            bench.step()
            await settle()
        await bench.kernel.checkpoint(ME, None, "all")
        await saved(bench, None, "all", ADMIN)
        assert [process.pid for process in await back(bench, "all", ME)] == [each.pid for each in mine]
        for process in mine:
            bench.kernel.kill(ME, process.pid)
        again = await back(bench, "all", ADMIN)
        assert [process.owner for process in again] == [ME, ME, OTHER]
        await to_the_end(bench)
        assert [said(bench, process.pid) for process in (*mine, other)] == [TALK] * 3
        await leave(bench)

    run(main())


def test_who_waits_goes_on_waiting_and_goes_on_when_told(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        kernel = bench.kernel
        process = await bench.exec("talk", interactive=True, max_tokens=9)
        bench.step(3)
        suspended, stopped = await kernel.fork(ME, 1, 2, bench.screen)
        await settle()
        kernel.suspend(ME, suspended.pid)
        kernel.stop_output(ME, stopped.pid)
        kernel.set_priority(ME, suspended.pid, "high")
        await rest(bench)
        await saved(bench)
        process, suspended, stopped = await back(bench)
        await rest(bench)
        assert (process.wait, stopped.wait) == (Wait.INPUT, Wait.EVENT)
        assert (suspended.state, suspended.priority) == (State.SUSPENDED, "high")
        await kernel.send_input(ME, process.pid, "sum", Screen())
        kernel.resume(ME, suspended.pid, Screen())
        kernel.continue_output(ME, stopped.pid)
        await to_the_end(bench)
        assert said(bench, process.pid).endswith("So it is 5.")
        assert said(bench, suspended.pid) == said(bench, stopped.pid) == TALK[8:26]
        await leave(bench)

    run(main())


def test_one_that_was_told_to_end_ends_at_the_end_of_its_sentence(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path, limits={"term_grace_tokens": 3})
        process = await bench.exec("talk")
        bench.step(4)
        bench.kernel.term(ME, process.pid)
        bench.step()
        process = await one_back(bench, process)
        await to_the_end(bench)
        assert (process.state, process.reason) == (State.TERMINATED, "terminated")
        assert process.generated <= 7
        await leave(bench)

    run(main())


def test_a_new_life_is_a_new_epoch_for_who_names_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("talk")
        again = await one_back(bench, process)
        assert again.epoch == process.epoch + 1
        with pytest.raises(KernelError, match="STALE_EPOCH"):
            bench.kernel.check_driver(ME, again.pid, bench.screen, process.epoch)
        bench.kernel.check_driver(ME, again.pid, bench.screen, None)
        await leave(bench)

    run(main())


def test_what_a_process_has_written_to_its_memory_before_comes_back_and_nothing_after(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        kernel = bench.kernel
        for _ in range(2):
            await bench.exec("talk", interactive=True, max_tokens=1)
        await rest(bench)
        data = bytes(range(256)) * 300  # four pages and a part
        await kernel.write_memory(ME, 1, 3 * PAGE + 5, data)
        (child,) = await kernel.fork(ME, 1, 1, bench.screen)
        await kernel.checkpoint(ME, None, "tale")
        for pid in (1, 2, child.pid):
            await kernel.write_memory(ME, pid, 4 * PAGE, b"after")
            kernel.kill(ME, pid)
        for life in range(2):
            await back(bench)
            kernel.memory.check_integrity()
            for pid in (1, child.pid):
                assert await kernel.read_memory(ME, pid, 0, None) == bytes(3 * PAGE + 5) + data
            assert await kernel.read_memory(ME, 2, 0, None) == b""
            await kernel.write_memory(ME, 1, 0, b"goes on")
            if life == 0:
                for pid in (1, 2, child.pid):
                    kernel.kill(ME, pid)
        await leave(bench)
        bench = await born(tmp_path)
        assert (await bench.kernel.read_memory(ME, 1, 0, None))[:7] == b"goes on"
        assert (await bench.kernel.read_memory(ME, child.pid, 0, None))[:7] == bytes(7)
        bench.kernel.memory.check_integrity()
        await leave(bench)

    run(main())


def test_a_memory_prefix_comes_back_before_or_after_it_was_written(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        kernel = bench.kernel
        for _ in range(2):
            await bench.exec("talk", memory_prefix=True)
        await kernel.write_memory(ME, 2, 0, b"12345678")
        bench.step(3)
        await saved(bench)
        waiting, begun = await back(bench)
        assert (waiting.wait, begun.soft) == (Wait.MEMORY, b"12345678")
        await kernel.write_memory(ME, 1, 0, b"abcd")
        assert waiting.soft == b"abcd"
        await to_the_end(bench)
        assert said(bench, 1) == said(bench, 2) == TALK
        await leave(bench)

    run(main())


NAMES = (
    b"plain",
    b"a/b/c/deep.txt",
    b"a/.hidden",
    b"\xff\xfe",
    b"caf\xe9/\xff",
    b"two words\n\x01",
    b"%41&=?#",
    b"empty",
)


def test_files_come_back_as_they_were_whatever_their_names(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await born(tmp_path)
        process = await bench.exec("talk", interactive=True, max_tokens=3)
        await rest(bench)
        root = bench.kernel.gate.workspace(process).make()
        contents = {name: name * 1000 if name != b"empty" else b"" for name in NAMES}
        for name, data in contents.items():
            path = Path(bytes(root).decode()) / name.decode(errors="surrogateescape")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        await bench.kernel.checkpoint(ME, process.pid, "tale")
        await bench.kernel.put_file(ME, process.pid, "later", b"later")
        await bench.kernel.put_file(ME, process.pid, "plain", b"changed")
        bench.kernel.kill(ME, process.pid)
        for as_new in (False, True):
            (again,) = await back(bench, as_new=as_new)
            folder = Path(bench.kernel.config.workspace) / str(again.pid)
            found = {
                bytes(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
            assert found == contents
        await leave(bench)

    run(main())
