"""Snapshots, the memory of processes and full contexts, through both clients and a real kernel."""

from __future__ import annotations

import asyncio
import struct

import pytest

from agentkernel.client import AsyncClient, Client, RequestError, ResourceError, requests
from tests.conftest import ENDLESS

PAGE = 16 * 1024


@pytest.fixture
def client(kernel):
    with Client(kernel.host, kernel.port) as connected:
        yield connected


@pytest.fixture
def waiting(client):
    """The stream of an interactive process that waits for input."""
    stream = client.exec("hi", interactive=True, grammar=ENDLESS, max_tokens=4)
    stream.read()
    yield stream
    client.kill(stream.pid)
    stream.result()


def test_a_snapshot_is_taken_listed_begun_from_and_dropped(client, waiting):
    context = client.process_status(waiting.pid).context_tokens
    taken = client.snapshot(waiting.pid, "tale")
    assert (taken.pid, taken.name, taken.tokens) == (waiting.pid, "tale", context)
    listed = client.list_snapshots()
    assert listed.total_snapshots == 1
    [row] = listed.snapshots
    assert (row.name, row.tokens, row.share, row.model) == ("tale", context, "owner", taken.model)
    begun = client.exec("and then?", from_="tale", max_tokens=1)
    assert begun.started.prompt_tokens > context
    begun.result()
    assert client.drop_snapshot("tale").name == "tale"
    with pytest.raises(RequestError, match="SNAPSHOT_NOT_FOUND"):
        client.exec("and then?", from_="tale")


def test_memory_keeps_any_bytes_at_any_offset(client, waiting):
    pid, data = waiting.pid, bytes(range(256)) * 4
    assert client.memw(pid, data).status == "written"
    assert client.memw(pid, b"\n|\0", offset=PAGE - 1).message == "Written 3 bytes into 2 blocks"
    whole = client.memr(pid)
    assert (whole.offset, whole.length, whole.size) == (0, PAGE + 2, PAGE + 2)
    assert whole.data == data.ljust(PAGE - 1, b"\0") + b"\n|\0"
    assert client.memr(pid, 250, 10).data == data[250:260]
    assert client.memr(pid, PAGE).data == b"|\0"


def test_mem_tells_of_one_process_and_of_all(client, waiting):
    client.memw(waiting.pid, b"x" * PAGE)
    own, whole = client.process_mem(waiting.pid), client.mem()
    assert (own.pid, own.size, own.alloc_bytes, own.ram_bytes) == (waiting.pid, PAGE, PAGE, PAGE)
    assert (own.kv_tier, own.kv_tokens > 0) == ("slot", True)
    assert whole.alloc_bytes == PAGE
    assert whole.kv_slot_tokens >= own.kv_tokens
    assert whole.total_blocks == whole.free_blocks + 1


def test_a_process_may_begin_with_embeddings(client):
    width = client.model_info().embedding
    stream = client.exec("hi", memory_prefix=True, max_tokens=2, grammar=ENDLESS)
    assert client.process_status(stream.pid).wait == "memory"
    with pytest.raises(RequestError, match="MEMW_INVALID"):
        client.memw(stream.pid, struct.pack("f", 0.5))  # no whole row
    assert client.memw(stream.pid, struct.pack("f", 0.01) * width * 3).status == "written"
    assert stream.read() == "aa"
    assert client.process_status(stream.pid).prompt_tokens == stream.started.prompt_tokens + 3


def test_a_full_context_slides_when_that_was_asked_for(client):
    turn = {"interactive": True, "grammar": ENDLESS, "max_tokens": 400}
    events = client.events()
    stream = client.exec("hi", context_strategy="slide", limits={"max_tokens": 100_000}, **turn)
    window = stream.started.context_window_size
    assert stream.started.context_strategy == "slide"
    for _ in range(window // 400):
        assert stream.read() == "a" * 400
        stream.send("more")
    assert stream.read() == "a" * 400  # none is lost
    slid = next(event for event in events if event.kind == "context_slid")
    assert slid.pid == stream.pid
    assert slid.fields["context_tokens"] <= window // 2
    client.kill(stream.pid)
    stream.result()


def test_a_write_that_finds_no_room_waits_and_is_told_of_when_it_is_done(make_kernel):
    room = {"AGENTKERNEL_MEMORY__PROCESS_RAM_MB": "1", "AGENTKERNEL_MEMORY__PROCESS_DISK_MB": "0"}
    kernel = make_kernel(env=room)
    with Client(kernel.host, kernel.port) as client:
        first, second = (client.exec("hi", interactive=True, max_tokens=1) for _ in range(2))
        first.read()
        second.read()
        client.memw(first.pid, b"x" * (1 << 20))
        with pytest.raises(ResourceError, match="MEMW_FAILED"):
            client.memw(second.pid, b"x", offset=1 << 20)
        events = client.events()
        assert client.memw(second.pid, b"later").status == "queued"
        assert client.mem().waiting == 1
        client.kill(first.pid)
        written = next(event for event in events if event.kind == "memory_written")
        assert (written.pid, written.fields["ok"]) == (second.pid, True)
        assert client.memr(second.pid).data == b"later"


def test_async_the_same_verbs_answer_the_same(kernel):
    async def main():
        async with AsyncClient(kernel.host, kernel.port) as client:
            stream = await client.exec("hi", interactive=True, max_tokens=1)
            await stream.read()
            pid = stream.pid
            assert (await client.snapshot(pid, "tale")).pid == pid
            assert [row.name for row in (await client.list_snapshots()).snapshots] == ["tale"]
            assert (await client.drop_snapshot("tale")).name == "tale"
            assert (await client.memw(pid, b"abc", 1)).status == "written"
            assert (await client.memr(pid)).data == b"\0abc"
            assert (await client.process_mem(pid)).alloc_bytes == (await client.mem()).alloc_bytes == PAGE
            await client.kill(pid)

    asyncio.run(main())


def test_from_is_the_key_on_the_wire():
    assert requests.exec("hi", from_="tale").payload == b'{"prompt":"hi","from":"tale"}'
