"""What one client can cost the others: bounded turns, deadlines, half-closes and the way out."""

import asyncio
import socket

import pytest

from agentkernel.auth import Principals
from agentkernel.config import ConfigError
from agentkernel.process import Owner, State, Wait
from agentkernel.server import Connection
from agentkernel.sockets import address, refuse_remote
from tests.harness import MemoryTransport, Peer, long, reset, run, scripted_server, until


async def told_at_once(bench, data):
    """How many commands are counted after each round of the loop once these bytes have come."""
    connection = Connection(bench.server, 1)
    transport = MemoryTransport(connection)
    connection.data_received(data)
    counts = []
    while not counts or counts[-1] < bench.kernel.counters["commands"] or not transport.reading.is_set():
        counts.append(bench.kernel.counters["commands"])
        await asyncio.sleep(0)
    transport.close()
    return counts


@pytest.mark.parametrize("line", [b"PING a 0\n", b"x\n"])
def test_a_chunk_s_commands_are_run_a_bounded_number_in_each_round(demo, line):
    async def main():
        async with scripted_server(demo, listen=False) as bench:
            counts = await told_at_once(bench, line * 1000)
            assert counts[-1] == 1000
            assert max(b - a for a, b in zip([0, *counts], counts, strict=False)) <= 64

    run(main())


def test_commands_that_waited_for_one_are_run_a_bounded_number_in_each_round_too(demo):
    async def main():
        async with scripted_server(demo, listen=False) as bench:
            connection = Connection(bench.server, 1)
            MemoryTransport(connection)
            connection.data_received(b"LIST_MODELS a 0\n" + b"PING a 0\n" * 200)
            await until(lambda: bench.kernel.counters["commands"] > 1)
            assert bench.kernel.counters["commands"] <= 1 + 64
            await until(lambda: bench.kernel.counters["commands"] == 201)

    run(main())


def test_what_is_not_parsed_at_the_end_of_input_still_counts(demo):
    async def main():
        async with scripted_server(demo) as bench, Peer.connect(bench.port) as peer:
            await peer.send(b"PING a 0\n" * 1000 + b"PING")
            peer.writer.write_eof()
            codes = [item.code for item in await peer.rest()]
            assert codes == ["PING"] * 1000 + ["BAD_HEADER"]

    run(main())


INTERACTIVE = 'EXEC me - {"prompt":"a","interactive":true,"on_disconnect":"%s"}'


@pytest.mark.parametrize(("policy", "state"), [("kill", State.KILLED), ("detach", State.WAITING)])
def test_a_half_closed_client_whose_process_waits_for_input_is_gone(demo, policy, state):
    """With and without text in the step that ends the turn."""

    async def main():
        async with scripted_server(demo) as bench, Peer.connect(bench.port) as peer:
            await peer.ask("HELLO me -")
            await peer.send(f"{INTERACTIVE % policy}\n".encode())
            peer.writer.write_eof()
            items = await peer.rest()
            assert b"".join(i.payload for i in items[1:]) == b"You said: a"
            await until(lambda: bench.kernel.table.find(1).state is state)

    run(main())


@pytest.mark.parametrize("verb", ["SUSPEND", "STOP_OUTPUT"])
def test_a_half_closed_client_whose_process_another_one_holds_is_gone(demo, verb):
    async def main():
        async with scripted_server(demo, auto=False, script=long) as bench:
            async with Peer.connect(bench.port) as peer, Peer.connect(bench.port) as other:
                await peer.ask("EXEC me - hi")
                peer.writer.write_eof()
                await until(lambda: bench.server._half_closed)
                assert (await other.ask(f"{verb} me - 1")).ok
                assert await peer.rest() == []
                await until(lambda: bench.kernel.table.find(1).reason == "disconnected")

    run(main())


def test_a_half_closed_subscriber_with_nothing_under_way_is_gone(demo):
    async def main():
        async with scripted_server(demo) as bench, Peer.connect(bench.port) as peer:
            await peer.ask('HELLO me - {"required_capabilities":["event_stream_v1"]}')
            await peer.ask("SUBSCRIBE me 0")
            peer.writer.write_eof()
            assert await peer.rest() == []

    run(main())


def test_a_half_closed_client_keeps_a_process_that_waits_for_its_reading(demo):
    settings = {"server": {"port": 0, "output_bytes": 1000}, "engine": {"context": 16384}}

    async def main():
        script = lambda _text: " ".join(["x" * 20000] * 300)  # noqa: E731
        async with scripted_server(demo, script=script, settings=settings) as bench:
            async with Peer.connect(bench.port) as peer:
                peer.writer.transport.pause_reading()
                await peer.send(b"EXEC me - x\n")
                peer.writer.write_eof()
                await until(lambda: any(p.wait is Wait.OUTPUT for p in bench.kernel.table))
                await until(lambda: bench.server._half_closed)
                peer.writer.transport.resume_reading()
                items = await peer.rest()
                assert b"".join(i.payload for i in items[1:]).count(b"x") == 300 * 20000

    run(main())


def test_accepted_connections_are_probed_while_idle(demo):
    async def main():
        async with scripted_server(demo) as bench, Peer.connect(bench.port) as peer:
            await peer.ask("PING me 0")
            (connection,) = bench.server._connections
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30

    run(main())


