"""What waits for one client, and in which order it goes."""

from __future__ import annotations

import json

import pytest

from agentkernel import outbox
from agentkernel.outbox import Outbox
from agentkernel.protocol.connection import ServerConnection
from agentkernel.protocol.framing import Frame, ReplyParser


class Transport:
    """A reader whose buffer holds `room` writes before it asks for a pause."""

    def __init__(self, limit: int = 100, room: int = 10**9) -> None:
        self.outbox = Outbox(ServerConnection(), self, limit)
        self.room = room
        self.written: list[bytes] = []
        self.released: list[int] = []
        self.streams_ended = self.asked = 0

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.room -= 1
        if self.room <= 0:
            self.outbox.pause()

    def write_soon(self) -> None:
        self.asked += 1

    def caught_up(self, pid: int) -> None:
        self.released.append(pid)

    def stream_ended(self) -> None:
        self.streams_ended += 1

    def drain(self, room: int = 10**9) -> None:
        """The client has read: there is room again."""
        self.room = room
        self.outbox.resume()

    @property
    def text(self) -> bytes:
        """What of the processes' output went out, with replies in angle brackets."""
        return b"".join(
            x.removeprefix(b"DATA raw ").split(b"\r\n", 1)[-1] if x.startswith(b"DATA") else b"<" + x + b">"
            for x in self.written
        )


