"""The sans-I/O core: what comes goes to whom it belongs, in whatever pieces it comes."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkernel.client import requests
from agentkernel.client.connection import ClientConnection, Text, TurnEnd
from agentkernel.client.errors import (
    ConnectionLostError,
    InternalError,
    RequestError,
    ResourceError,
)
from agentkernel.errors import KernelError
from agentkernel.protocol.connection import CAPABILITIES, Answer, ServerConnection
from agentkernel.protocol.framing import Command, RequestParser

MARKER = b"\n[PROCESS_FINISHED pid=%d tokens_generated=3 elapsed_secs=0.100]\n"


def server() -> ServerConnection:
    return ServerConnection(v1=True, capabilities=frozenset(CAPABILITIES))


def started(pid: int) -> bytes:
    data = {"session_id": f"session-{pid}", "pid": pid, "workload": "General"}
    data |= {"priority": "normal", "context_window_size": 2048}
    return server().success("EXEC", "client:1", Answer(data, ""))


def pong() -> bytes:
    return server().success("PING", "client:1", Answer({"message": "PONG"}, ""))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def drain(inbox) -> list[object]:
    out = []
    while (item := inbox.take_nowait()) is not None:
        out.append(item.text if isinstance(item, Text) else item)
    return out


def test_a_request_is_what_the_server_parses():
    data, _ = ClientConnection().send(requests.set_quota(7, max_tokens=5, max_syscalls=2))
    assert RequestParser().receive(data) == [Command("SET_QUOTA", "client", b"7 max_tokens=5,max_syscalls=2")]


def test_hello_is_accepted_with_all_it_asks_for():
    data, _ = ClientConnection().send(requests.hello())
    [command] = RequestParser().receive(data)
    answer = ServerConnection().hello(command.payload)
    assert answer.data["enabled_capabilities"] == sorted(CAPABILITIES)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
def test_a_stream_that_ends_with_its_start_is_whole_in_every_chunking(size):
    """The reply, all text and the marker may come in one read, before anybody asks for the stream."""
    connection = ClientConnection()
    _, answer = connection.send(requests.exec("hi"))
    wire = server()
    data = started(4) + wire.data_frame(4, 0, "né".encode()) + wire.data_frame(4, 3, b"xt")
    for piece in pieces(data + wire.data_frame(4, 5, MARKER % 4), size):
        connection.receive(piece)
    assert answer.take().pid == 4
    stream = connection.stream(4)
    assert drain(stream) == ["né", "xt"]
    assert stream.over


def test_streams_and_replies_that_are_mixed_reach_each_its_own():
    connection = ClientConnection()
    for _ in range(2):
        connection.send(requests.exec("hi"))
    _, ping = connection.send(requests.ping())
    wire = server()
    connection.receive(
        started(1)
        + wire.data_frame(1, 0, b"a")
        + started(2)
        + wire.data_frame(2, 0, b"b")
        + wire.data_frame(1, 1, b"c")
        + pong()
        + wire.data_frame(2, 1, MARKER % 2)
    )
    one, two = connection.stream(1), connection.stream(2)
    assert (drain(one), one.over) == (["a", "c"], False)
    assert (drain(two), two.over) == (["b"], True)
    assert ping.take().message == "PONG"


def test_a_marker_of_another_pid_is_text():
    connection = ClientConnection()
    connection.send(requests.exec("hi"))
    connection.receive(started(1) + server().data_frame(1, 0, MARKER % 2))
    stream = connection.stream(1)
    assert drain(stream) == [(MARKER % 2).decode()]
    assert not stream.over


def test_frames_of_a_process_nobody_reads_are_dropped():
    connection = ClientConnection()
    connection.receive(server().data_frame(9, 0, b"lost"))
    stream = connection.stream(9)
    connection.receive(server().data_frame(9, 4, b"kept"))
    assert drain(stream) == ["kept"]


def test_what_attach_brings_begins_with_its_reply_and_ends_with_that_of_detach():
    connection, wire = ClientConnection(), server()
    connection.send(requests.attach(7, 3))
    attached = Answer({"pid": 7, "offset": 3, "size": 9, "state": "Running"}, "")
    connection.receive(wire.success("ATTACH", "client:1", attached) + wire.data_frame(7, 3, b"xt"))
    stream = connection.stream(7)
    assert stream.take_nowait() == Text("xt", 5)
    connection.send(requests.detach(7))
    connection.receive(wire.success("DETACH", "client:2", Answer({"pid": 7}, "")))
    connection.receive(wire.data_frame(7, 5, b"late"))
    assert stream.take_nowait() is None
    assert stream.over


def test_the_end_of_a_turn_comes_between_its_text_and_the_next():
    connection = ClientConnection()
    connection.send(requests.exec("hi", interactive=True))
    wire = server()
    event = {"kind": "turn_finished", "pid": 1, "reason": "stop", "tokens_generated": 1}
    connection.receive(started(1) + wire.data_frame(1, 0, b"a") + wire.event_frame(1, event))
    connection.receive(wire.data_frame(1, 1, b"b"))
    assert drain(connection.stream(1)) == ["a", TurnEnd("stop"), "b"]


def test_events_reach_every_listener_with_their_own_fields():
    connection = ClientConnection()
    first, second = connection.listen(), connection.listen()
    connection.receive(server().event_frame(3, {"kind": "model_changed", "model": "x"}))
    for inbox in (first, second):
        event = inbox.take_nowait()
        assert event is not None
        assert (event.seq, event.kind, event.pid, event.fields) == (3, "model_changed", None, {"model": "x"})


def test_a_watcher_gets_each_event_as_it_comes_whoever_reads():
    connection = ClientConnection()
    seen = []
    connection.watch(seen.append)
    connection.send(requests.ping())
    connection.receive(server().event_frame(1, {"kind": "question", "pid": 4, "call": 2}) + pong())
    assert [(event.kind, event.pid, event.fields) for event in seen] == [("question", 4, {"call": 2})]


@pytest.mark.parametrize(
    ("code", "kind"),
    [("PID_NOT_FOUND", RequestError), ("SPAWN_FAILED", ResourceError), ("INTERNAL", InternalError)],
)
def test_a_refusal_is_raised_as_the_class_of_its_fault(code, kind):
    connection = ClientConnection()
    _, answer = connection.send(requests.ping())
    refused = KernelError(code, "the occasion", {"limit": 3})
    connection.receive(server().failure("client:1", refused))
    with pytest.raises(kind) as caught:
        answer.check()
    error = caught.value
    assert (error.code, error.message, error.details) == (code, "the occasion", {"limit": 3})
    assert error.retryable is refused.spec.retryable


def test_a_refusal_before_hello_is_typed_though_it_is_text():
    connection = ClientConnection()
    _, answer = connection.send(requests.hello())
    connection.receive(ServerConnection().failure("-:0", KernelError("TOO_MANY_CONNECTIONS")))
    with pytest.raises(RequestError, match="TOO_MANY_CONNECTIONS: the connection limit"):
        answer.check()


def test_after_a_refusal_the_next_answer_is_the_next_request_s():
    connection = ClientConnection()
    _, refused = connection.send(requests.kill(9))
    _, answered = connection.send(requests.ping())
    connection.receive(server().failure("client:1", KernelError("PID_NOT_FOUND")) + pong())
    with pytest.raises(RequestError):
        refused.check()
    assert answered.take().message == "PONG"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK PING 4\r\nPONG",
        b"DATA raw 1\r\nx",
        b"DATA event 2\r\n[]",
        b"DATA raw 1 one zero\r\nx",
        b"\xff" * 5000,
    ],
)
def test_an_end_or_bytes_of_another_protocol_fail_whoever_waits(data):
    connection = ClientConnection()
    _, answer = connection.send(requests.ping())
    stream, events = connection.stream(1), connection.listen()
    connection.receive(data)
    assert not connection.usable
    for inbox in (answer, stream, events):
        with pytest.raises(ConnectionLostError) as caught:
            inbox.check()
        assert caught.value.retryable


def test_what_came_before_the_loss_is_read_before_the_error():
    connection = ClientConnection()
    connection.send(requests.exec("hi"))
    connection.receive(started(1) + server().data_frame(1, 0, b"a") + b"")
    connection.lost("gone")
    stream = connection.stream(1)
    assert stream.take_nowait() == Text("a", 1)
    with pytest.raises(ConnectionLostError, match="gone"):
        stream.take_nowait()


def test_a_lost_connection_answers_a_later_request_with_its_loss():
    connection = ClientConnection()
    connection.lost("gone")
    _, answer = connection.send(requests.ping())
    with pytest.raises(ConnectionLostError, match="gone"):
        answer.check()


def test_data_of_another_shape_is_not_taken_for_an_answer():
    connection = ClientConnection()
    _, answer = connection.send(requests.ps())
    connection.receive(server().success("PS", "client:1", Answer({"processes": 3}, "")))
    with pytest.raises(ConnectionLostError, match="Expected"):
        answer.check()


def test_a_verb_with_a_blank_in_it_is_refused_before_it_is_sent():
    with pytest.raises(ValueError, match="is no verb"):
        requests.call("PING x\nKILL", "1")


def test_a_mapping_is_sent_as_json():
    assert msgspec.json.decode(requests.call("EXEC", {"prompt": "hi"}).payload) == {"prompt": "hi"}


VALID = (
    started(1)
    + server().data_frame(1, 0, "né".encode())
    + server().event_frame(1, {"kind": "turn_finished", "pid": 1, "reason": "stop"})
    + pong()
    + server().data_frame(1, 3, MARKER % 1)
)


@st.composite
def damaged(draw):
    """A valid stream with a few bytes of it changed, in pieces."""
    data = bytearray(VALID)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [bytes(data[a:b]) for a, b in itertools.pairwise([0, *cuts, len(data)]) if b > a]


@given(st.one_of(damaged(), st.lists(st.binary(min_size=1), min_size=1)))
def test_no_bytes_whatever_raise_or_leave_anybody_waiting_on_a_lost_connection(received):
    connection = ClientConnection()
    waiting = [connection.send(request)[1] for request in (requests.exec("hi"), requests.ping())]
    for data in received:
        connection.receive(data)
    if not connection.usable:
        assert all(inbox.over for inbox in (*waiting, connection.send(requests.ps())[1]))
