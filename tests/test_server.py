"""The TCP edge: order, flow control, half-closes, disconnects, deadlines and the way down."""

import asyncio
import json
import os
import signal
import socket

import pytest

from agentkernel.auth import Principals
from agentkernel.process import Owner, State, Wait
from agentkernel.protocol.framing import Frame, Reply
from agentkernel.sockets import inherited, notify
from tests.harness import Peer, long, reset, run, scripted_server, until


def test_half_close_gets_every_reply_and_the_whole_stream_then_the_close(demo):
    async def main():
        async with scripted_server(demo) as bench, Peer.connect(bench.port) as peer:
            await peer.send(b"PING me 0\nEXEC me 5\nhello")
            peer.writer.write_eof()
            items = await peer.rest()
            assert [i.payload for i in items[:2]] == [
                b"PONG",
                b"Process Started PID: 1 workload=General priority=normal",
            ]
            assert b"".join(i.payload for i in items[2:-1]) == b"You said: hello"
            assert items[-1].payload.startswith(b"\n[PROCESS_FINISHED pid=1 tokens_generated=3 ")

    run(main())


def test_input_that_ends_inside_a_body_is_answered_before_the_close(demo):
    async def main():
        async with scripted_server(demo) as bench, Peer.connect(bench.port) as peer:
            await peer.send(b"EXEC me 50\nhel")
            peer.writer.write_eof()
            assert await peer.rest() == [Reply(False, "BAD_HEADER", b"input ended inside the body")]

    run(main())


def test_replies_keep_the_order_of_the_commands_when_one_has_to_wait(demo):
    async def main():
        async with scripted_server(demo, auto=False) as bench, Peer.connect(bench.port) as peer:
            await peer.send(b"EXEC me - hi\nWAIT me - 1\nPING me 0\nLIST_MODELS me 0\n")
            assert (await peer.reply()).payload.startswith(b"Process Started")
            await until(bench.engines[-1].step)
            while bench.engines[-1].step():
                pass
            assert [(await peer.reply()).code for _ in range(3)] == ["WAIT", "PING", "GENERIC"]

    run(main())


@pytest.mark.parametrize("policy", ["kill", "detach", "suspend"])
@pytest.mark.parametrize("phase", ["queued", "prefill", "decode"])
def test_a_reset_does_what_on_disconnect_says_in_every_phase(demo, policy, phase):
    """Queued: another process holds the only slot. Prefill: granted, not stepped. Decode: stepped."""
    settings = {"engine": {"slots": 1, "context": 512}}

    async def main():
        async with scripted_server(demo, auto=False, script=long, settings=settings) as bench:
            async with Peer.connect(bench.port) as blocker, Peer.connect(bench.port) as peer:
                if phase == "queued":
                    await blocker.ask("EXEC me - first")
                await peer.ask("HELLO me -")
                body = json.dumps({"prompt": "x", "on_disconnect": policy}).encode()
                await peer.ask(f"EXEC me {len(body)}", body)
                process = list(bench.kernel.table)[-1]
                await until(lambda: process.phase == ("queued" if phase == "queued" else "prefill"))
                if phase == "decode":
                    bench.engines[-1].step()
                    assert process.phase == "decode"
                reset(peer)
                await until(lambda: process.sink is None)
                if policy == "kill":
                    assert (process.state, process.reason) == (State.KILLED, "disconnected")
                elif policy == "suspend":
                    assert process.state is State.SUSPENDED
                else:
                    assert process.state in (State.READY, State.RUNNING)
                assert (await blocker.ask("PING me 0")).payload == b"PONG"

    run(main())


def test_an_exec_that_waits_goes_with_its_connection_and_stays_when_that_only_says_no_more(demo):
    settings = {"engine": {"slots": 1}, "limits": {"queued": 1}}

    async def main():
        async with scripted_server(demo, auto=False, settings=settings) as bench:
            admission = bench.kernel.admission
            async with Peer.connect(bench.port) as first, Peer.connect(bench.port) as lost:
                await first.ask("EXEC me - one")
                await first.ask("EXEC me - two")
                await lost.send(b"EXEC me - wait=true; three\n")
                await until(lambda: len(admission._waiting) == 1)
                async with Peer.connect(bench.port) as patient:
                    await patient.send(b"EXEC me - wait=true; four\nPING me 0\n")
                    patient.writer.write_eof()
                    await until(lambda: len(admission._waiting) == 2)
                    reset(lost)
                    await until(lambda: len(admission._waiting) == 1)
                    await first.ask("KILL me - 1")
                    started, pong = await patient.reply(), await patient.reply()
                    assert started.payload.startswith(b"Process Started PID: 4 ")
                    assert pong.payload == b"PONG"
                    await first.ask("KILL me - 2")
                    while bench.engines[-1].step():
                        pass
                    assert b"tokens_generated=3" in (await patient.rest())[-1].payload

    run(main())