@pytest.fixture(autouse=True)
def a_frame_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are not joined, unless a test sets another size."""
    monkeypatch.setattr(outbox, "_PIECE", 1)


def test_nothing_waits_while_the_client_reads() -> None:
    client = Transport()
    client.outbox.reply(b"a")
    assert client.outbox.data(1, 0, b"hello")
    client.outbox.end(1, 5, b"bye")
    assert client.written == [b"a", b"DATA raw 5\r\nhello", b"DATA raw 3\r\nbye"]
    assert client.outbox.empty
    assert client.streams_ended == 1


def test_replies_overtake_output_at_frame_edges_and_keep_their_order() -> None:
    client = Transport(room=1)
    client.outbox.data(1, 0, b"one")
    for n in (b"two", b"three"):
        client.outbox.data(1, 3, n)
    client.outbox.reply(b"r1")
    client.outbox.reply(b"r2")
    assert not client.outbox.empty
    client.drain()
    assert client.text == b"one<r1><r2>twothree"
    assert client.outbox.empty


def test_what_waits_goes_out_a_piece_at_a_time_as_there_is_room() -> None:
    client = Transport(room=1)
    for i, each in enumerate((b"a", b"b", b"c", b"d")):
        client.outbox.data(1, i, each)
    client.drain(room=2)
    assert client.text == b"abc"
    client.outbox.reply(b"r")
    client.drain(room=1)
    assert client.text == b"abc<r>"
    client.drain()
    assert client.text == b"abc<r>d"


FRAME = len(b"DATA raw 10\r\n") + 10


def test_a_process_is_held_when_its_reader_is_behind_and_released_when_half_is_read() -> None:
    client = Transport(limit=2 * FRAME, room=1)
    answers = [client.outbox.data(pid, 0, b"x" * 10) for pid in (1, 1, 2, 3, 3)]
    assert answers == [True, True, True, False, False]
    client.drain(room=1)
    client.drain(room=1)
    assert client.released == []
    client.drain(room=1)
    assert client.released == [3]
    client.drain()
    assert client.released == [3]


def test_a_dropped_process_sends_nothing_more_and_others_do() -> None:
    client = Transport(limit=FRAME, room=1)
    client.outbox.data(1, 0, b"first")
    client.outbox.data(1, 5, b"1" * 10)
    client.outbox.data(2, 0, b"2" * 10)
    client.outbox.event({"kind": "never mind"})
    client.outbox.drop(1)
    client.outbox.end(1, 15, b"marker")
    client.outbox.data(2, 10, b"!")
    client.drain()
    assert client.text == b"first" + b"2" * 10 + b"marker!"
    assert client.released == [2]


def test_an_ended_process_is_not_released() -> None:
    client = Transport(limit=1, room=1)
    client.outbox.data(1, 0, b"a")
    client.outbox.data(1, 1, b"b")
    client.outbox.end(1, 2, b"m")
    client.drain()
    assert client.released == []
    assert client.text == b"abm"


def events(client: Transport) -> list[dict[str, object]]:
    items = [item for data in client.written for item in ReplyParser().receive(data)]
    frames = [item for item in items if isinstance(item, Frame) and item.kind == "event"]
    return [json.loads(frame.payload) for frame in frames]


def test_events_are_numbered_and_shed_ones_counted() -> None:
    client = Transport(limit=30, room=1)
    client.outbox.event({"kind": "a"})
    client.outbox.data(1, 0, b"x" * 30)
    for kind in "bc":
        client.outbox.event({"kind": kind})
    client.drain()
    client.outbox.event({"kind": "d"})
    client.outbox.event({"kind": "e"})
    assert events(client) == [
        {"seq": 1, "event": {"kind": "a"}},
        {"seq": 2, "event": {"kind": "events_dropped", "count": 2}},
        {"seq": 3, "event": {"kind": "d"}},
        {"seq": 4, "event": {"kind": "e"}},
    ]


def test_an_event_about_a_process_that_streams_to_the_client_is_not_shed() -> None:
    client = Transport(limit=30, room=1)
    client.outbox.event({"kind": "a"})
    client.outbox.data(1, 0, b"x" * 30)
    client.outbox.event({"kind": "turn_finished", "pid": 2})
    client.outbox.event({"kind": "turn_finished", "pid": 1})
    client.outbox.end(1, 30, b"m")
    client.outbox.event({"kind": "late", "pid": 1})
    client.drain()
    kinds = [event["event"]["kind"] for event in events(client)]
    assert kinds == ["a", "events_dropped", "turn_finished"]


def test_a_client_that_does_not_read_replies_is_congested_and_output_does_not_count() -> None:
    client = Transport(limit=10)
    client.outbox.pause()
    client.outbox.data(1, 0, b"x" * 100)
    client.outbox.reply(b"y" * 10)
    assert not client.outbox.congested
    client.outbox.reply(b"y")
    assert client.outbox.congested
    client.drain()
    assert not client.outbox.congested


def test_for_a_client_that_is_gone_everything_is_forgotten() -> None:
    client = Transport(limit=10)
    client.outbox.pause()
    client.outbox.reply(b"a")
    client.outbox.data(1, 0, b"x" * 100)
    client.outbox.close()
    assert client.outbox.empty
    assert client.outbox.data(1, 100, b"more")
    client.outbox.reply(b"b")
    client.outbox.event({"kind": "c"})
    client.outbox.end(1, 104, b"m")
    client.drain()
    assert client.written == []
    assert client.released == []


@pytest.mark.parametrize("tagged", [False, True])
def test_frames_are_in_the_connections_form(tagged: bool) -> None:
    client = Transport()
    connection = ServerConnection()
    if tagged:
        connection.hello(b'{"required_capabilities":["tagged_frames_v1"]}')
    outbox = Outbox(connection, client, 100)
    outbox.data(4, 8, b"x")
    outbox.end(4, 9, b"m")
    tags = (b" 4 8", b" 4 9") if tagged else (b"", b"")
    assert client.written == [b"DATA raw 1%b\r\nx" % tags[0], b"DATA raw 1%b\r\nm" % tags[1]]


def test_its_repr_shows_what_waits() -> None:
    client = Transport(limit=5)
    client.outbox.pause()
    client.outbox.reply(b"a")
    client.outbox.data(3, 0, b"b")
    assert repr(client.outbox) == "<Outbox control=1 data=13B held=[3]>"


def test_what_several_processes_put_out_goes_in_one_piece_when_all_of_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "_PIECE", 1000)
    client = Transport()
    client.outbox.data(1, 0, b"one")
    assert client.written == [b"DATA raw 3\r\none"]
    for pid in (2, 3, 1):
        assert client.outbox.data(pid, 0, b"%d" % pid)
    assert (len(client.written), client.asked) == (1, 1)
    client.outbox.flush()
    assert client.written[1:] == [b"DATA raw 1\r\n2DATA raw 1\r\n3DATA raw 1\r\n1"]
    assert client.outbox.empty


def test_what_waits_for_company_is_no_more_than_a_piece_at_a_time_and_stops_for_a_full_transport(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "_PIECE", 2 * FRAME)
    client = Transport(limit=100 * FRAME, room=1)
    client.room = 3
    for pid in range(1, 8):
        client.outbox.data(pid, 0, b"x" * 10)
    client.outbox.flush()
    assert [len(piece) for piece in client.written] == [FRAME, 2 * FRAME, 2 * FRAME]
    client.outbox.flush()
    assert len(client.written) == 3
    client.drain()
    assert [len(piece) for piece in client.written] == [FRAME, 2 * FRAME, 2 * FRAME, 2 * FRAME]


def test_a_reply_overtakes_output_that_waits_for_company() -> None:
    client = Transport()
    for pid in (1, 2, 2):
        client.outbox.data(pid, 0, b"%d" % pid)
    client.outbox.reply(b"r")
    client.outbox.flush()
    assert client.text == b"1<r>22"


def test_an_end_waits_for_no_company_and_nothing_before_it_either() -> None:
    client = Transport()
    for pid in (1, 2, 3):
        client.outbox.data(pid, 0, b"%d" % pid)
    client.outbox.end(2, 1, b"m")
    client.outbox.reply(b"r")
    assert client.text == b"123m<r>"


def test_a_process_dropped_while_its_output_waits_for_company_sends_nothing() -> None:
    client = Transport()
    for pid in (1, 2, 3):
        client.outbox.data(pid, 0, b"%d" % pid)
    client.outbox.drop(2)
    client.outbox.flush()
    assert client.text == b"13"


def test_a_process_held_for_what_waits_for_company_is_released_when_that_has_gone() -> None:
    client = Transport(limit=FRAME)
    answers = [client.outbox.data(pid, 0, b"x" * 10) for pid in (1, 2, 3)]
    assert answers == [True, True, False]
    client.outbox.flush()
    assert client.released == [3]
