"""Streams of processes that were started elsewhere: attach, detach, logs, and EXEC with a key."""

from __future__ import annotations

import asyncio

import pytest

from agentkernel.client import AsyncClient, Client
from tests.conftest import ENDLESS


@pytest.fixture
def client(long_kernel):
    with Client(long_kernel.host, long_kernel.port) as connected:
        yield connected


def endless(client, **options):
    """A process that goes on until somebody ends it."""
    return client.exec("hi", grammar=ENDLESS, max_tokens=30_000, **options)


def test_a_stream_goes_on_where_a_lost_one_was(long_kernel, client):
    with Client(long_kernel.host, long_kernel.port) as first:
        lost = endless(first, on_disconnect="detach")
        texts = iter(lost)
        before = next(texts) + next(texts)
    assert lost.offset == len(before)
    rest = client.attach(lost.pid, lost.offset)
    again = client.logs(lost.pid, 0, lost.offset)
    assert (again.data, rest.offset) == (before.encode(), lost.offset)
    assert set(next(iter(rest))) == {"a"}
    client.kill(lost.pid)
    rest.read()
    assert rest.offset == client.logs(lost.pid).size


def test_several_read_one_process_and_who_leaves_takes_nothing_with_him(long_kernel, client):
    stream = endless(client)
    with Client(long_kernel.host, long_kernel.port) as other:
        reader = other.attach(stream.pid, 0)
        next(iter(reader))
        assert other.detach(stream.pid).pid == stream.pid
        reader.read()
        assert other.process_status(stream.pid).attached
    client.kill(stream.pid)
    assert len(stream.read()) == client.logs(stream.pid).size


def test_an_exec_with_a_known_key_streams_the_process_it_found(long_kernel, client):
    options = {"grammar": ENDLESS, "max_tokens": 6, "key": "tale", "deterministic": True}
    stream = client.exec("hello", **options)
    assert stream.read() == "aaaaaa"
    with Client(long_kernel.host, long_kernel.port) as other:
        for who in (client, other):
            again = who.exec("hello", **options)
            assert (again.pid, again.read()) == (stream.pid, "aaaaaa")


def test_async_a_stream_goes_on_where_a_lost_one_was(long_kernel):
    async def connected():
        async with AsyncClient(long_kernel.host, long_kernel.port) as client:
            return await main(client)

    async def main(client):
        async with AsyncClient(long_kernel.host, long_kernel.port) as first:
            lost = await endless(first, on_disconnect="detach")
            await anext(aiter(lost))
        rest = await client.attach(lost.pid, lost.offset)
        assert set(await anext(aiter(rest))) == {"a"}
        await client.kill(lost.pid)
        await rest.read()
        return rest.offset, (await client.logs(lost.pid)).size

    end, size = asyncio.run(connected())
    assert end == size
