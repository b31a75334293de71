"""How speed and delay are computed, and that arrivals do not wait for replies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import psutil
import pytest

from agentkernel.protocol.framing import (
    Command,
    Frame,
    Reply,
    RequestParser,
    encode_frame,
    encode_reply,
)
from benchmarks import loads, machine
from benchmarks.bench import BenchError, Kernel
from benchmarks.client import Stream, clients, start
from benchmarks.decode import decode_rate
from benchmarks.latency import Arrivals, moments


def _stream(frames, tokens):
    return Stream(frames=frames, tokens=tokens)


def test_the_decode_rate_counts_only_steps_that_all_streams_shared():
    early = _stream([i * 0.1 for i in range(11)], 11)  # 0.0 to 1.0
    late = _stream([0.5 + i * 0.1 for i in range(11)], 11)  # 0.5 to 1.5
    assert decode_rate([early, late]) == pytest.approx(20)


def test_tokens_without_a_frame_are_counted():
    assert decode_rate([_stream([0.0, 1.0, 2.0, 3.0], 8)]) == pytest.approx(2)


def test_streams_that_never_ran_together_have_no_rate():
    with pytest.raises(BenchError):
        decode_rate([_stream([0.0, 0.1, 0.2], 3), _stream([5.0, 5.1, 5.2], 3)])


def test_poisson_moments_are_the_same_each_time_in_order_and_of_the_rate_asked_for():
    found = moments(50, 100)
    assert found == sorted(found) == moments(50, 100)
    assert 0 < found[0] <= found[-1] < 100
    assert len(found) == pytest.approx(5000, rel=0.1)


def test_spans_hold_the_moments_between_their_ends(monkeypatch):
    times = iter([1.0, 2.0])
    monkeypatch.setattr(loads.time, "monotonic", lambda: next(times))
    spans = loads.Spans()
    spans.begin()
    spans.end()
    spans.end()
    held = [spans.hold(moment) for moment in (0.5, 1.0, 1.9, 2.0)]
    assert held == [False, True, True, False]


class _Fake(asyncio.Protocol):
    """A kernel's side of a connection; `answer` says what comes of a command."""

    def __init__(self, answer, gone):
        self.answer, self.gone, self.parser = answer, gone, RequestParser()

    def connection_made(self, transport):
        self.transport = transport
        self.gone.append(asyncio.Event())
        self.mine = self.gone[-1]

    def data_received(self, data):
        for command in self.parser.receive(data):
            assert isinstance(command, Command)
            self.answer(self.transport, command.verb)

    def connection_lost(self, exc):
        self.mine.set()


@asynccontextmanager
async def _kernel(answer):
    gone = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Fake(answer, gone), "127.0.0.1", 0)
    async with server, asyncio.timeout(30):
        yield Kernel("127.0.0.1", server.sockets[0].getsockname()[1], psutil.Process())
        for event in gone:
            await event.wait()


def _reply(transport, verb, ok=True):
    transport.write(encode_reply(Reply(ok, verb, b'{"data":{"pid":7}}')))


def test_commands_are_sent_when_due_whether_or_not_earlier_ones_were_answered():
    expected = len(moments(40.0, 0.5)) + len(moments(20.0, 0.5))
    held = []

    def answer(transport, verb):
        """PINGs and EXECs are answered when the last of them has come, all at once."""
        if verb in ("HELLO", "KILL"):
            _reply(transport, verb)
            return
        held.append((transport, verb))
        if len(held) == expected:
            for one in held:
                _reply(*one)

    async def scenario():
        async with _kernel(answer) as kernel:
            arrivals = Arrivals(kernel)
            await arrivals.run(0.5)
            return arrivals.samples

    samples = asyncio.run(scenario())
    assert len(samples) == expected
    assert all(sample.due <= sample.sent <= sample.answered for sample in samples)
    assert max(s.sent for s in samples) <= min(s.answered for s in samples)


def test_a_stream_has_a_moment_for_each_frame_and_the_markers_count_of_tokens():
    marker = b"\n[PROCESS_FINISHED pid=7 tokens_generated=3 elapsed_secs=0.1]\n"

    def answer(transport, verb):
        _reply(transport, verb)
        if verb == "EXEC":
            for text in (b"a", b"b", marker):
                transport.write(encode_frame(Frame("raw", text)))

    async def scenario():
        async with _kernel(answer) as kernel, clients(kernel) as (client,):
            stream = await start(client, b"{}")
            await stream.ended.wait()
            return stream

    stream = asyncio.run(scenario())
    assert (len(stream.frames), stream.tokens) == (2, 3)
    assert stream.first.is_set()


def test_a_refusal_is_an_error_and_not_a_sample():
    async def scenario():
        answer = lambda transport, verb: _reply(transport, verb, ok=verb == "HELLO")  # noqa: E731
        async with _kernel(answer) as kernel, clients(kernel) as (client,):
            await client.ask("PING")

    with pytest.raises(BenchError, match="PING"):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    ("processor", "name"),
    [
        ("AMD EPYC 9R45", "2c-epyc"),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "2c-xeon"),
        ("AMD Ryzen 7 5800X 8-Core Processor", "2c-ryzen"),
        ("Apple M1", "2c-m1"),
    ],
)
def test_a_machine_is_named_by_cores_and_processor_family(processor, name):
    assert machine.short_name(processor, 2) == name


def test_what_others_use_is_all_busy_time_less_our_own(monkeypatch):
    busy, own, now = iter([10.0, 16.0]), iter([1.0, 5.0]), iter([100.0, 104.0])
    monkeypatch.setattr(machine, "_busy", lambda: next(busy))
    monkeypatch.setattr(machine, "_own", lambda: next(own))
    monkeypatch.setattr(machine.time, "monotonic", lambda: next(now))
    usage = machine.Meter().read()
    assert (usage.seconds, usage.others_cores, usage.loaded) == (4.0, 0.5, True)