def test_a_command_the_server_has_stopped_reading_does_not_time_out(demo):
    limits = {"port": 0, "commands_in_flight": 2, "header_timeout": 0.05, "body_timeout": 0.05}

    async def main():
        async with scripted_server(demo, auto=False, settings={"server": limits}) as bench:
            async with Peer.connect(bench.port) as peer:
                await peer.ask("EXEC me - hi")
                await peer.send(b"WAIT me - 1\nPING me 0\nPING me 0\nEXEC me 5\nhe")
                await until(lambda: bench.kernel.counters["commands"] == 2)
                assert (await asyncio.gather(peer.reply(), step_later(bench)))[0].code == "WAIT"
                await peer.send(b"llo")
                assert [(await peer.reply()).code for _ in range(3)] == ["PING", "PING", "GENERIC"]

    async def step_later(bench):
        await asyncio.sleep(0.15)  # longer than the timeout, which must not run
        while bench.kernel.table.find(1).reason == "":
            bench.engines[-1].step()
            await asyncio.sleep(0)

    run(main())


def test_a_body_s_deadline_stops_while_replies_pile_up_and_begins_anew_after(demo):
    async def main():
        async with scripted_server(demo, listen=False) as bench:
            connection = Connection(bench.server, 1)
            MemoryTransport(connection)
            connection.data_received(b"EXEC me 5\nhe")
            begun = connection._deadline._timer
            assert begun is not None
            connection.pause_writing()
            connection.outbox.reply(b"x" * 300_000)
            connection.data_received(b"l")
            assert connection._deadline._timer is None
            connection.resume_writing()
            assert connection._deadline._timer not in (None, begun)
            connection.abort()

    run(main())


@pytest.mark.parametrize(
    ("sent", "code", "limit"),
    [
        (b"EXEC me 99999999999\n", "BODY_TOO_LARGE", 9),
        (b"QUIT\n", "QUIT", 9),
        (b"", "TOO_MANY_CONNECTIONS", 1),
    ],
)
def test_the_last_reply_comes_whole_over_input_that_nobody_wants(demo, sent, code, limit):
    """Unread input would make the close a reset, which takes the reply away."""
    settings = {"server": {"port": 0, "max_connections": limit}}

    async def main():
        async with scripted_server(demo, settings=settings) as bench, Peer.connect(bench.port) as first:
            await first.ask("PING me 0")
            async with Peer.connect(bench.port) as peer:
                await peer.send(sent)
                assert (await peer.reply()).code == code
                for _ in range(20):
                    await peer.send(b"x" * 65536)
                assert await peer.item() is None

    run(main())


def test_a_client_that_stays_after_the_last_reply_is_closed(demo, monkeypatch):
    monkeypatch.setattr("agentkernel.server._LINGER_SECONDS", 0.01)

    async def main():
        async with scripted_server(demo) as bench, Peer.connect(bench.port) as peer:
            assert (await peer.ask("QUIT")).code == "QUIT"
            await until(lambda: not bench.server._connections)

    run(main())


def test_a_wait_ends_with_its_client_and_an_exec_does_not(demo):
    async def main():
        async with scripted_server(demo, auto=False, script=long) as bench:
            async with Peer.connect(bench.port) as owner, Peer.connect(bench.port) as peer:
                await owner.ask("EXEC me - hi")
                await peer.send(b"WAIT me - 1\n")
                await until(lambda: bench.kernel._waiters.get(1))
                reset(peer)
                await until(lambda: not bench.kernel._waiters.get(1))
                assert bench.kernel.table.find(1).reason == ""

    run(main())


def test_before_auth_a_body_is_no_longer_than_a_header_may_be_and_after_it_as_long_as_configured(demo):
    principals = Principals({"a" * 64: Owner(1, "alice")}, required=True)

    async def main():
        async with scripted_server(demo, principals=principals) as bench, Peer.connect(bench.port) as peer:
            body = b"x" * 5000
            assert (
                await peer.ask("EXEC me 5000", body)
            ).payload == b"body of 5000 bytes over the limit of 4096"
            await peer.send(b"AUTH me 64\n" + b"a" * 64 + b"EXEC me 5000\n" + body)  # in one piece
            assert [(await peer.reply()).code for _ in range(2)] == ["AUTH", "MEMORY_ADMISSION"]

    run(main())


def test_a_here_document_has_a_deadline_for_each_line_not_each_byte(demo):
    settings = {"server": {"port": 0, "body_timeout": 1000}}

    async def main():
        async with scripted_server(demo, settings=settings, listen=False) as bench:
            connection = Connection(bench.server, 1)
            MemoryTransport(connection)
            connection.data_received(b"EXEC me <<E\n")
            begun = connection._deadline._timer
            for byte in b"abc":
                connection.data_received(bytes([byte]))
                assert connection._deadline._timer is begun
            connection.data_received(b"\n")
            assert connection._deadline._timer is not begun
            connection.abort()

    run(main())


@pytest.mark.parametrize("idle", [b"\xff\xfd\x03", b" \r", b"\n\n"])
def test_nothing_but_negotiation_or_blanks_starts_no_clock(demo, idle):
    async def main():
        async with scripted_server(demo, listen=False) as bench:
            connection = Connection(bench.server, 1)
            MemoryTransport(connection)
            connection.data_received(idle)
            assert connection._deadline._timer is None
            connection.data_received(b"P")
            assert connection._deadline._timer is not None
            connection.abort()

    run(main())


def test_without_authentication_only_this_machine_s_sockets_are_taken(tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        with pytest.raises(ConfigError, match=r"0\.0\.0\.0 is not loopback"):
            refuse_remote(everywhere)
    with socket.create_server(("127.0.0.1", 0)) as here, socket.socket(socket.AF_UNIX) as local:
        refuse_remote(here)
        assert address(here) == here.getsockname()
        local.bind(str(tmp_path / "socket"))
        refuse_remote(local)
        assert address(local) == (str(tmp_path / "socket"), 0)
