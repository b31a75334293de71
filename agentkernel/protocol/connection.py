"""One connection's protocol state, sans-I/O: dialect, request ids, envelopes and frames.

Rules
1. A connection speaks the text dialect until a HELLO is answered; there is no way back.
2. A v1 payload is one JSON object with its keys in the order of §3.2.
3. Capabilities are what HELLO granted; `tagged_frames_v1` alone changes how frames are written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from agentkernel.errors import KernelError
from agentkernel.protocol.framing import Frame, Reply, encode_frame, encode_reply

VERSION = "v1"
CAPABILITIES = ("event_stream_v1", "tagged_frames_v1")


class Hello(msgspec.Struct, forbid_unknown_fields=True):
    """HELLO's payload."""

    supported_versions: tuple[str, ...] = (VERSION,)
    required_capabilities: tuple[str, ...] = ()


@dataclass(slots=True)
class Answer:
    """What a verb answers: JSON data for v1; a line, lines or bytes for the text dialect."""

    data: dict[str, Any]
    text: str | bytes
    code: str = ""


@dataclass(slots=True)
class ServerConnection:
    """The server's view of one client's dialect."""

    v1: bool = False
    capabilities: frozenset[str] = field(default_factory=frozenset)
    requests: int = 0

    @property
    def tagged(self) -> bool:
        """Whether frames carry PID and offset."""
        return "tagged_frames_v1" in self.capabilities

    def request_id(self, agent: str) -> str:
        """The id of the next request: what the client calls itself, and a count."""
        self.requests += 1
        return f"{agent}:{self.requests}"

    def hello(self, payload: bytes) -> Answer:
        """Negotiate; raises HELLO_INVALID, VERSION_MISMATCH or CAPABILITY_MISSING."""
        try:
            hello = msgspec.json.decode(payload.strip() or b"{}", type=Hello)
        except msgspec.MsgspecError as error:
            raise KernelError("HELLO_INVALID", str(error)) from error
        if hello.supported_versions and VERSION not in hello.supported_versions:
            details = {"offered": [VERSION]}
            raise KernelError("VERSION_MISMATCH", f"only {VERSION} is spoken here", details)
        missing = sorted(set(hello.required_capabilities) - set(CAPABILITIES))
        if missing:
            details = {"missing": missing, "offered": list(CAPABILITIES)}
            raise KernelError("CAPABILITY_MISSING", f"not offered: {', '.join(missing)}", details)
        self.v1 = True
        self.capabilities = frozenset(hello.required_capabilities)
        data = {
            "negotiated_version": VERSION,
            "enabled_capabilities": sorted(self.capabilities),
            "legacy_fallback_allowed": True,
        }
        return Answer(data, "")

    def success(self, verb: str, request_id: str, answer: Answer) -> bytes:
        """The bytes of a +OK."""
        code = answer.code or verb
        if not self.v1:
            text = answer.text.encode() if isinstance(answer.text, str) else answer.text
            return encode_reply(Reply(ok=True, code=code, payload=text))
        payload = _envelope(verb.lower(), request_id, code, data=answer.data)
        return encode_reply(Reply(ok=True, code=code, payload=payload))

    def failure(self, request_id: str, error: KernelError, *, envelope: bool = False) -> bytes:
        """The bytes of a -ERR; `envelope` forces JSON, as HELLO's own errors do."""
        if not self.v1 and not envelope:
            payload = error.message.encode()
        else:
            spec = error.spec
            body = {
                "message": error.message,
                "fault": spec.fault.value,
                "retryable": spec.retryable,
                "details": error.details,
            }
            payload = _envelope("error", request_id, error.code, error=body)
        return encode_reply(Reply(ok=False, code=error.code, payload=payload))

    def data_frame(self, pid: int, offset: int, text: bytes) -> bytes:
        """A frame of a process's output, in this connection's form."""
        if self.tagged:
            return encode_frame(Frame("raw", text, pid, offset))
        return b"DATA raw %d\r\n%b" % (len(text), text)

    def event_frame(self, seq: int, event: dict[str, Any]) -> bytes:
        """A frame of a subscription."""
        return encode_frame(Frame("event", msgspec.json.encode({"seq": seq, "event": event})))


def _envelope(
    schema: str,
    request_id: str,
    code: str,
    data: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> bytes:
    return msgspec.json.encode(
        {
            "protocol_version": VERSION,
            "schema_id": f"agentkernel.control.{schema}.v1",
            "request_id": request_id,
            "ok": error is None,
            "code": code,
            "data": data,
            "error": error,
            "warnings": [],
        }
    )
