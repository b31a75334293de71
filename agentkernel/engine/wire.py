"""Frames between the kernel and a process of its own: four bytes of length, big-endian, then msgpack."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec

_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """One message as a frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


class FrameReader:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The frames that these bytes complete."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 4:
            end = 4 + int.from_bytes(buffer[:4], "big")
            if len(buffer) < end:
                return
            frame = bytes(buffer[4:end])
            del buffer[:end]
            yield frame


def frames(connection: socket.socket) -> Iterator[bytes]:
    """Every frame from a blocking socket, until its end."""
    reader = FrameReader()
    while data := connection.recv(1 << 16):
        yield from reader.receive(data)
