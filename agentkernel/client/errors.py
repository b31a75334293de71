"""What a client raises: one class with code, message, retryable and details, refined by fault.

Rules
1. Everything raised for the kernel's or the connection's sake is a `ClientError`.
2. `retryable` says whether the same request may succeed later unchanged; nothing is sent twice by itself.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec


class ClientError(Exception):
    """A command that failed: the kernel's error code, or one of the classes' own codes below."""

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, message)
        self.code, self.message, self.retryable = code, message, retryable
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class RequestError(ClientError):
    """The kernel refused the request as it is."""


class ResourceError(ClientError):
    """The kernel has no room for the request, now or at all."""


class InternalError(ClientError):
    """The kernel, or a model's engine, made a mistake."""


class UnreachableError(ClientError):
    """No kernel could be reached."""

    def __init__(self, address: str, error: OSError) -> None:
        system = error.errno is not None and error.errno > 0  # asyncio's own texts repeat the address
        why = os.strerror(error.errno or 0) if system else error.strerror or str(error) or "timed out"
        super().__init__("CONNECTION_FAILED", f"no kernel at {address}: {why}", retryable=True)


class ConnectionLostError(ClientError):
    """The connection ended before the answer or the rest of the stream came."""

    def __init__(self, message: str) -> None:
        super().__init__("CONNECTION_LOST", message, retryable=True)


class ReplyTimeoutError(ClientError):
    """Nothing came for the client's `timeout`; what is awaited may still come."""

    def __init__(self, seconds: float) -> None:
        super().__init__("REPLY_TIMEOUT", f"nothing came for {seconds:g} s", retryable=True)


class _Body(msgspec.Struct):
    message: str = ""
    fault: str = "client"
    retryable: bool = False
    details: dict[str, Any] = {}


class _Envelope(msgspec.Struct):
    error: _Body


_BY_FAULT = {"client": RequestError, "resource": ResourceError, "kernel": InternalError}


def refusal(code: str, payload: bytes) -> ClientError:
    """The error of a `-ERR`: a v1 envelope, or text where HELLO was not answered yet."""
    try:
        body = msgspec.json.decode(payload, type=_Envelope).error
    except msgspec.MsgspecError:
        body = _Body(payload.decode("utf-8", "replace"))
    kind = _BY_FAULT.get(body.fault, RequestError)
    return kind(code, body.message or code, retryable=body.retryable, details=body.details)
