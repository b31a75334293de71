"""Sending while the client reads now and then: order, holding, release, a count of what was shed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.outbox import Outbox
from agentkernel.protocol.connection import ServerConnection
from agentkernel.protocol.framing import Frame, ReplyParser

LIMIT = 60
PIDS = (1, 2, 3)


@dataclass
class Client:
    """A transport with a little room, and what should come of what is sent to it."""

    room: int = 1
    asked: bool = False
    told: list[dict[str, Any]] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)
    expected: dict[int, bytes] = field(default_factory=lambda: dict.fromkeys(PIDS, b""))
    unsent: dict[int, list[bytes]] = field(default_factory=lambda: {pid: [] for pid in PIDS})
    held: set[int] = field(default_factory=set)
    events: int = 0

    def __post_init__(self) -> None:
        connection = ServerConnection()
        connection.hello(b'{"required_capabilities":["tagged_frames_v1","event_stream_v1"]}')
        self.outbox = Outbox(connection, self, LIMIT)

    def write(self, data: bytes) -> None:
        """Take a reply, or one frame or more."""
        if data.startswith(b"DATA"):
            assert not self.replies, "a reply was overtaken"
            for frame in ReplyParser().receive(data):
                assert isinstance(frame, Frame)
                if frame.pid:
                    assert self.unsent[frame.pid].pop(0) == frame.payload
                else:
                    self.told.append(json.loads(frame.payload))
        else:
            assert self.replies.pop(0) == data
        self.room -= 1
        if self.room <= 0:
            self.outbox.pause()

    def write_soon(self) -> None:
        self.asked = True

    def caught_up(self, pid: int) -> None:
        self.held.remove(pid)

    def stream_ended(self) -> None:
        pass

    def send(self, action: str, pid: int, size: int) -> None:
        text = bytes([64 + pid]) * size
        if action == "reply":
            self.replies.append(text)
            self.outbox.reply(text)
        elif action == "data":
            self.unsent[pid].append(text)
            if not self.outbox.data(pid, 0, text):
                self.held.add(pid)
        elif action == "end":
            self.unsent[pid].append(text)
            self.held.discard(pid)
            self.outbox.end(pid, 0, text)
        elif action == "drop":
            self.unsent[pid].clear()
            self.held.discard(pid)
            self.outbox.drop(pid)
        elif action == "event":
            self.events += 1
            self.outbox.event({"kind": "x"})
        elif action == "round":
            self.outbox.flush()
            self.asked = False
        else:
            self.room = size
            self.outbox.resume()
        if not self.outbox.paused:
            assert self.asked or self.outbox.empty, "nobody will ever send it"


actions = st.tuples(
    st.sampled_from(["reply", "data", "data", "end", "drop", "event", "drain", "round"]),
    st.sampled_from(PIDS),
    st.integers(1, 12),
)


@settings(max_examples=300)
@given(st.lists(actions, max_size=60))
def test_order_holding_and_shedding(sequence: list[tuple[str, int, int]]) -> None:
    client = Client()
    for action, pid, size in sequence:
        client.send(action, pid, size)
    client.room = 10**9
    client.outbox.resume()
    client.outbox.event({"kind": "last"})
    client.outbox.flush()
    assert client.outbox.empty
    assert client.replies == []
    assert client.unsent == {pid: [] for pid in PIDS}
    assert client.held == set()
    check_events(client)


def check_events(client: Client) -> None:
    """Every event offered was sent, or is counted in the one that says how many were shed."""
    sent = client.told
    assert [each["seq"] for each in sent] == list(range(1, len(sent) + 1))
    kinds = [each["event"]["kind"] for each in sent]
    shed = sum(each["event"].get("count", 0) for each in sent)
    assert kinds.count("x") + shed == client.events
    assert kinds[-1] == "last"
