"""Cut a byte stream into commands (server) or replies and frames (client), sans-I/O.

Rules
1. `receive(data)` never raises and never loses bytes: feeding a stream whole, byte by byte or in any
   other chunking gives the same events.
2. Every wrong header becomes one `Rejected`, and the parser is in sync again: behind the body where
   the length is valid, at the next line where it is not.
3. A `Rejected` with `fatal` is the last event: the stream can't be followed any further.
4. Memory is bounded by the header limit plus the body limit.
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
_BARE = (b"HELP", b"QUIT")
_IAC, _SB, _SE, _NEGOTIATION = 0xFF, 0xFA, 0xF0, range(0xFB, 0xFF)


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


def strip_telnet(line: bytes) -> bytes:
    """The line without telnet negotiation (RFC 854: IAC, one command byte, an option, or SB … IAC SE)."""
    if _IAC not in line:
        return line
    out = bytearray()
    i, n = 0, len(line)
    while i < n:
        if line[i] != _IAC:
            out.append(line[i])
            i += 1
        elif i + 1 < n and line[i + 1] in _NEGOTIATION:
            i += 3
        elif i + 1 < n and line[i + 1] == _SB:
            end = line.find(bytes((_IAC, _SE)), i)
            i = n if end < 0 else end + 2
        else:
            i += 2
    return bytes(out)


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(line) is None


class RequestParser:
    """The server's half: bytes in, `Command` and `Rejected` out."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to hold no LF
        self._remaining = 0  # of the body being drained
        self._length = 0
        self._tag = b""
        self._heredoc_from = 0
        self._verb = self._agent = ""
        self._pending: Rejected | None = None
        self.phase = Phase.IDLE

    def __repr__(self) -> str:
        return f"<RequestParser {self.phase.value} buffered={len(self._buffer)}>"

    def receive(self, data: bytes) -> list[Event]:
        """The events that these bytes complete, in order."""
        events: list[Event] = []
        if self.phase is Phase.DEAD:
            return events
        self._buffer += data
        while self._buffer or self.phase is Phase.BODY:
            before = (self.phase, len(self._buffer), self._scanned)
            event = self._advance()
            if event is not None:
                events.append(event)
            elif before == (self.phase, len(self._buffer), self._scanned):
                break
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
        self.phase = Phase.DEAD

    def _advance(self) -> Event | None:
        if self.phase is Phase.BODY:
            return self._take_body()
        if self.phase is Phase.DRAIN:
            return self._drain()
        if self.phase is Phase.HEREDOC:
            return self._take_heredoc()
        return self._take_line()

    def _take_line(self) -> Event | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            return self._partial_line()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        skipped, self.phase = self.phase is Phase.SKIP, Phase.IDLE
        if skipped:
            return None
        if len(line) > self._limits.header:
            return self._overlong()
        return self._header(strip_telnet(line))

    def _partial_line(self) -> Rejected | None:
        """No line end yet: an overlong header is reported once, then skipped to its end (§2.5)."""
        self._scanned = len(self._buffer)
        if self.phase is Phase.SKIP:
            self._scanned = 0
            self._buffer.clear()
            return None
        self.phase = Phase.HEADER
        if len(self._buffer) <= self._limits.header:
            return None
        self._scanned = 0
        self._buffer.clear()
        self.phase = Phase.SKIP
        return self._overlong()

    def _overlong(self) -> Rejected:
        return Rejected("BAD_HEADER", f"header over {self._limits.header} bytes")

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
            self._tag, self._heredoc_from = tag[1], 0
            self.phase = Phase.HEREDOC
            return None
        if not _LENGTH.fullmatch(length):
            return self._reject("LENGTH is a decimal number, `-` or `<<TAG`", tokens)
        self._length = int(length)
        if self._length > self._limits.body:
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
        if self._length > self._limits.body:
            return self._too_large(agent)
        self._pending, self._remaining = rejected, self._length
        self.phase = Phase.DRAIN
        return None

    def _too_large(self, agent: str) -> Rejected:
        """Refuse at once, then skip the body, if it is short enough to be skipped."""
        fatal = self._length > self._limits.drain
        self._pending, self._remaining = None, self._length
        self.phase = Phase.DRAIN
        if fatal:
            self._die()
        message = f"body of {self._length} bytes over the limit of {self._limits.body}"
        return Rejected("BODY_TOO_LARGE", message, agent, fatal)

    def _take_body(self) -> Command | None:
        if len(self._buffer) < self._length:
            return None
        payload = bytes(self._buffer[: self._length])
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
        """Lines up to one that is only the tag; LF and CRLF both end a line (§2.3)."""
        start = self._heredoc_from
        end = self._buffer.find(b"\n", max(start, self._scanned))
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned > self._limits.body + self._limits.header:
                return self._endless()
            return None
        line = strip_telnet(bytes(self._buffer[start:end])).removesuffix(b"\r")
        if line == self._tag and end - start <= self._limits.header:
            lines = bytes(self._buffer[:start]).split(b"\n")[:-1]
            del self._buffer[: end + 1]
            self._scanned = 0
            self.phase = Phase.IDLE
            payload = b"\n".join(strip_telnet(x).removesuffix(b"\r") for x in lines)
            return Command(self._verb, self._agent, payload)
        self._heredoc_from = self._scanned = end + 1
        if self._heredoc_from > self._limits.body:
            return self._endless()
        return None

    def _endless(self) -> Rejected:
        message = f"no line {self._tag.decode()!r} within {self._limits.body} bytes"
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
