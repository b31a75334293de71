"""Connecting, losing the connection and connecting again, blocking and async."""

from __future__ import annotations

import asyncio

import pytest

from agentkernel.client import (
    AsyncClient,
    Client,
    ConnectionLostError,
    ReplyTimeoutError,
    UnreachableError,
)

STARTED = {"session_id": "session-1", "pid": 1, "workload": "General"}
STARTED |= {"priority": "normal", "context_window_size": 2048}
PONG = {"message": "PONG"}


def answers_one_ping(peer):
    peer.hello()
    peer.answer("PING", PONG)


def breaks_off_a_stream(peer):
    peer.hello()
    peer.answer("EXEC", STARTED)
    peer.frame(1, 0, b"half")


def answers_ps_late(peer):
    peer.hello()
    peer.expect("PS")
    peer.expect("PING")
    peer.reply("PS", {"total_processes": 0, "processes": []})
    peer.reply("PING", PONG)


def test_where_no_kernel_is_the_first_command_fails_at_once(unused_port):
    with Client(port=unused_port) as client, pytest.raises(UnreachableError) as caught:
        client.ping()
    assert str(unused_port) in caught.value.message
    assert "refused" in caught.value.message
    assert caught.value.retryable


def test_the_next_command_after_a_loss_goes_over_a_new_connection(scripted):
    server = scripted(answers_one_ping, answers_one_ping)
    with Client(port=server.port) as client:
        assert client.ping().message == "PONG"
        server.wait_closed()
        assert client.ping().message == "PONG"


def test_a_running_stream_of_a_lost_connection_raises_after_its_text(scripted):
    server = scripted(breaks_off_a_stream, answers_one_ping)
    with Client(port=server.port) as client:
        stream = client.exec("hi")
        got = []
        with pytest.raises(ConnectionLostError, match="closed the connection"):
            got.extend(stream)
        assert got == ["half"]
        with pytest.raises(ConnectionLostError):
            stream.result()
        assert client.ping().message == "PONG"


def test_a_command_whose_answer_is_lost_is_not_sent_again(scripted):
    def hangs_up(peer):
        peer.hello()
        peer.expect("KILL")

    server = scripted(hangs_up, answers_one_ping)
    with Client(port=server.port) as client:
        with pytest.raises(ConnectionLostError):
            client.kill(1)
        assert client.ping().message == "PONG"


def test_reconnection_pauses_longer_and_longer_until_the_kernel_is_back(scripted, unused_port, monkeypatch):
    first = scripted(answers_one_ping, port=unused_port)
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            scripted(answers_one_ping, port=unused_port)

    monkeypatch.setattr("agentkernel.client.transport.time.sleep", sleep)
    with Client(port=unused_port, backoff=(1, 2, 4, 8)) as client:
        client.ping()
        first.finish()
        assert client.ping().message == "PONG"
    assert pauses == [1, 2, 4]


def test_reconnection_gives_up_after_its_last_pause(scripted):
    server = scripted(answers_one_ping)
    with Client(port=server.port, backoff=(0, 0)) as client:
        client.ping()
        server.finish()
        with pytest.raises(UnreachableError):
            client.ping()


def test_an_answer_that_does_not_come_in_time_can_still_be_passed_over(scripted):
    """After a timeout the connection is in step: the late answer is not taken for the next one's."""
    server = scripted(answers_ps_late)
    with Client(port=server.port, timeout=0.2) as client:
        with pytest.raises(ReplyTimeoutError) as caught:
            client.ps()
        assert caught.value.retryable
        assert client.ping().message == "PONG"


def test_what_is_not_a_kernel_is_said_to_be_none(scripted):
    def web_server(peer):
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.wait_for_end()

    server = scripted(web_server)
    with Client(port=server.port) as client, pytest.raises(ConnectionLostError, match="not an agent kernel"):
        client.ping()


def test_ctrl_c_in_a_wait_drops_the_connection(scripted, monkeypatch):
    """Bytes may have been read and not been taken: going on with that connection could mix answers."""

    def speaks(peer):
        peer.hello()
        peer.answer("EXEC", STARTED)
        peer.frame(1, 0, b"text")
        peer.wait_for_end()

    def interrupted(_data):
        raise KeyboardInterrupt

    server = scripted(speaks, answers_one_ping)
    with Client(port=server.port) as client:
        stream = client.exec("hi")
        monkeypatch.setattr(client._transport.connection, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(iter(stream))
        assert client.ping().message == "PONG"


# The same, async


def test_async_where_no_kernel_is_the_first_command_fails_at_once(unused_port):
    async def main():
        async with AsyncClient(port=unused_port) as client:
            await client.ping()

    with pytest.raises(UnreachableError, match="Connection refused"):
        asyncio.run(main())


def test_async_a_lost_stream_raises_and_the_next_command_connects_again(scripted):
    server = scripted(breaks_off_a_stream, answers_one_ping)

    async def main():
        async with AsyncClient(port=server.port) as client:
            stream = await client.exec("hi")
            chunks = aiter(stream)
            assert await anext(chunks) == "half"
            with pytest.raises(ConnectionLostError, match="closed the connection"):
                await anext(chunks)
            assert (await client.ping()).message == "PONG"

    asyncio.run(main())


def test_async_tasks_that_find_the_connection_lost_make_one_new_one_together(scripted):
    def answers_three(peer):
        peer.hello()
        for _ in range(3):
            peer.answer("PING", PONG)

    server = scripted(answers_one_ping, answers_three)

    async def main():
        async with AsyncClient(port=server.port) as client:
            await client.ping()
            await client._transport._reading
            pongs = await asyncio.gather(*(client.ping() for _ in range(3)))
            assert [pong.message for pong in pongs] == ["PONG"] * 3

    asyncio.run(main())


def test_async_reconnection_gives_up_after_its_last_pause(scripted):
    server = scripted(answers_one_ping)

    async def main():
        async with AsyncClient(port=server.port, backoff=(0, 0)) as client:
            await client.ping()
            await client._transport._reading
            await asyncio.to_thread(server.finish)
            with pytest.raises(UnreachableError):
                await client.ping()

    asyncio.run(main())


def test_async_cancelling_one_who_waits_leaves_the_others_their_answers(scripted):
    server = scripted(answers_ps_late)

    async def main():
        async with AsyncClient(port=server.port) as client:
            await client._transport.connect()
            asking = asyncio.create_task(client.ps())
            await asyncio.sleep(0)  # it has sent its request, and waits
            asking.cancel()
            assert (await client.ping()).message == "PONG"

    asyncio.run(main())
