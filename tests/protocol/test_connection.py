"""One connection's dialect: negotiation, envelopes, request ids and frames."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from agentkernel.errors import KernelError
from agentkernel.protocol.connection import Answer, ServerConnection
from agentkernel.protocol.framing import Frame, Reply, ReplyParser

ENVELOPE = ["protocol_version", "schema_id", "request_id", "ok", "code", "data", "error", "warnings"]


def parsed(data: bytes) -> Reply:
    (reply,) = ReplyParser().receive(data)
    assert isinstance(reply, Reply)
    return reply


def greeted(*capabilities: str) -> ServerConnection:
    connection = ServerConnection()
    connection.hello(msgspec.json.encode({"required_capabilities": capabilities}))
    return connection


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" \r\n",
        b"{}",
        b'{"supported_versions":[],"required_capabilities":[]}',
        b'{"supported_versions":["v7","v1"]}',
    ],
)
def test_hello_agrees_on_v1(payload: bytes) -> None:
    connection = ServerConnection()
    assert connection.hello(payload).data == {
        "negotiated_version": "v1",
        "enabled_capabilities": [],
        "legacy_fallback_allowed": True,
    }
    assert connection.v1
    assert not connection.tagged


def test_hello_grants_the_capabilities_asked_for_in_order() -> None:
    connection = ServerConnection()
    answer = connection.hello(b'{"required_capabilities":["tagged_frames_v1","event_stream_v1"]}')
    assert answer.data["enabled_capabilities"] == ["event_stream_v1", "tagged_frames_v1"]
    assert connection.tagged
    assert connection.capabilities == {"event_stream_v1", "tagged_frames_v1"}


def test_a_second_hello_replaces_the_capabilities() -> None:
    connection = greeted("tagged_frames_v1")
    connection.hello(b"{}")
    assert not connection.tagged


@pytest.mark.parametrize(
    ("payload", "code", "details"),
    [
        (b"hello", "HELLO_INVALID", {}),
        (b"[]", "HELLO_INVALID", {}),
        (b"null", "HELLO_INVALID", {}),
        (b"\xff", "HELLO_INVALID", {}),
        (b'{"supported_versions":"v1"}', "HELLO_INVALID", {}),
        (b'{"required_capabilities":[1]}', "HELLO_INVALID", {}),
        (b'{"capabilities":[]}', "HELLO_INVALID", {}),
        (b'{"required_capabilities":' + b"[" * 100_000, "HELLO_INVALID", {}),
        (b'{"supported_versions":["v2"]}', "VERSION_MISMATCH", {"offered": ["v1"]}),
        (
            b'{"required_capabilities":["zeta","event_stream_v1","alpha"]}',
            "CAPABILITY_MISSING",
            {"missing": ["alpha", "zeta"], "offered": ["event_stream_v1", "tagged_frames_v1"]},
        ),
    ],
)
def test_a_hello_that_fails_leaves_the_text_dialect(
    payload: bytes, code: str, details: dict[str, Any]
) -> None:
    connection = ServerConnection()
    with pytest.raises(KernelError) as caught:
        connection.hello(payload)
    assert (caught.value.code, caught.value.details) == (code, details)
    assert not connection.v1
    assert connection.capabilities == frozenset()


def test_a_failing_hello_answers_with_an_envelope_in_the_text_dialect_too() -> None:
    error = KernelError("HELLO_INVALID", "no")
    reply = parsed(ServerConnection().failure("1:1", error, envelope=True))
    assert json.loads(reply.payload)["error"]["message"] == "no"


def test_the_text_dialect_has_plain_payloads() -> None:
    connection = ServerConnection()
    assert connection.success("PING", "1:1", Answer({"message": "PONG"}, "PONG")) == b"+OK PING 4\r\nPONG"
    assert connection.success("LOAD", "1:1", Answer({}, "ü", "GENERIC")) == b"+OK GENERIC 2\r\n\xc3\xbc"
    assert connection.failure("1:1", KernelError("NO_MODEL", "ü")) == b"-ERR NO_MODEL 2\r\n\xc3\xbc"


def test_a_v1_success_is_one_envelope_with_its_keys_in_order() -> None:
    reply = parsed(greeted().success("PING", "1:4", Answer({"message": "PONG"}, "PONG")))
    assert (reply.ok, reply.code) == (True, "PING")
    assert reply.payload == (
        b'{"protocol_version":"v1","schema_id":"agentkernel.control.ping.v1","request_id":"1:4","ok":true,'
        b'"code":"PING","data":{"message":"PONG"},"error":null,"warnings":[]}'
    )


def test_a_v1_failure_is_one_envelope_with_its_keys_in_order() -> None:
    error = KernelError("SPAWN_FAILED", "full", {"limit": 4})
    reply = parsed(greeted().failure("1:5", error))
    envelope = json.loads(reply.payload)
    assert (reply.ok, reply.code) == (False, "SPAWN_FAILED")
    assert list(envelope) == ENVELOPE
    assert envelope == {
        "protocol_version": "v1",
        "schema_id": "agentkernel.control.error.v1",
        "request_id": "1:5",
        "ok": False,
        "code": "SPAWN_FAILED",
        "data": None,
        "error": {"message": "full", "fault": "resource", "retryable": True, "details": {"limit": 4}},
        "warnings": [],
    }


def test_request_ids_count_the_connections_requests() -> None:
    connection = ServerConnection()
    assert [connection.request_id(agent) for agent in ("1", "süß", "1")] == ["1:1", "süß:2", "1:3"]


def test_frames_are_tagged_when_hello_granted_it() -> None:
    text = "ü".encode()
    assert ServerConnection().data_frame(7, 120, text) == b"DATA raw 2\r\n\xc3\xbc"
    assert greeted().data_frame(7, 120, text) == b"DATA raw 2\r\n\xc3\xbc"
    assert greeted("tagged_frames_v1").data_frame(7, 120, text) == b"DATA raw 2 7 120\r\n\xc3\xbc"


def test_events_are_numbered_json() -> None:
    (frame,) = ReplyParser().receive(greeted("tagged_frames_v1").event_frame(3, {"kind": "x", "pid": 1}))
    assert frame == Frame("event", b'{"seq":3,"event":{"kind":"x","pid":1}}')