def test_a_slow_reader_holds_its_own_process_and_nobody_else(demo):
    settings = {"server": {"port": 0, "output_bytes": 1000}, "engine": {"context": 16384}}

    def script(text):
        return " ".join(["x" * 20000] * 300) if text == "slow" else "done"

    async def main():
        async with scripted_server(demo, script=script, settings=settings) as bench:
            async with Peer.connect(bench.port) as slow, Peer.connect(bench.port) as quick:
                slow.writer.transport.pause_reading()
                await slow.send(b"EXEC me - slow\n")
                await until(lambda: any(p.wait is Wait.OUTPUT for p in bench.kernel.table))
                assert (await quick.ask("EXEC me - quick")).ok
                assert (await quick.ask("WAIT me - 2")).payload.startswith(b"pid=2 state=Done reason=stop")
                held = bench.kernel.table.live(1)
                assert held.wait is Wait.OUTPUT
                assert held.generated < 300
                slow.writer.transport.resume_reading()
                slow.writer.write_eof()
                text = b"".join(i.payload for i in await slow.rest() if isinstance(i, Frame))
                assert text.count(b"x") == 300 * 20000

    run(main())


def test_a_reply_overtakes_frames_that_wait_for_a_slow_reader(demo):
    settings = {"server": {"port": 0, "output_bytes": 500_000}, "engine": {"context": 16384}}

    async def main():
        script = lambda _text: " ".join(["x" * 20000] * 300)  # noqa: E731
        async with scripted_server(demo, script=script, settings=settings) as bench:
            async with Peer.connect(bench.port) as peer:
                peer.writer.transport.pause_reading()
                await peer.send(b"EXEC me - slow\n")
                await until(lambda: any(p.wait is Wait.OUTPUT for p in bench.kernel.table))
                given_out = bench.kernel.table.live(1).offset
                await peer.send(b"PING me 0\n")
                await until(lambda: bench.kernel.counters["commands"] == 2)
                peer.writer.transport.resume_reading()
                assert (await peer.reply()).payload.startswith(b"Process Started")
                before = 0
                while isinstance(item := await peer.item(), Frame):
                    before += len(item.payload)
                assert item.payload == b"PONG"
                assert before < given_out - 200_000

    run(main())


def test_nothing_but_the_marker_follows_the_reply_to_kill(demo):
    settings = {"server": {"port": 0, "output_bytes": 500_000}, "engine": {"context": 16384}}

    async def main():
        script = lambda _text: " ".join(["x" * 20000] * 300)  # noqa: E731
        async with scripted_server(demo, script=script, settings=settings) as bench:
            async with Peer.connect(bench.port) as peer:
                peer.writer.transport.pause_reading()
                await peer.send(b"EXEC me - slow\n")
                await until(lambda: any(p.wait is Wait.OUTPUT for p in bench.kernel.table))
                await peer.send(b"KILL me - 1\n")
                await until(lambda: bench.kernel.counters["signals"] == 1)
                peer.writer.transport.resume_reading()
                peer.writer.write_eof()
                items = await peer.rest()
                at = items.index(Reply(True, "KILL", b"Killed PID 1"))
                after = [i.payload for i in items[at:] if isinstance(i, Frame)]
                assert all(b"PROCESS_FINISHED" in payload for payload in after)
                assert sum(b"PROCESS_FINISHED" in i.payload for i in items) == 1

    run(main())


def test_commands_in_flight_are_bounded_and_none_is_lost(demo):
    settings = {"server": {"port": 0, "commands_in_flight": 4}}

    async def main():
        async with scripted_server(demo, auto=False, settings=settings) as bench:
            async with Peer.connect(bench.port) as peer:
                await peer.send(b"EXEC me - hi\nWAIT me - 1\n" + b"PING me 0\n" * 1000)
                await peer.reply()
                while bench.kernel.table.find(1).reason == "":
                    bench.engines[-1].step()
                    await asyncio.sleep(0)
                codes = [(await peer.reply()).code for _ in range(1001)]
                assert codes == ["WAIT"] + ["PING"] * 1000

    run(main())


@pytest.mark.parametrize(
    ("sent", "what"),
    [(b"PING me", b"header"), (b"EXEC me 5\nhe", b"body"), (b"EXEC me <<END\nhello\n", b"heredoc")],
)
def test_a_command_that_never_becomes_whole_times_out_and_closes(demo, sent, what):
    settings = {"server": {"port": 0, "header_timeout": 0.05, "body_timeout": 0.05}}

    async def main():
        async with scripted_server(demo, settings=settings) as bench:
            async with Peer.connect(bench.port) as peer, Peer.connect(bench.port) as idle:
                await peer.send(sent)
                assert await peer.rest() == [
                    Reply(False, "TIMEOUT", b"the " + what + b" was not whole within 0.05 s")
                ]
                assert (await idle.ask("PING me 0")).ok

    run(main())


