"""Named contexts: who may begin from them, and that they outlive the kernel."""

from __future__ import annotations

import asyncio
import stat

import pytest

from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import Wait
from tests.by_hand import ADMIN, ME, OTHER, boot, run, words

LONG = "x" * 100


async def booted(folder, **settings):
    """A kernel whose state is kept in the folder, with a process of 100 and 3 tokens."""
    engine = {"slots": 2, "context": 256}
    return await boot(folder, engine=engine, state=str(folder / "state"), **settings)


async def with_snapshot(folder, share="owner", **settings):
    bench = await booted(folder, **settings)
    await bench.exec(LONG, interactive=True, max_tokens=3, share=share)
    bench.finish()
    await bench.kernel.snapshot(ME, 1, "base")
    return bench


async def code(awaitable):
    with pytest.raises(KernelError) as caught:
        await awaitable
    return caught.value.code


def begin(bench, owner=ME, **fields):
    fields = {"max_tokens": 2, **fields}
    return bench.exec("and then", owner=owner, **{"from": "base"}, **fields)


def test_a_process_begins_behind_the_snapshot_and_computes_only_what_is_new(tmp_path):
    async def main():
        bench = await with_snapshot(tmp_path)
        held = list(bench.kernel.table.live(1).tokens)
        read = bench.kernel.models.current().prompt_tokens
        process = await begin(bench)
        bench.finish()
        assert bench.screen.text[2] == words(2)
        (request,) = [p for p in bench.sent(port.Grant) if p.pid == process.pid]
        assert request.prefix >= 100
        assert bench.kernel.models.current().prompt_tokens - read < 20
        assert bench.kernel.snapshots.visible(ME)[0].tokens == tuple(held)

    run(main())


def test_what_it_began_from_does_not_change_with_its_process(tmp_path):
    async def main():
        bench = await with_snapshot(tmp_path)
        held = list(bench.kernel.table.live(1).tokens)
        await bench.kernel.send_input(ME, 1, "more", bench.screen)
        bench.finish()
        bench.kernel.kill(ME, 1)
        process = await begin(bench, interactive=True)
        assert process.tokens[: len(held)] == held
        bench.finish()
        assert process.wait is Wait.INPUT
        assert process.tokens[len(held) + 1 :][:8] == list(b"and then")

    run(main())


def test_its_image_helps_when_the_process_is_gone(tmp_path):
    async def main():
        bench = await with_snapshot(tmp_path)
        bench.kernel.kill(ME, 1)
        read = bench.kernel.models.current().prompt_tokens
        await begin(bench)
        bench.finish()
        assert bench.kernel.models.current().prompt_tokens - read < 20

    run(main())


def test_snapshots_outlive_the_kernel(tmp_path):
    async def main():
        first = await with_snapshot(tmp_path)
        (before,) = first.kernel.snapshots.visible(ME)
        await first.kernel.close()
        second = await booted(tmp_path)
        assert second.kernel.snapshots.visible(ME) == [before]
        await begin(second)
        second.finish()
        assert second.screen.text[1] == words(2)
        (file,) = (tmp_path / "state" / "snapshots").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    run(main())


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:9] + b"!" + data[10:], bytes.upper]
)
def test_a_damaged_file_is_left_alone_and_costs_itself_only(tmp_path, damage):
    async def main():
        first = await with_snapshot(tmp_path)
        await first.kernel.snapshot(ME, 1, "other")
        files = sorted((tmp_path / "state" / "snapshots").iterdir())
        files[0].write_bytes(damage(files[0].read_bytes()))
        await first.kernel.close()
        second = await booted(tmp_path)
        assert len(second.kernel.snapshots) == 1
        assert sorted((tmp_path / "state" / "snapshots").iterdir()) == files

    run(main())


@pytest.mark.parametrize(
    ("share", "owner", "asked", "found"),
    [
        ("owner", ME, "owner", True),
        ("owner", ADMIN, "owner", True),
        ("owner", OTHER, "owner", False),
        ("owner", OTHER, "public", False),
        ("none", OTHER, "none", False),
        ("public", OTHER, "owner", True),
        ("public", OTHER, "none", True),
        ("group:team", OTHER, "group:team", True),
        ("group:team", OTHER, "group:teams", False),
        ("group:team", OTHER, "owner", False),
    ],
)
def test_who_may_begin_from_a_snapshot(tmp_path, share, owner, asked, found):
    async def main():
        bench = await with_snapshot(tmp_path, share)
        if found:
            await begin(bench, owner, share=asked)
        else:
            assert await code(begin(bench, owner, share=asked)) == "SNAPSHOT_NOT_FOUND"

    run(main())


def test_what_begins_from_a_public_snapshot_stays_its_owners_own(tmp_path):
    """It uses what the group has computed, and adds nothing to it."""

    async def main():
        bench = await with_snapshot(tmp_path, "public")
        await bench.exec("y" * 60, owner=OTHER, max_tokens=1, **{"from": "base"})
        bench.finish()
        await bench.exec("y" * 60, owner=ADMIN, max_tokens=1, share="public", **{"from": "base"})
        prefixes = [grant.prefix for grant in bench.sent(port.Grant) if grant.pid in (2, 3)]
        assert all(100 <= prefix < 110 for prefix in prefixes)

    run(main())


