"""The built-in tools, each called by a process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.jail.port import Limits
from agentkernel.process import Wait
from agentkernel.syscalls import builtin
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.table import SYSCALLS
from tests.by_hand import ME, run
from tests.callers import NO_FILES, call, called, calling, context, rest
from tests.fake_jail import FakeJail, ended


async def results(folder: Path, *said: str, jail: FakeJail | None = None, **fields) -> list[str]:
    """What these calls, one a turn, come to."""
    settings = {"engine": {"context": 4096}, "tools": {"result_bytes": 3000}}
    turns = {f"turn {i}": each for i, each in enumerate(said)}
    bench = await calling(folder, turns, jail or FakeJail(), **settings)
    process = await bench.exec("turn 0", interactive=True, max_syscalls=100, max_tokens=3000, **fields)
    for turn in range(1, len(said)):
        await called(bench, process)
        await bench.kernel.send_input(ME, 1, f"turn {turn}", bench.screen)
    await called(bench, process)
    assert process.wait is Wait.INPUT
    return context(process).split("|")[1::2]


def test_every_tool_of_the_table_has_a_function_and_no_function_is_left_over() -> None:
    assert builtin.HANDLERS.keys() == SYSCALLS.keys()


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (call("calc", expression="417 + 268"), "685"),
        (call("calc", expression="10/4"), "2.5"),
        (call("sleep", seconds=0), "ok: slept 0 seconds"),
        (call("python", code="hello\n", stdin="in\n"), "hello\nin"),
        (call("shell", argv=["echo", "a b", "c"]), "a b c"),
        (call("shell", argv=["/usr/bin/echo", "a"]), "a"),
    ],
)
def test_a_result_is_what_the_model_was_trained_on(tmp_path: Path, said: str, result: str) -> None:
    async def main() -> None:
        assert await results(tmp_path, said, paths=NO_FILES) == [result]

    run(main())


def test_files_are_written_read_listed_searched_and_deleted(tmp_path: Path) -> None:
    async def main() -> None:
        assert await results(
            tmp_path,
            call("write_file", path="a/sum.txt", content="685"),
            call("append_file", path="a/sum.txt", content="\nend"),
            call("read_file", path="a/sum.txt"),
            call("list_files", path="a"),
            call("list_files"),
            call("search_text", query="end"),
            call("delete_file", path="a/sum.txt"),
            call("read_file", path="a/sum.txt"),
        ) == [
            "ok: wrote 3 bytes to a/sum.txt",
            "ok: appended 4 bytes to a/sum.txt",
            "685\nend",
            "sum.txt",
            "a/",
            "a/sum.txt:2: end",
            "ok: deleted a/sum.txt",
            "error: NOT_FOUND: no such file: a/sum.txt",
        ]

    asyncio.run(main())


def test_a_file_that_is_longer_than_a_result_tells_where_to_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        _, first, rest_ = await results(
            tmp_path,
            call("write_file", path="long", content="a" * 2900),
            call("read_file", path="long"),
            call("read_file", path="long", offset=2840),
        )
        assert first == "a" * 2840 + "\n[cut: 2900 bytes in all, go on at offset 2840]"
        assert rest_ == "a" * 60

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "paths", "allowed"),
    [
        (call("read_file", path="in/x"), {"read": ["in/*"]}, True),
        (call("read_file", path="out/x"), {"read": ["in/*"]}, False),
        (call("read_file", path="in/../out/x"), {"read": ["in/*"]}, False),
        (call("list_files"), {"read": ["in/*"]}, False),
        (call("search_text", query="x"), {"read": ["in/*"]}, False),
        (call("write_file", path="in/x", content=""), {"write": []}, False),
        (call("write_file", path="in/x", content=""), {"read": []}, True),
        (call("append_file", path="out/x", content=""), {"write": ["in/*"]}, False),
        (call("delete_file", path="out/x"), {"write": ["in/*"]}, False),
    ],
)
def test_files_outside_a_processs_paths_are_not_touched(tmp_path: Path, said: str, paths, allowed) -> None:
    async def main() -> None:
        (result,) = await results(tmp_path, said, paths=paths)
        assert result.startswith("error: NOT_ALLOWED: ") is not allowed

    asyncio.run(main())


@pytest.mark.parametrize("argv", [["gcc"], ["/tmp/ls"], ["../bin/ls"], ["/usr/bin/../bin/ls"], [""]])
def test_the_shell_runs_only_programs_of_its_list(tmp_path: Path, argv: list[str]) -> None:
    async def main() -> None:
        jail = FakeJail()
        (result,) = await results(tmp_path, call("shell", argv=argv), jail=jail, paths=NO_FILES)
        assert result.startswith("error: NOT_ALLOWED: ")
        assert jail.jobs == []

    run(main())


def test_a_program_gets_its_code_arguments_and_input(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail()
        python = call("python", code="c", argv=["-x", "é"], stdin="é")
        await results(tmp_path, python, call("shell", argv=["/bin/sort", "-r"], stdin="b\na"), jail=jail)
        python, shell = jail.jobs
        assert (python.code, python.argv, python.stdin, python.key) == ("c", ("-x", "é"), "é".encode(), "1.1")
        assert (shell.code, shell.argv, shell.stdin, shell.key) == (None, ("sort", "-r"), b"b\na", "1.2")
        assert python.workspace == str(tmp_path / "workspace" / "1")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("killed", "code", "said"),
    [
        ("wall", "TIMEOUT", "stopped after 6 seconds"),
        ("cpu", "TIMEOUT", "used more than 8 seconds of the processor"),
        ("memory", "TOO_LARGE", "used more than 128 MB of memory"),
        ("output", "TOO_LARGE", "wrote more than 65536 bytes of output"),
        ("workspace", "TOO_LARGE", "put more than 16 MB or 1024 files there"),
        ("cancelled", "TOOL_FAILED", "was cancelled"),
    ],
)
def test_what_a_job_was_killed_for_is_told_with_what_it_wrote(killed: str, code: str, said: str) -> None:
    with pytest.raises(ToolError) as failed:
        builtin.printed(ended(b"so far\n", -9, killed), Limits(wall_s=6.0))
    assert str(failed.value) == f"error: {code}: {said}\nso far"


def test_how_a_job_failed_is_told_with_what_it_wrote() -> None:
    for status, how in ((3, "status 3"), (-11, "signal 11")):
        with pytest.raises(ToolError) as failed:
            builtin.printed(ended(b"", status), Limits())
        assert str(failed.value) == f"error: TOOL_FAILED: ended with {how}"
    assert builtin.printed(ended(b"\xff\n\n"), Limits()) == "�\n"


def test_an_untrusted_jobs_limits_are_told_as_they_were(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail(lambda _job: ended(b"", -9, "wall"))
        fields = {"trust": "untrusted", "paths": NO_FILES}
        bench = await calling(tmp_path, {"go": call("python", code="x")}, jail, tools={"rule_of_two": False})
        process = await bench.exec("go", interactive=True, **fields)
        await rest(bench)
        assert context(process) == "go|error: TIMEOUT: stopped after 4 seconds"
        assert jail.jobs[0].limits.wall_s == 8.0  # the jail halves them

    run(main())


# Notes


def test_what_is_stored_under_a_key_is_recalled_and_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        assert await results(
            tmp_path,
            call("mem_write", key="k", value="one"),
            call("mem_read", key="k"),
            call("mem_write", key="k", value="two"),
            call("mem_read", key="k"),
            call("mem_read", key="K"),
        ) == ["ok: stored k", "one", "ok: stored k", "two", "error: NOT_FOUND: the key is unknown: K"]

    run(main())


async def with_notes(folder: Path, notes: dict[str, str], said: str) -> str:
    bench = await calling(folder, {"go": said}, engine={"context": 4096})
    process = await bench.exec("go", interactive=True)
    process.notes.update(notes)
    await rest(bench)
    return context(process).partition("|")[2]


def test_so_many_keys_are_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        full = {f"k{i}": "" for i in range(builtin.MOST_NOTES)}
        assert (await with_notes(tmp_path, full, call("mem_write", key="new", value=""))).startswith(
            "error: QUOTA_EXCEEDED: 256 keys"
        )

    run(main())


def test_a_key_that_is_there_can_be_replaced_when_all_are_taken(tmp_path: Path) -> None:
    async def main() -> None:
        full = {f"k{i}": "" for i in range(builtin.MOST_NOTES)}
        assert await with_notes(tmp_path, full, call("mem_write", key="k0", value="x")) == "ok: stored k0"

    run(main())


@pytest.mark.parametrize(("room", "stored"), [(5, True), (4, False)])
def test_so_many_bytes_are_remembered_keys_and_all(tmp_path: Path, room: int, stored: bool) -> None:
    async def main() -> None:
        full = {"k": "x" * (builtin.MOST_NOTE_BYTES - 1 - room)}
        result = await with_notes(tmp_path, full, call("mem_write", key="n", value="éé"))
        assert result.startswith("ok: stored n" if stored else "error: QUOTA_EXCEEDED")

    run(main())


def test_a_fork_has_a_copy_of_the_notes(tmp_path: Path) -> None:
    async def main() -> None:
        said = {
            "go": call("mem_write", key="k", value="old"),
            "new": call("mem_write", key="k", value="newer"),
            "read": call("mem_read", key="k"),
        }
        bench = await calling(tmp_path, said)
        parent = await bench.exec("go", interactive=True)
        await rest(bench)
        (child,) = await bench.kernel.fork(ME, 1, 1, bench.screen)
        for pid, text in ((1, "new"), (2, "read"), (1, "read")):
            await bench.kernel.send_input(ME, pid, text, bench.screen)
            await rest(bench)
        assert context(child).endswith("read|old")
        assert context(parent).endswith("read|newer")

    run(main())