def test_connections_over_the_limit_are_told_so(demo):
    settings = {"server": {"port": 0, "max_connections": 1}}

    async def main():
        async with scripted_server(demo, settings=settings) as bench, Peer.connect(bench.port) as first:
            assert (await first.ask("PING me 0")).ok
            async with Peer.connect(bench.port) as second:
                assert [i.code for i in await second.rest()] == ["TOO_MANY_CONNECTIONS"]
            assert (await first.ask("PING me 0")).ok

    run(main())


def test_a_body_of_nothing_but_commands_is_never_run_when_its_header_is_refused(demo):
    async def main():
        async with scripted_server(demo) as bench, Peer.connect(bench.port) as peer:
            body = b"SHUTDOWN me 0\n"
            await peer.send(b"EXEC me %d extra\n%bPING me 0\n" % (len(body), body))
            assert [(await peer.reply()).code for _ in range(2)] == ["BAD_HEADER", "PING"]

    run(main())


ALICE, BOB, ROOT = Owner(1, "alice"), Owner(2, "bob"), Owner(3, "root", admin=True)
TOKENS = {"a" * 64: ALICE, "b" * 64: BOB, "c" * 64: ROOT}


def test_with_authentication_owners_see_and_signal_their_own_processes_only(demo):
    async def main():
        principals = Principals(TOKENS, required=True)
        async with scripted_server(demo, auto=False, script=long, principals=principals) as bench:
            async with Peer.connect(bench.port) as alice, Peer.connect(bench.port) as bob:
                assert (await alice.ask("EXEC me - x")).code == "AUTH_REQUIRED"
                assert (await alice.ask("PING me 0")).ok
                assert (await alice.ask("AUTH me - nonsense")).code == "AUTH_FAILED"
                assert (await alice.ask(f"AUTH me - {'a' * 64}")).ok
                assert (await bob.ask(f"AUTH me - {'b' * 64}")).ok
                assert (await alice.ask("EXEC me - x")).ok
                for verb in ("KILL", "TERM", "SUSPEND", "WAIT", "STATUS", "GET_QUOTA", "STOP_OUTPUT"):
                    assert (await bob.ask(f"{verb} me - 1")).code == "FORBIDDEN"
                assert (await bob.ask("PS me 0")).payload == b"Processes (0)"
                assert (await bob.ask("SHUTDOWN me 0")).code == "FORBIDDEN"
                async with Peer.connect(bench.port) as root:
                    assert (await root.ask(f"AUTH me - {'c' * 64}")).ok
                    assert (await root.ask("KILL me - 1")).ok

    run(main())


def test_shutdown_is_answered_then_the_running_finish_then_everything_closes(demo):
    async def main():
        async with scripted_server(demo) as bench:
            async with Peer.connect(bench.port) as worker, Peer.connect(bench.port) as peer:
                await worker.send(b"EXEC me - one two three\n")
                assert (await worker.reply()).ok
                assert (await peer.ask("SHUTDOWN me 0")).payload == b"Kernel shutdown requested"
                text = b"".join(i.payload for i in await worker.rest())
                assert text.startswith(b"You said: one two three")
                assert b"PROCESS_FINISHED" in text
                assert await peer.rest() == []
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.1", bench.port)

    run(main())


def test_sigterm_ends_what_only_waits_and_a_second_one_ends_everything(demo):
    settings = {"server": {"port": 0, "drain_seconds": 1000}}

    async def main():
        async with scripted_server(demo, auto=False, script=long, settings=settings) as bench:
            async with Peer.connect(bench.port) as peer:
                await peer.ask("HELLO me -")
                await peer.ask('EXEC me - {"prompt":"a","interactive":true}')
                await peer.ask('EXEC me - {"prompt":"b"}')
                waiting, running = list(bench.kernel.table)
                await until(lambda: running.state is State.RUNNING)
                bench.kernel.stop_output(waiting.owner, waiting.pid)
                os.kill(os.getpid(), signal.SIGTERM)
                await until(lambda: waiting.state is State.TERMINATED)
                assert (waiting.reason, running.state) == ("shutdown", State.RUNNING)
                assert (await peer.ask('EXEC me - {"prompt":"c"}')).code == "SHUTTING_DOWN"
                os.kill(os.getpid(), signal.SIGTERM)
                await until(lambda: running.state is State.TERMINATED)

    run(main())


def test_systemd_sockets_are_taken_only_when_meant_for_this_process(monkeypatch):
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert inherited() == []
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")
    assert inherited() == []


def test_the_service_manager_is_told(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"
