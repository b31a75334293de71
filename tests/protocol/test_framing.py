"""The server's half of the framing: one list of cases, fed in every chunking."""

from __future__ import annotations

import re

import pytest

from agentkernel.protocol.framing import (
    BODY_BYTES,
    DRAIN_BYTES,
    HEADER_BYTES,
    Command,
    Event,
    Limits,
    Phase,
    Rejected,
    RequestParser,
    encode_request,
    strip_telnet,
)

NO_TEXT = "the header holds bytes that are not text"
NO_LENGTH = "LENGTH is a decimal number, `-` or `<<TAG`"
TOO_FEW = "a header is VERB AGENT LENGTH"
TOO_MANY = "a header is VERB AGENT LENGTH and no more"
NEXT, NEXT_EVENT = b"PING next 0\n", Command("PING", "next")


def bad(message: str, agent: str = "-") -> Rejected:
    return Rejected("BAD_HEADER", message, agent)


CASES: dict[str, tuple[bytes, list[Event]]] = {
    "plain": (b"PING 1 0\n", [Command("PING", "1")]),
    "crlf": (b"PING 1 0\r\n", [Command("PING", "1")]),
    "blank lines": (b"\n\r\n  \nPING 1 0\n", [Command("PING", "1")]),
    "blanks around": (b" \tPING\t 1  0 \r\n", [Command("PING", "1")]),
    "lower case": (b"select_Model 1 0\n", [Command("SELECT_MODEL", "1")]),
    "only ascii folds": ("stätus 1 0\n".encode(), [Command("STäTUS", "1")]),
    "unicode agent": ("PING süß 0\n".encode(), [Command("PING", "süß")]),
    "body": (b"EXEC 1 5\nhello", [Command("EXEC", "1", b"hello")]),
    "leading zeros": (b"EXEC 1 005\nhello", [Command("EXEC", "1", b"hello")]),
    "binary body": (b"EXEC 1 7\n\x00\n\r\xff\xfd\x01\n", [Command("EXEC", "1", b"\x00\n\r\xff\xfd\x01\n")]),
    "pipelined": (
        b"PING 1 0\nEXEC 2 2\nabPING 3 0\n",
        [Command("PING", "1"), Command("EXEC", "2", b"ab"), Command("PING", "3")],
    ),
    "body that looks like a command": (b"EXEC 1 9\nKILL 1 1\n", [Command("EXEC", "1", b"KILL 1 1\n")]),
    "rest of line": (b"EXEC me - Tell me a story\n", [Command("EXEC", "me", b"Tell me a story")]),
    "rest of line, crlf": (b"exec me -  two\tblanks \r\n", [Command("EXEC", "me", b" two\tblanks ")]),
    "empty rest of line": (b"PS me -\r\n", [Command("PS", "me")]),
    "rest of line with a dash": (b"EXEC me - - x\n", [Command("EXEC", "me", b"- x")]),
    "heredoc": (b"EXEC me <<E\none\n\ntwo\nE\n", [Command("EXEC", "me", b"one\n\ntwo")]),
    "heredoc, crlf": (b"EXEC me <<E\r\none\r\ntwo\r\nE\r\n", [Command("EXEC", "me", b"one\ntwo")]),
    "empty heredoc": (b"EXEC me <<END_1\nEND_1\n", [Command("EXEC", "me")]),
    "heredoc of one blank line": (b"EXEC me <<E\n\nE\n", [Command("EXEC", "me")]),
    "heredoc holds its tag": (b"EXEC me <<E\nE \n E\nEE\nE\n", [Command("EXEC", "me", b"E \n E\nEE")]),
    "heredoc is not text": (b"EXEC me <<E\n\x00\xc3\nE\n", [Command("EXEC", "me", b"\x00\xc3")]),
    "telnet in a heredoc never joins lines": (
        b"EXEC me <<E\na\xff\xfd\nb\xff\n\xff\xfac\nE\xff\xfb\r\n",
        [Command("EXEC", "me", b"a\nb\n")],
    ),
    "bare help": (b"help\r\n", [Command("HELP", "-")]),
    "bare quit": (b" QUIT \n", [Command("QUIT", "-")]),
    "help with its header": (b"HELP 7 0\n", [Command("HELP", "7")]),
    "telnet greets": (b"\xff\xfb\x1f\xff\xfd\x03PING 1 0\r\n", [Command("PING", "1")]),
    "telnet subnegotiates": (b"PI\xff\xfa\x18\x00xterm\xff\xf0NG 1 0\r\n", [Command("PING", "1")]),
    "telnet interrupts": (b"\xff\xf4\xff\xfd\x06\n", []),
    "telnet in a heredoc": (b"EXEC me <<E\na\xff\xf1b\n\xff\xf1E\n", [Command("EXEC", "me", b"ab")]),
    "one token": (b"PING\n", [bad(TOO_FEW)]),
    "two tokens": (b"PING 0\n", [bad(TOO_FEW, "0")]),
    "help with two tokens": (b"HELP me\n", [bad(TOO_FEW, "me")]),
    "four tokens": (b"PING a 0 0\n", [bad(TOO_MANY, "a")]),
    "four tokens and a body": (b"EXEC a 9 x\nKILL 1 1\n", [bad(TOO_MANY, "a")]),
    "negative": (b"EXEC a -5\n", [bad(NO_LENGTH, "a")]),
    "plus": (b"EXEC a +5\n", [bad(NO_LENGTH, "a")]),
    "underscore": (b"EXEC a 1_0\n", [bad(NO_LENGTH, "a")]),
    "hexadecimal": (b"EXEC a 0x5\n", [bad(NO_LENGTH, "a")]),
    "other digits": ("EXEC a ٣\n".encode(), [bad(NO_LENGTH, "a")]),
    "21 digits": (b"EXEC a 000000000000000000001\n", [bad(NO_LENGTH, "a")]),
    "heredoc without a tag": (b"EXEC a <<\n", [bad(NO_LENGTH, "a")]),
    "NUL": (b"PI\x00NG a 0\n", [bad(NO_TEXT, "a")]),
    "NUL, with a body": (b"EX\x00EC a 9\nKILL 1 1\n", [bad(NO_TEXT, "a")]),
    "escape sequence in the agent": (b"PING \x1b[2J 0\n", [bad(NO_TEXT, "\x1b[2J")]),
    "not utf-8": (b"P\xc3NG a 0\n", [bad(NO_TEXT, "a")]),
    "not utf-8, with a body": (b"EXEC \xc3 9\nKILL 1 1\n", [bad(NO_TEXT, "\ufffd")]),
    "not utf-8, rest of line": (b"EXEC a - \xc3\n", [bad(NO_TEXT, "a")]),
    "wrong between right": (
        b"PING 1 0\nX\nPING 2 0\n",
        [Command("PING", "1"), bad(TOO_FEW), Command("PING", "2")],
    ),
}


