"""The gate: what is written down of a call, and what nobody sees."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from agentkernel.process import State
from agentkernel.syscalls.builtin import Invocation
from tests.by_hand import ME, run
from tests.callers import (
    HELLO,
    NO_FILES,
    SUM,
    audited,
    call,
    calling,
    context,
    events,
    one,
    outcomes,
    rest,
    results,
)
from tests.fake_jail import FakeJail, ended

# What is written down


def test_an_audit_line_says_who_called_what_and_how_it_ended(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail(lambda _job: msgspec.structs.replace(ended(b"12345"), cpu_ms=3.0, memory_kb=70))
        bench, _ = await one(tmp_path, HELLO, jail, paths=NO_FILES)
        (entry,) = audited(bench)
        told = {key: entry[key] for key in ("owner", "pid", "call", "tool", "trust", "backend", "outcome")}
        assert told == {
            "owner": "me",
            "pid": 1,
            "call": 1,
            "tool": "python",
            "trust": "standard",
            "backend": "fake",
            "outcome": "ok",
        }
        assert (entry["cpu_ms"], entry["memory_kb"], entry["output_bytes"]) == (3.0, 70, 5)
        assert "arguments" not in entry

    run(main())


def test_a_call_without_a_job_names_the_kernel_and_no_earlier_jobs_means(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": HELLO, "hello": SUM}, FakeJail())
        await bench.exec("go", paths=NO_FILES)
        await rest(bench)
        assert [(entry["backend"], entry["output_bytes"]) for entry in audited(bench)] == [
            ("fake", 5),
            ("kernel", 0),
        ]

    run(main())


def test_a_call_that_the_quota_refuses_is_written_down(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": HELLO}, FakeJail())
        process = await bench.exec("go", max_syscalls=1, paths=NO_FILES)
        await rest(bench)
        told = [(entry["call"], entry["tool"], entry["outcome"]) for entry in audited(bench)]
        assert told == [(1, "calc", "ok"), (2, "python", "QUOTA")]
        assert (process.reason, process.called) == ("quota", 1)

    run(main())


@pytest.mark.parametrize(("trust", "kept"), [("standard", True), ("confidential", False)])
def test_arguments_are_written_where_asked_but_for_confidential_ones(tmp_path: Path, trust, kept) -> None:
    async def main() -> None:
        bench, _ = await one(tmp_path, SUM, settings={"tools": {"audit_arguments": True}}, trust=trust)
        (entry,) = audited(bench)
        assert entry.get("arguments") == ('{"expression": "2+3"}' if kept else None)

    run(main())


def test_while_calls_can_not_be_written_down_none_is_made(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})
        process = await bench.exec("go", interactive=True)
        log = bench.kernel.gate._audit._log
        readable = os.open(bench.kernel.config.audit_file, os.O_RDONLY)
        written = os.dup(log)
        os.dup2(readable, log)  # every write fails now
        await rest(bench)
        assert results(process) == ["5"]  # it was made before that was known
        for _ in range(2):
            await bench.kernel.send_input(ME, 1, "go", bench.screen)
            await rest(bench)
            assert results(process)[-1] == "error: ESANDBOX: calls can't be written down"
        os.dup2(written, log)
        for answer in ("error: ESANDBOX: calls can't be written down", "5"):
            if process.state.ended:
                process = await bench.exec("go", interactive=True)
            else:
                await bench.kernel.send_input(ME, 1, "go", bench.screen)
            await rest(bench)
            if not process.state.ended:
                assert results(process)[-1] == answer
        assert outcomes(bench)[-1][2] == "ok"
        for each in (readable, written):
            os.close(each)

    run(main())


def test_a_fault_inside_the_kernel_ends_one_process_and_is_written_down(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})

        async def broken(_call: Invocation) -> str:
            raise ZeroDivisionError

        bench.kernel.gate.toolbox.handlers["calc"] = broken
        process = await bench.exec("go")
        other = await bench.exec("other")
        await rest(bench)
        assert (process.state, process.reason) == (State.FAILED, "internal")
        assert other.reason == "stop"
        assert outcomes(bench) == [(1, "calc", "INTERNAL")]

    run(main())


def test_a_tool_has_so_many_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})

        async def slow(_call: Invocation) -> str:
            await asyncio.sleep(100)
            raise AssertionError

        bench.kernel.gate.toolbox.handlers["calc"] = slow
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        await asyncio.sleep(8.1)
        await rest(bench)
        assert results(process) == ["error: TIMEOUT: calc took longer than 8 seconds"]

    run(main())


def test_a_long_result_is_cut_whole_characters_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail(lambda _job: ended("é".encode() * 400))
        settings = {"tools": {"result_bytes": 257}, "engine": {"context": 1024}}
        _, process = await one(tmp_path, HELLO, jail, settings, paths=NO_FILES)
        (result,) = results(process)
        assert result.encode("latin-1").decode() == "é" * 128 + "\n[cut: 800 bytes in all]"

    run(main())


# Secrets


async def with_secret(folder: Path, said: dict[str, str], jail: FakeJail, **settings):
    """A kernel that keeps a secret, and what became public when one process has run."""
    (folder / "state").mkdir(exist_ok=True)
    file = folder / "state" / "secrets"
    file.write_text("KEY: hunter2-hunter2\nOTHER: not-for-greet\n")
    file.chmod(0o600)
    return await calling(folder, said, jail, **settings)


GREET = b"""
name: greet
description: d
schema: {type: object, properties: {who: {type: string}}, additionalProperties: false}
command: [greet, "{who}"]
secrets: [KEY]
"""


def test_a_secret_is_in_its_tools_jail_alone_and_in_nothing_that_is_seen(tmp_path: Path) -> None:
    async def main() -> None:
        leak = FakeJail(lambda job: ended(f"it is {job.environment.get('KEY')}".encode()))
        said = {"go": call("greet", who="hunter2-hunter2"), "it is [secret KEY]": HELLO}
        bench = await with_secret(tmp_path, said, leak, tools={"audit_arguments": True})
        bench.kernel.register_tool(GREET)
        process = await bench.exec("go", paths=NO_FILES, approve=["greet"], interactive=True)
        await rest(bench)
        bench.kernel.approve(ME, 1, 1)
        await rest(bench)
        greet, python = leak.jobs
        assert (greet.argv, greet.environment) == (("greet", "hunter2-hunter2"), {"KEY": "hunter2-hunter2"})
        assert python.environment == {}
        assert results(process) == ["it is [secret KEY]", "it is None"]
        (wanted,) = events(bench, "approval_wanted")
        assert wanted["arguments"] == '{"who": "[secret KEY]"}'
        assert "hunter2" not in bench.kernel.config.audit_file.read_text()
        assert "hunter2" not in repr(bench.screen.events)

    run(main())


def test_a_secret_in_an_error_or_a_question_is_not_shown(tmp_path: Path) -> None:
    async def main() -> None:
        fail = FakeJail(lambda _job: ended(b"hunter2-hunter2", 1))
        told = "error: TOOL_FAILED: ended with status 1\n[secret KEY]"
        said = {"go": HELLO, told: call("ask_human", question="Is it hunter2-hunter2?")}
        bench = await with_secret(tmp_path, said, fail)
        process = await bench.exec("go", paths=NO_FILES)
        await rest(bench)
        assert context(process) == f"go|{told}"
        (question,) = events(bench, "question")
        assert question["question"] == "Is it [secret KEY]?"
        assert bench.kernel.gate.people.of(1).said == "Is it [secret KEY]?"

    run(main())


def test_a_cut_leaves_no_part_of_a_secret(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail(lambda _job: ended(b"x" * 250 + b"hunter2-hunter2" + b"y" * 100))
        bench = await with_secret(
            tmp_path, {"go": HELLO}, jail, tools={"result_bytes": 256}, engine={"context": 1024}
        )
        process = await bench.exec("go", paths=NO_FILES, interactive=True)
        await rest(bench)
        assert "hunter" not in context(process)
        assert context(process).startswith("go|" + "x" * 250 + "[secre\n[cut: ")

    run(main())
