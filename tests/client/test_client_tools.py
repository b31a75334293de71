"""Tools, what people are asked and workspaces, through both clients; models call what they are told."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkernel.client import AsyncClient, Client, RequestError, ResourceError, requests
from agentkernel.payloads import parse_file
from tests.fake_jail import BROKEN, FakeJail
from tests.harness import run, scripted_server

GREET = {
    "name": "greet",
    "description": "greet somebody",
    "schema": {"type": "object", "properties": {"who": {"type": "string"}}},
    "command": ["echo", "hello", "{who}"],
}


@contextlib.asynccontextmanager
async def served(models, jail=None, **settings):
    """A client of a kernel whose model repeats its prompt, calls included."""
    jail = FakeJail() if jail is None else jail
    async with (
        scripted_server(models, jail=jail, settings=settings) as bench,
        AsyncClient(port=bench.port) as client,
    ):
        yield client


async def asked(events, kind):
    """The next event of this kind."""
    async for event in events:
        if event.kind == kind:
            return event
    raise AssertionError(f"no {kind}")


def test_tools_are_listed_described_registered_called_and_forgotten(demo):
    async def main():
        async with served(demo) as client:
            before = await client.list_tools()
            assert "calc" in {tool.name for tool in before.tools}
            assert (await client.register_tool(GREET)).name == "greet"
            tool = await client.tool_info("greet")
            assert (tool.source, tool.jailed, tool.schema) == ("registered", True, GREET["schema"])
            assert tool.limits["memory_mb"] == 128
            stream = await client.exec('x\nTOOL:greet {"who": "Ada"}', tools=["greet"])
            assert (await stream.read()).endswith('\nYou said: hello Ada{"who": "Ada"}')
            assert (await client.unregister_tool("greet")).name == "greet"
            assert (await client.list_tools()).tools == before.tools
            with pytest.raises(RequestError, match="TOOL_NOT_FOUND"):
                await client.tool_info("greet")

    run(main())


def test_a_description_may_be_text(demo):
    async def main():
        async with served(demo) as client:
            text = "name: two\ndescription: print 2\nschema: {type: object}\nscript: print(2)\n"
            assert (await client.register_tool(text)).name == "two"
            with pytest.raises(RequestError, match="TOOL_INVALID: line 2"):
                await client.register_tool("name: two\ncolour: blue\n")

    run(main())


def test_the_answer_to_a_question_is_what_the_model_goes_on_from(demo):
    async def main():
        async with served(demo) as client:
            events = await client.events()
            stream = await client.exec("[[ASK: Which?]]")
            question = await asked(events, "question")
            assert (question.pid, question.fields["question"]) == (stream.pid, "Which?")
            assert (await client.process_status(stream.pid)).asks == "1:Which?"
            assert (await client.answer(stream.pid, "the\nblue one")).status == "answered"
            assert (await stream.read()).endswith("You said: the\nblue one")

    run(main())


def test_who_streams_hears_by_a_watcher_what_is_asked(demo):
    async def main():
        async with served(demo) as client:
            asked = asyncio.Queue()
            await client.watch(asked.put_nowait)
            stream = await client.exec("[[ASK: Which?]]")
            reading = asyncio.create_task(stream.read())
            while (event := await asked.get()).kind != "question":
                pass
            await client.answer(event.pid, "this")
            assert (await reading).endswith("this")

    run(main())


def test_calls_are_approved_or_denied(demo):
    async def main():
        async with served(demo) as client:
            events = await client.events()
            for decide, result in (
                (client.approve, "2"),
                (client.deny, "error: DENIED: denied by the operator"),
                (lambda pid, call: client.deny(pid, call, "too late"), "error: DENIED: too late"),
            ):
                stream = await client.exec("[[CALC: 1+1]]", approve=["calc"])
                wanted = await asked(events, "approval_wanted")
                assert wanted.fields["arguments"] == '{"expression":"1+1"}'
                assert (await decide(stream.pid, wanted.fields["call"])).call == 1
                assert (await stream.read()).endswith(f"You said: {result}")
                status = await client.process_status(stream.pid)
                assert (status.calls, status.asks, status.trust) == (1, "", "standard")

    run(main())


def test_files_of_any_bytes_go_into_a_workspace_and_out_of_it(demo):
    async def main():
        async with served(demo) as client:
            stream = await client.exec("hi", interactive=True)
            pid, data = stream.pid, bytes(range(256)) + b"|\n"
            assert (await client.put_file(pid, "in/any thing", data)).size == len(data)
            assert (await client.get_file(pid, "in/any thing")).data == data
            whole = await client.list_files(pid)
            assert [(entry.name, entry.folder) for entry in whole.files] == [("in", True)]
            [entry] = (await client.list_files(pid, "in")).files
            assert (entry.name, entry.folder, entry.size) == ("any thing", False, len(data))
            with pytest.raises(RequestError, match="FILE_NOT_FOUND"):
                await client.get_file(pid, "out")
            await client.kill(pid)
            assert (await client.get_file(pid, "in/any thing")).data == data

    run(main())


@pytest.mark.parametrize("path", ["a|b", "a\nb", " a", "a\t"])
def test_a_path_that_would_be_read_as_another_is_not_sent(path):
    with pytest.raises(ValueError, match="a path can't be sent"):
        requests.put_file(1, path, b"x")


@given(st.text(st.characters(exclude_characters="\0"), min_size=1), st.binary())
def test_whatever_path_is_sent_is_the_one_that_is_read(path, data):
    try:
        payload = requests.put_file(7, path, data).payload
    except ValueError:
        return
    assert parse_file(payload) == (7, path, data)


def test_what_a_process_may_do_is_said_when_it_starts(demo):
    async def main():
        async with served(demo) as client:
            permits = {"paths": {"read": ["in"], "write": []}, "constrain_tools": False}
            limits = {"python": {"wall_s": 0.5}}
            stream = await client.exec(
                "[[WRITE_FILE: a | x]]", **permits, tool_limits=limits, trust="confidential"
            )
            assert "NOT_ALLOWED" in await stream.read()
            assert (await client.process_status(stream.pid)).trust == "confidential"

    run(main())


def test_the_state_of_the_jail_is_part_of_the_status(demo):
    async def main():
        async with served(demo, FakeJail(found=BROKEN)) as client:
            await (await client.exec("[[CALC: 1+1]]")).read()
            tools = (await client.status()).tools
            assert (tools.syscalls, tools.syscall_errors) == (1, 1)
            assert (tools.sandbox.backend, tools.sandbox.levels) == ("off", [])
            assert tools.sandbox.faults == list(BROKEN.faults)
            with pytest.raises(ResourceError, match="ESANDBOX"):
                await client.exec("hi", trust="untrusted")

    run(main())


def test_the_blocking_client_does_the_same(demo):
    def use(port):
        with Client(port=port) as client:
            events = client.events()
            stream = client.exec("[[CALC: 1+1]]", approve=["*"])
            call = next(event for event in events if event.kind == "approval_wanted").fields["call"]
            assert client.approve(stream.pid, call).status == "approved"
            assert stream.read().endswith("You said: 2")
            stream = client.exec("hi", interactive=True)
            client.put_file(stream.pid, "a", b"x")
            assert client.get_file(stream.pid, "a").data == b"x"
            client.kill(stream.pid)

    async def main():
        async with scripted_server(demo, jail=FakeJail()) as bench:
            await asyncio.to_thread(use, bench.port)

    run(main())
