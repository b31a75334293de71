"""Cut a byte stream into commands (server) or replies and frames (client), sans-I/O.

Rules
1. `receive(data)` never raises and never loses bytes: feeding a stream whole, byte by byte or in any
   other chunking gives the same events.
2. A wrong header becomes one `Rejected`, and the parser is in sync again: behind its body or its line.
3. A `Rejected` with `fatal` is the last event: the stream can't be followed any further.
4. Memory is bounded by the header limit plus the body limit, and what was fed and not looked at yet.
5. A step costs what its line, body or block costs: a caller that bounds steps bounds the time of a call.
Sections in comments are those of protocol_spec.md.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

HEADER_BYTES = 4096  # the longest header line; HTTP servers take 8 KiB, beanstalkd 224 bytes
BODY_BYTES = 8 * 1024 * 1024
DRAIN_BYTES = 8 * BODY_BYTES  # a longer body is not read to its end: the connection closes

_LENGTH = re.compile(rb"[0-9]{1,20}")
_TAG = re.compile(rb"<<([A-Za-z0-9_]{1,64})")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_BLANK = re.compile(rb"\n+")
_BARE = (b"HELP", b"QUIT")
# RFC 854: IAC, one command byte, and an option for some; or IAC SB … IAC SE. Never beyond its line.
_TELNET = re.compile(rb"\xff(?:[\xfb-\xfe][^\n]?|\xfa(?:[^\n]*?\xff\xf0|[^\n]*)|[^\n]?)")


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes that a parser enforces."""

    header: int = HEADER_BYTES
    body: int = BODY_BYTES
    drain: int = DRAIN_BYTES