def test_ones_own_snapshot_goes_before_anothers(tmp_path):
    async def main():
        bench = await with_snapshot(tmp_path, "public")
        await bench.exec("mine", owner=OTHER, interactive=True, max_tokens=1)
        bench.finish()
        await bench.kernel.snapshot(OTHER, 2, "base")
        process = await begin(bench, OTHER)
        assert process.tokens[:4] == list(b"mine")

    run(main())


def test_a_name_is_given_once_and_free_again_when_it_is_dropped(tmp_path):
    async def main():
        bench = await with_snapshot(tmp_path)
        assert await code(bench.kernel.snapshot(ME, 1, "base")) == "SNAPSHOT_EXISTS"
        await bench.kernel.drop_snapshot(ME, "base")
        assert list((tmp_path / "state" / "snapshots").iterdir()) == []
        assert bench.sent(port.Drop)[-1].pid < 0
        assert await code(begin(bench)) == "SNAPSHOT_NOT_FOUND"
        assert await code(bench.kernel.drop_snapshot(ME, "base")) == "SNAPSHOT_NOT_FOUND"
        await bench.kernel.snapshot(ME, 1, "base")
        bench.kernel.models.current().paging.pager.check_integrity()

    run(main())


def test_an_owner_has_so_many_and_no_more(tmp_path):
    async def main():
        bench = await with_snapshot(tmp_path, limits={"snapshots": 2})
        await bench.kernel.snapshot(ME, 1, "second")
        assert await code(bench.kernel.snapshot(ME, 1, "third")) == "SNAPSHOT_LIMIT"
        await bench.exec(owner=OTHER, interactive=True, max_tokens=1)
        bench.finish()
        await bench.kernel.snapshot(OTHER, 2, "third")

    run(main())


def test_a_process_that_ends_while_its_snapshot_is_written_leaves_it_without_an_image(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec(LONG, interactive=True, max_tokens=3)
        bench.finish()
        taking = asyncio.ensure_future(bench.kernel.snapshot(ME, 1, "base"))
        await asyncio.sleep(0)
        bench.kernel.kill(ME, 1)
        snapshot = await taking
        assert len(snapshot.tokens) == 103
        assert not bench.sent(port.Keep)
        await begin(bench)
        bench.finish()
        assert bench.screen.text[2] == words(2)

    run(main())


def test_what_a_kill_left_half_written_goes_at_the_start(tmp_path):
    async def main():
        folder = tmp_path / "state" / "snapshots"
        folder.mkdir(parents=True)
        (folder / "0123.part").write_bytes(b"half")
        bench = await booted(tmp_path)
        assert list(folder.iterdir()) == []
        assert len(bench.kernel.snapshots) == 0

    run(main())


def test_only_their_owner_drops_them(tmp_path):
    async def main():
        bench = await with_snapshot(tmp_path, "public")
        assert await code(bench.kernel.drop_snapshot(OTHER, "base")) == "SNAPSHOT_NOT_FOUND"
        assert await code(bench.kernel.snapshot(OTHER, 1, "mine")) == "FORBIDDEN"
        assert bench.kernel.snapshots.visible(OTHER) == []
        assert len(bench.kernel.snapshots.visible(ADMIN)) == 1

    run(main())


def test_a_folder_that_takes_no_file_is_told(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec(interactive=True, max_tokens=1)
        bench.finish()
        (tmp_path / "state").mkdir(exist_ok=True)
        (tmp_path / "state" / "snapshots").write_text("no folder")
        assert await code(bench.kernel.snapshot(ME, 1, "base")) == "SNAPSHOT_FAILED"
        assert bench.kernel.snapshots.visible(ME) == []

    run(main())


def test_what_begins_from_a_snapshot_runs_on_its_model(tmp_path):
    """Whatever model is the current one, or none; the snapshot's is loaded for it."""

    async def main():
        bench = await with_snapshot(tmp_path)
        bench.kernel.kill(ME, 1)
        (tmp_path / "other.gguf").write_bytes((tmp_path / "demo.gguf").read_bytes())
        await bench.kernel.models.load("other")
        await bench.kernel.models.unload("demo")
        assert (await begin(bench)).model_id == "demo"
        assert bench.kernel.models.current().card.id == "other"

    run(main())


@pytest.mark.parametrize("change", ["gone", "another file"])
def test_a_snapshot_is_of_one_model(tmp_path, change):
    async def main():
        bench = await with_snapshot(tmp_path)
        bench.kernel.kill(ME, 1)
        await bench.kernel.models.unload("")
        if change == "gone":
            (tmp_path / "demo.gguf").unlink()
        else:
            with (tmp_path / "demo.gguf").open("ab") as file:
                file.write(b"more")
        assert await code(begin(bench)) == "SNAPSHOT_MODEL"

    run(main())


def test_embeddings_cannot_be_kept_as_tokens(tmp_path):
    async def main():
        bench = await booted(tmp_path)
        await bench.exec(memory_prefix=True)
        assert await code(bench.kernel.snapshot(ME, 1, "base")) == "SNAPSHOT_INVALID"

    run(main())
