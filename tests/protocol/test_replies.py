"""The client's half of the framing, and the encoders it reads."""

from __future__ import annotations

import pytest

from agentkernel.protocol.framing import (
    Frame,
    Reply,
    ReplyError,
    ReplyParser,
    encode_frame,
    encode_reply,
)

CASES: dict[str, tuple[bytes, Reply | Frame]] = {
    "ok": (b"+OK PING 4\r\nPONG", Reply(True, "PING", b"PONG")),
    "error": (b"-ERR NO_MODEL 9\r\nno model!", Reply(False, "NO_MODEL", b"no model!")),
    "empty": (b"+OK SUBSCRIBE 0\r\n", Reply(True, "SUBSCRIBE", b"")),
    "binary": (b"+OK X 4\r\n\r\n\x00\xff", Reply(True, "X", b"\r\n\x00\xff")),
    "payload like a reply": (b"+OK X 9\r\n+OK Y 0\r\n", Reply(True, "X", b"+OK Y 0\r\n")),
    "frame": (b"DATA raw 5\r\nhello", Frame("raw", b"hello")),
    "event": (b"DATA event 2\r\n{}", Frame("event", b"{}")),
    "tagged frame": (b"DATA raw 5 7 120\r\nhello", Frame("raw", b"hello", 7, 120)),
}


def feed(data: bytes, *cuts: int) -> list[Reply | Frame]:
    parser, items = ReplyParser(), []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        items += parser.receive(data[start:end])
    return items


@pytest.mark.parametrize(("data", "expected"), CASES.values(), ids=CASES)
def test_every_chunking_gives_the_same_reply(data: bytes, expected: Reply | Frame) -> None:
    stream, items = data + b"+OK NEXT 1\r\n!", [expected, Reply(True, "NEXT", b"!")]
    assert feed(stream) == items
    assert feed(stream, *range(1, len(stream))) == items
    for cut in range(1, len(stream)):
        assert feed(stream, cut) == items, cut


@pytest.mark.parametrize(("data", "item"), CASES.values(), ids=CASES)
def test_the_encoders_write_what_the_parser_reads(data: bytes, item: Reply | Frame) -> None:
    assert (encode_reply(item) if isinstance(item, Reply) else encode_frame(item)) == data


def test_further_tokens_after_the_length_are_tolerated() -> None:
    assert feed(b"+OK PING 4 more x\r\nPONG") == [Reply(True, "PING", b"PONG")]
    assert feed(b"DATA raw 2 new thing\r\nhi") == [Frame("raw", b"hi")]
    assert feed(b"DATA raw 2 7\r\nhi") == [Frame("raw", b"hi")]


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"HTTP/1.1 200 OK\r\n",
        b"+OK PING\r\n",
        b"+OK PING x\r\n",
        b"+OK PING -1\r\n",
        b"+ok PING 0\r\n",
        "+OK PING ٣\r\n".encode(),
        b"+OK PING %b\r\n" % (b"9" * 5000),
        b"+OK " + b"x" * 5000 + b" 0\r\n",
        b"x" * 5000,
    ],
)
def test_anything_else_is_a_reply_error(data: bytes) -> None:
    with pytest.raises(ReplyError):
        feed(data)
    with pytest.raises(ReplyError):
        feed(data, *range(1, len(data)))