@dataclass(frozen=True, slots=True)
class Command:
    """One whole request: verb in upper case, agent as sent, payload as bytes."""

    verb: str
    agent: str
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request that is no command; `fatal` when nothing after it can be understood."""

    code: str
    message: str
    agent: str = "-"
    fatal: bool = False


class Phase(enum.Enum):
    """What the parser waits for."""

    IDLE = "idle"
    HEADER = "header"
    BODY = "body"
    HEREDOC = "heredoc"
    DRAIN = "drain"
    SKIP = "skip"
    DEAD = "dead"


Event = Command | Rejected


def strip_telnet(data: bytes) -> bytes:
    """The line, or lines, without telnet negotiation."""
    return _TELNET.sub(b"", data) if b"\xff" in data else data


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(line) is None


class RequestParser:
    """The server's half: bytes in, `Command` and `Rejected` out."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to hold no LF
        self._remaining = 0  # of the body being drained
        self._length = 0
        self._tag = b""
        self._text = bytearray()  # the here-document's lines so far
        self.taken = 0  # bytes they had
        self._verb = self._agent = ""
        self._pending: Rejected | None = None
        self.phase = Phase.IDLE
        self.behind = False  # the last call stopped at its number of steps

    def __repr__(self) -> str:
        return f"<RequestParser {self.phase.value} buffered={len(self._buffer) + len(self._text)}>"

    def receive(self, data: bytes = b"", steps: int | None = None) -> list[Event]:
        """The events that what has come completes, in order; at most so many steps' worth.

        A step is a line, a body, or a block of a here-document. `behind` says whether to call again.
        """
        events: list[Event] = []
        if self.phase is Phase.DEAD:
            return events
        self._buffer += data
        self.behind = True
        while steps is None or steps > 0:
            before = (self.phase, len(self._buffer), self._scanned)
            event = self._advance()
            if event is not None:
                events.append(event)
            elif before == (self.phase, len(self._buffer), self._scanned):
                self.behind = False
                break
            steps = steps and steps - 1
        return events

    def end(self) -> Rejected | None:
        """The input is over: what was left unfinished and is not reported yet, if anything was."""
        rejected = self._pending
        header = self.phase is Phase.HEADER and strip_telnet(bytes(self._buffer)).strip() != b""
        if header or self.phase in (Phase.BODY, Phase.HEREDOC):
            message = f"input ended inside the {self.phase.value}"
            rejected = Rejected("BAD_HEADER", message, "-" if header else self._agent)
        self._die()
        return rejected

    def _die(self) -> None:
        self._pending = None
        self._buffer.clear()
        self._text.clear()
        self.phase, self.behind = Phase.DEAD, False

    def _advance(self) -> Event | None:
        if self.phase is Phase.BODY:
            return self._take_body()
        if self.phase is Phase.DRAIN:
            return self._drain()
        if self.phase is Phase.HEREDOC:
            return self._take_heredoc()
        return self._take_line() if self._buffer else None

    def _take_line(self) -> Event | None:
        if self.phase is Phase.IDLE and (blank := _BLANK.match(self._buffer)):
            del self._buffer[: blank.end()]
            self._scanned = 0
            return None
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            return self._partial_line()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        skipped, self.phase = self.phase is Phase.SKIP, Phase.IDLE
        if skipped:
            return None
        if len(line) > self.limits.header:
            return self._overlong()
        return self._header(strip_telnet(line))

    def _partial_line(self) -> Rejected | None:
        """No line end yet: an overlong header is reported once, then skipped to its end (§2.5)."""
        self._scanned = len(self._buffer)
        if self.phase is Phase.SKIP:
            self._scanned = 0
            self._buffer.clear()
            return None
        if len(self._buffer) <= self.limits.header:
            begun = strip_telnet(bytes(self._buffer)).strip() != b""
            self.phase = Phase.HEADER if begun else Phase.IDLE
            return None
        self._scanned = 0
        self._buffer.clear()
        self.phase = Phase.SKIP
        return self._overlong()

    def _overlong(self) -> Rejected:
        return Rejected("BAD_HEADER", f"header over {self.limits.header} bytes")

    def _header(self, line: bytes) -> Event | None:
        tokens = line.split(None, 3)
        if not tokens:
            return None
        if not _is_text(line):
            return self._reject("the header holds bytes that are not text", tokens)
        if len(tokens) == 1 and tokens[0].upper() in _BARE:
            return Command(tokens[0].upper().decode(), "-")
        if len(tokens) < 3:
            return self._reject("a header is VERB AGENT LENGTH", tokens)
        self._verb, self._agent = tokens[0].upper().decode(), tokens[1].decode()
        return self._length_field(line, tokens)

    def _length_field(self, line: bytes, tokens: list[bytes]) -> Event | None:
        length = tokens[2]
        if length == b"-":
            rest = line.split(None, 2)[2][1:]
            return Command(self._verb, self._agent, rest.removeprefix(b" ").rstrip(b"\r"))
        if len(tokens) > 3:
            return self._reject("a header is VERB AGENT LENGTH and no more", tokens)
        if tag := _TAG.fullmatch(length):
            self._tag, self.taken = tag[1] + b"\n", 0
            self.phase = Phase.HEREDOC
            return None
        if not _LENGTH.fullmatch(length):
            return self._reject("LENGTH is a decimal number, `-` or `<<TAG`", tokens)
        self._length = int(length)
        if self._length > self.limits.body:
            return self._too_large(self._agent)
        self.phase = Phase.BODY
        return None

    def _reject(self, message: str, tokens: list[bytes]) -> Rejected | None:
        """Refuse a header; a body of valid length is drained first (§2.5)."""
        agent = tokens[1].decode("ascii", "replace") if len(tokens) > 1 else "-"
        rejected = Rejected("BAD_HEADER", message, agent)
        if len(tokens) < 3 or not _LENGTH.fullmatch(tokens[2]) or int(tokens[2]) == 0:
            return rejected
        self._length = int(tokens[2])
        if self._length > self.limits.body:
            return self._too_large(agent)
        self._pending, self._remaining = rejected, self._length
        self.phase = Phase.DRAIN
        return None

    def _too_large(self, agent: str) -> Rejected:
        """Refuse at once, then skip the body, if it is short enough to be skipped."""
        fatal = self._length > self.limits.drain
        self._pending, self._remaining = None, self._length
        self.phase = Phase.DRAIN
        if fatal:
            self._die()
        message = f"body of {self._length} bytes over the limit of {self.limits.body}"
        return Rejected("BODY_TOO_LARGE", message, agent, fatal)

    def _take_body(self) -> Command | None:
        if len(self._buffer) < self._length:
            return None
        with memoryview(self._buffer) as view:
            payload = bytes(view[: self._length])
        del self._buffer[: self._length]
        self.phase = Phase.IDLE
        return Command(self._verb, self._agent, payload)

    def _drain(self) -> Rejected | None:
        taken = min(self._remaining, len(self._buffer))
        del self._buffer[:taken]
        self._remaining -= taken
        if self._remaining:
            return None
        self.phase = Phase.IDLE
        rejected, self._pending = self._pending, None
        return rejected

    def _take_heredoc(self) -> Event | None:
        """Lines up to one that is only the tag; LF and CRLF both end a line (§2.3).

        A block is the whole lines within the header limit, or one line that is longer.
        """
        newline = self._buffer.find(b"\n", self._scanned)
        if newline < 0:
            self._scanned = len(self._buffer)
            over = self.taken + self._scanned > self.limits.body + self.limits.header
            return self._endless() if over else None
        self._scanned = 0
        end = max(newline, self._buffer.rfind(b"\n", 0, self.limits.header + 1))
        block = bytes(self._buffer[: end + 1])
        lines = self._clean(block)
        closes = lines.startswith(self._tag) or b"\n" + self._tag in lines
        if closes or self.taken + len(block) > self.limits.body:
            return self._end_heredoc(block)
        self._take(block, lines)
        return None

    def _end_heredoc(self, block: bytes) -> Event | None:
        """Find the line that ends it, the tag or one over the limit."""
        for text in block.split(b"\n")[:-1]:
            line = text + b"\n"
            cleaned = self._clean(line)
            self._take(line, cleaned)
            if cleaned == self._tag:
                del self._text[max(0, len(self._text) - len(cleaned) - 1) :]
                payload = bytes(self._text)
                self._text.clear()
                self.phase = Phase.IDLE
                return Command(self._verb, self._agent, payload)
            if self.taken > self.limits.body:
                return self._endless()
        return None

    def _clean(self, lines: bytes) -> bytes:
        """Whole lines as they stand in the payload; nobody types one that is over the header limit."""
        typed = len(lines) <= self.limits.header + 1
        return (strip_telnet(lines) if typed else lines).replace(b"\r\n", b"\n")

    def _take(self, block: bytes, lines: bytes) -> None:
        del self._buffer[: len(block)]
        self.taken += len(block)
        self._text += lines

    def _endless(self) -> Rejected:
        message = f"no line {self._tag.decode().rstrip()!r} within {self.limits.body} bytes"
        self._die()
        return Rejected("BODY_TOO_LARGE", message, self._agent, fatal=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """One control reply."""

    ok: bool
    code: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One DATA frame: `kind` is `raw` or `event`; PID and offset are there in tagged frames."""

    kind: str
    payload: bytes
    pid: int | None = None
    offset: int | None = None


class ReplyError(ValueError):
    """The stream is not one of this protocol."""


class ReplyParser:
    """The client's half: bytes in, `Reply` and `Frame` out; raises `ReplyError` on anything else."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: list[bytes] | None = None
        self._length = 0

    def receive(self, data: bytes) -> list[Reply | Frame]:
        """The replies and frames that these bytes complete, in order."""
        self._buffer += data
        out: list[Reply | Frame] = []
        while (item := self._next()) is not None:
            out.append(item)
        return out

    def _next(self) -> Reply | Frame | None:
        if self._header is None:
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > HEADER_BYTES:
                    raise ReplyError("endless header")
                return None
            self._start(bytes(self._buffer[:end]))
            del self._buffer[: end + 1]
        header = self._header
        if header is None or len(self._buffer) < self._length:
            return None
        payload = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._header = None
        name = header[1].decode("utf-8", "replace")
        if header[0] != b"DATA":
            return Reply(header[0] == b"+OK", name, payload)
        tag = header[3:5]
        tagged = len(tag) == 2 and all(_LENGTH.fullmatch(number) for number in tag)
        return Frame(name, payload, *(map(int, tag) if tagged else ()))

    def _start(self, line: bytes) -> None:
        fields = line.split()
        known = len(fields) > 2 and fields[0] in (b"+OK", b"-ERR", b"DATA")
        if not known or not _LENGTH.fullmatch(fields[2]) or len(line) > HEADER_BYTES:
            raise ReplyError(f"not a reply: {line[:80]!r}")
        self._header, self._length = fields, int(fields[2])


def encode_request(verb: str, agent: str, payload: bytes = b"") -> bytes:
    """A request with its length counted."""
    return f"{verb} {agent} {len(payload)}\n".encode() + payload


def encode_reply(reply: Reply) -> bytes:
    """A control reply: header line with CRLF, then exactly the payload."""
    status = "+OK" if reply.ok else "-ERR"
    return f"{status} {reply.code} {len(reply.payload)}\r\n".encode() + reply.payload


def encode_frame(frame: Frame) -> bytes:
    """A DATA frame; tagged with PID and offset when the frame has them."""
    tag = "" if frame.pid is None else f" {frame.pid} {frame.offset}"
    return f"DATA {frame.kind} {len(frame.payload)}{tag}\r\n".encode() + frame.payload