def feed(data: bytes, *cuts: int, limits: Limits | None = None) -> list[Event]:
    """The events of a stream that arrives in pieces, cut at these places."""
    parser, events = RequestParser(limits), []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        events += parser.receive(data[start:end])
    return events


@pytest.mark.parametrize(("data", "expected"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("tail", [b"", NEXT], ids=["alone", "trailing"])
def test_every_chunking_gives_the_same_events(data: bytes, expected: list[Event], tail: bytes) -> None:
    stream, events = data + tail, expected + ([NEXT_EVENT] if tail else [])
    assert feed(stream) == events
    assert feed(stream, *range(1, len(stream))) == events
    for cut in range(1, len(stream)):
        assert feed(stream, cut) == events, stream[:cut]


def test_the_cases_in_one_stream_stay_in_sync() -> None:
    stream = b"".join(data for data, _ in CASES.values())
    assert feed(stream) == [event for _, events in CASES.values() for event in events]


SMALL = Limits(header=32, body=64, drain=128)
LONG = b"EXEC " + b"x" * 40
OVERLONG = bad("header over 32 bytes")


def too_large(length: int, *, fatal: bool = False) -> Rejected:
    message = f"body of {length} bytes over the limit of 64"
    return Rejected("BODY_TOO_LARGE", message, "a", fatal)


LIMIT_CASES: dict[str, tuple[bytes, list[Event]]] = {
    "header at its limit": (b"EXEC " + b"a" * 25 + b" 0\n", [Command("EXEC", "a" * 25)]),
    "header over its limit": (b"EXEC " + b"a" * 26 + b" 0\n", [OVERLONG]),
    "carriage return counts": (b"EXEC " + b"a" * 25 + b" 0\r\n", [OVERLONG]),
    "header far over its limit": (LONG * 5 + b"\n", [OVERLONG]),
    "body at its limit": (b"EXEC a 64\n" + b"\n" * 64, [Command("EXEC", "a", b"\n" * 64)]),
    "body over its limit": (b"EXEC a 65\n" + NEXT * 5 + b"....+", [too_large(65)]),
    "body at the drain's limit": (b"EXEC a 128\n" + b"\n" * 128, [too_large(128)]),
    "rejected header, body over its limit": (b"EXEC a 65 x\n" + b"\n" * 65, [too_large(65)]),
    "binary header, body over its limit": (b"E\x00C a 65\n" + b"\n" * 65, [too_large(65)]),
    "telnet in a heredoc's longer lines": (
        b"EXEC a <<E\n" + b"\xff\xf1" * 17 + b"\n" + b"\xff\xf1" * 11 + b"x\r\nE\n",
        [Command("EXEC", "a", b"\xff\xf1" * 17 + b"\nx")],
    ),
    "heredoc of short lines": (
        b"EXEC a <<E\n" + b"\n" * 33 + b"x\r\n" * 10 + b"E\n",
        [Command("EXEC", "a", b"\n" * 33 + b"\n".join([b"x"] * 10))],
    ),
    "heredoc at its limit": (
        b"EXEC a <<E\n" + b"x" * 63 + b"\nE\n",
        [Command("EXEC", "a", b"x" * 63)],
    ),
}


@pytest.mark.parametrize(("data", "expected"), LIMIT_CASES.values(), ids=LIMIT_CASES)
def test_limits_hold_in_every_chunking_and_the_next_command_works(data: bytes, expected: list[Event]) -> None:
    stream, events = b"PING stale 0\n" + data + NEXT, [Command("PING", "stale"), *expected, NEXT_EVENT]
    assert feed(stream, limits=SMALL) == events
    assert feed(stream, *range(1, len(stream)), limits=SMALL) == events
    for cut in range(1, len(stream)):
        assert feed(stream, cut, limits=SMALL) == events, cut


FATAL_CASES: dict[str, tuple[bytes, Rejected]] = {
    "body over the drain's limit": (b"EXEC a 129\n", too_large(129, fatal=True)),
    "20 digits": (b"EXEC a 99999999999999999999\n", too_large(10**20 - 1, fatal=True)),
    "heredoc of many lines": (
        b"EXEC a <<E\n" + b"1234567\n" * 9,
        Rejected("BODY_TOO_LARGE", "no line 'E' within 64 bytes", "a", fatal=True),
    ),
    "heredoc of one endless line": (
        b"EXEC a <<E\n" + b"x" * 97,
        Rejected("BODY_TOO_LARGE", "no line 'E' within 64 bytes", "a", fatal=True),
    ),
}


@pytest.mark.parametrize(("data", "expected"), FATAL_CASES.values(), ids=FATAL_CASES)
def test_after_a_fatal_rejection_nothing_is_parsed(data: bytes, expected: Rejected) -> None:
    stream = data + b"\nE\n" + NEXT
    assert feed(stream, limits=SMALL) == [expected]
    assert feed(stream, *range(1, len(stream)), limits=SMALL) == [expected]
    for cut in range(1, len(stream)):
        assert feed(stream, cut, limits=SMALL) == [expected], cut


def test_default_limits() -> None:
    assert (HEADER_BYTES, BODY_BYTES, DRAIN_BYTES) == (4096, 8 << 20, 64 << 20)
    assert Limits() == Limits(4096, 8 << 20, 64 << 20)
    whole = b"EXEC a %d\n%b" % (BODY_BYTES, bytes(BODY_BYTES))
    assert feed(whole + NEXT) == [Command("EXEC", "a", bytes(BODY_BYTES)), NEXT_EVENT]


def test_a_drained_body_of_64_mebibytes_is_not_kept() -> None:
    parser = RequestParser()
    (rejected,) = parser.receive(b"EXEC a %d\n" % DRAIN_BYTES)
    assert isinstance(rejected, Rejected)
    assert not rejected.fatal
    for _ in range(DRAIN_BYTES >> 20):
        assert parser.receive(bytes(1 << 20)) == []
        assert buffered(parser) == 0
    assert parser.receive(NEXT) == [NEXT_EVENT]


def buffered(parser: RequestParser) -> int:
    match = re.fullmatch(r"<RequestParser \w+ buffered=(\d+)>", repr(parser))
    assert match
    return int(match[1])


@pytest.mark.parametrize(
    ("data", "phase", "rest"),
    [
        (b"", Phase.IDLE, None),
        (b"\r\n", Phase.IDLE, None),
        (b"PING 1", Phase.HEADER, bad("input ended inside the header")),
        (b"EXEC a 5\nhell", Phase.BODY, bad("input ended inside the body", "a")),
        (b"EXEC a <<E\nx\nE", Phase.HEREDOC, bad("input ended inside the heredoc", "a")),
        (b"EXEC a 5 x\nhell", Phase.DRAIN, bad(TOO_MANY, "a")),
        (b"EXEC a 65\nhell", Phase.DRAIN, None),
        (LONG, Phase.SKIP, None),
    ],
)
def test_the_end_of_input_reports_what_was_begun_once(
    data: bytes, phase: Phase, rest: Rejected | None
) -> None:
    parser = RequestParser(SMALL)
    parser.receive(data)
    assert parser.phase is phase
    assert parser.end() == rest
    assert parser.phase is Phase.DEAD
    assert parser.end() is None
    assert parser.receive(NEXT) == []


def test_blanks_and_negotiation_alone_are_no_unfinished_command() -> None:
    parser = RequestParser()
    assert parser.receive(b"PING 1 0\n\xff\xfd\x03 \r") == [Command("PING", "1")]
    assert parser.end() is None


def test_encoded_requests_are_counted_in_bytes() -> None:
    assert encode_request("EXEC", "a", "süß".encode()) == b"EXEC a 5\ns\xc3\xbc\xc3\x9f"
    assert encode_request("PING", "a") == b"PING a 0\n"


def test_telnet_negotiation_is_cut_out_wherever_it_stands() -> None:
    assert strip_telnet(b"a\xff\xfb\x01b\xff\xfc\x01\xff\xfe\x01c") == b"abc"
    assert strip_telnet(b"a\xff\xfa\x1f\x00\x50\xff\xf0b") == b"ab"
    assert strip_telnet(b"a\xff\xfanever ended") == b"a"
    assert strip_telnet(b"a\xff\xf9b\xff") == b"ab"
    assert strip_telnet(b"plain") == b"plain"


def test_a_call_does_a_bounded_number_of_steps_and_later_ones_the_rest_in_order() -> None:
    parser, stream = RequestParser(SMALL), b"PING 0 0\n" * 5 + b"\n" * 1000 + b"\r\n" * 5 + b"EXEC a 2\nhi"
    assert parser.receive(stream, 0) == []
    events: list[Event] = []
    calls = 0
    while parser.behind:
        got = parser.receive(steps=2)
        assert len(got) <= 2
        events, calls = events + got, calls + 1
    assert events == [Command("PING", "0")] * 5 + [Command("EXEC", "a", b"hi")]
    assert calls == 10  # 5 headers and bodies, a run of blank lines, 5 more, a header and a body: 18


def test_a_heredoc_is_taken_by_blocks_of_lines_no_longer_than_a_header() -> None:
    parser = RequestParser(SMALL)
    parser.receive(b"EXEC a <<E\n" + b"\n" * 60 + b"E\n", 1)
    taken = [parser.receive(steps=1) or parser.taken for _ in range(2)]
    assert taken == [33, [Command("EXEC", "a", b"\n" * 59)]]


def test_after_a_fatal_rejection_no_call_is_asked_for() -> None:
    parser = RequestParser(SMALL)
    assert len(parser.receive(b"EXEC a 129\n" + NEXT, 1)) == 1
    assert not parser.behind
