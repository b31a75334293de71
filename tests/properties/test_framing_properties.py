"""Whatever bytes come: no exception, no lost sync, bounded memory, the same events in any chunking."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.protocol.framing import (
    Command,
    Event,
    Frame,
    Limits,
    Phase,
    Rejected,
    Reply,
    ReplyError,
    ReplyParser,
    RequestParser,
    encode_frame,
    encode_reply,
    encode_request,
)

SMALL = Limits(header=32, body=64, drain=128)
PING = b"PING t 0\n"
WORDS = (
    b"EXEC a |PING t 0\n|KILL 1 1\n2|<<E\n|\nE\n|-|5\n|64\n|65 x\n|128\n|129\n|99999999999999999999\n|help"
)
BYTES = b"\n|\r\n| |\x00|\xc3|\xff|\xff\xfd\x03|\xff\xfa|\xff\xf0"
pieces = st.sampled_from([*WORDS.split(b"|"), *BYTES.split(b"|"), b"x" * 31, b"y" * 40])
garbage = st.lists(pieces | st.binary(max_size=12), max_size=20).map(b"".join)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def feed(parser: RequestParser, data: bytes, cuts: list[int]) -> list[Event]:
    events: list[Event] = []
    for piece in cut(data, cuts):
        events += parser.receive(piece)
        match = re.search(r"buffered=(\d+)", repr(parser))
        assert match
        assert int(match[1]) <= SMALL.header + SMALL.body
    return events


cut_lists = st.lists(st.integers(0, 1000), max_size=8)


@settings(max_examples=400)
@given(garbage, cut_lists, st.integers(1, 3))
def test_any_number_of_steps_a_call_gives_the_same_events(data: bytes, cuts: list[int], steps: int) -> None:
    whole, stepped = RequestParser(SMALL), RequestParser(SMALL)
    events: list[Event] = []
    for piece in cut(data, cuts):
        events += stepped.receive(piece, steps)
    while stepped.behind:
        events += stepped.receive(steps=steps)
    assert events == whole.receive(data)
    assert stepped.phase == whole.phase
    assert stepped.end() == whole.end()


@settings(max_examples=400)
@given(garbage, cut_lists)
def test_any_chunking_gives_the_same_events_in_bounded_memory(data: bytes, cuts: list[int]) -> None:
    whole, split, single = (RequestParser(SMALL) for _ in range(3))
    events = feed(whole, data, [])
    assert feed(split, data, cuts) == events
    assert feed(single, data, list(range(len(data)))) == events
    assert whole.phase == split.phase == single.phase
    assert whole.end() == split.end() == single.end()


@settings(max_examples=400)
@given(garbage)
def test_after_garbage_a_ping_is_parsed_or_the_stream_was_given_up(data: bytes) -> None:
    """Line ends finish any header, body or drain; a here-document without its tag is given up."""
    parser = RequestParser(SMALL)
    events = parser.receive(data)
    for _ in range(SMALL.header + SMALL.drain):
        events += parser.receive(b"\n")
        if parser.phase in (Phase.IDLE, Phase.DEAD):
            break
    fatal = [isinstance(event, Rejected) and event.fatal for event in events]
    assert not any(fatal[:-1])
    after = parser.receive(PING)
    if fatal and fatal[-1]:
        assert after == []
    else:
        assert after == [Command("PING", "t")]


token = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
verbs = st.sampled_from(["PING", "EXEC", "SET_GEN"])
requests = st.builds(Command, verbs, token, st.binary(max_size=64))


@given(st.lists(requests, max_size=6), cut_lists)
def test_encoded_requests_are_parsed_back(commands: list[Command], cuts: list[int]) -> None:
    data = b"".join(encode_request(c.verb, c.agent, c.payload) for c in commands)
    parser = RequestParser(Limits(header=128, body=64, drain=128))
    parsed = [event for piece in cut(data, cuts) for event in parser.receive(piece)]
    assert parsed == commands
    assert parser.phase is Phase.IDLE


wrong_headers = st.sampled_from([b"EXEC a %d x\n", b"E\x00EC a %d\n", b"X \xc3 %d\n", b"a b %d -\n"])
smuggled = st.sampled_from([b"KILL 1 1\n7", b"SHUTDOWN 1 0\n", b"EXEC 1 2\n", b"\n", b"QUIT\n"])
bodies = st.lists(smuggled, min_size=1, max_size=4).map(b"".join)


@given(wrong_headers, bodies, cut_lists)
def test_a_rejected_headers_body_is_never_run(header: bytes, body: bytes, cuts: list[int]) -> None:
    parser = RequestParser(SMALL)
    rejected, after = feed(parser, header % len(body) + body + PING, cuts)
    assert isinstance(rejected, Rejected)
    assert after == Command("PING", "t")


code = st.text(st.characters(categories=["Lu"], max_codepoint=127), min_size=1, max_size=12)
payload = st.binary(max_size=80)
number = st.integers(0, 2**60)
items = st.one_of(
    st.builds(Reply, st.booleans(), code, payload),
    st.builds(Frame, st.sampled_from(["raw", "event"]), payload),
    st.builds(Frame, st.just("raw"), payload, number, number),
)


@given(st.lists(items, max_size=6), cut_lists)
def test_encoded_replies_and_frames_are_parsed_back(sent: list[Reply | Frame], cuts: list[int]) -> None:
    data = b"".join(encode_reply(x) if isinstance(x, Reply) else encode_frame(x) for x in sent)
    parser = ReplyParser()
    assert [item for piece in cut(data, cuts) for item in parser.receive(piece)] == sent


almost = st.binary(max_size=60).map(b"+OK ".__add__)


@given(st.binary(max_size=100) | almost, cut_lists)
def test_a_client_reads_garbage_as_replies_or_a_reply_error(data: bytes, cuts: list[int]) -> None:
    parser = ReplyParser()
    try:
        for piece in cut(data, cuts):
            parser.receive(piece)
    except ReplyError:
        return
