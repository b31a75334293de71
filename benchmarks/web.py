"""Peers that speak HTTP: starting one on a port of its own, and posting to it."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import psutil

from benchmarks.bench import START_SECONDS, BenchError, stop

_PART = 1 << 16  # bytes
_EVENT = re.compile(rb"^data: (\{.*\})\s*$", re.MULTILINE)


class Server(Protocol):
    """A peer that generates so many tokens behind a prompt, and raises BenchError unless it does."""

    async def complete(self, prompt: Sequence[int], limit: int, seed: int) -> object:
        """Wait for the whole answer."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(command: Sequence[str], health: str, log: Path) -> Iterator[psutil.Process]:
    """Run a server, from when its health's URL answers to the end of the block."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            _wait_healthy(process, health, log)
            yield psutil.Process(process.pid)
        finally:
            stop(process)


async def post(port: int, path: str, content: dict[str, Any]) -> dict[str, Any]:
    """Post JSON on a connection of its own; the JSON of the reply. Raises BenchError for any other."""
    decoded: dict[str, Any] = msgspec.json.decode(await _posted(port, path, content))
    return decoded


async def post_streaming(port: int, path: str, content: dict[str, Any]) -> list[dict[str, Any]]:
    """The same, of a reply that comes as server-sent events: the JSON of each."""
    reply = await _posted(port, path, content)
    return [msgspec.json.decode(event) for event in _EVENT.findall(reply)]


async def _posted(port: int, path: str, content: dict[str, Any]) -> bytes:
    """The reply's content, read as it comes."""
    body = msgspec.json.encode(content)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        writer.write(head.encode() + body)
        status = await reader.readline()
        length = -1
        while (line := await reader.readline()).strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        parts = []
        while length and (part := await reader.read(_PART)):
            parts.append(part)
            length -= len(part)
    finally:
        writer.close()
    reply = b"".join(parts)
    if status.split()[1:2] != [b"200"]:
        raise BenchError(f"{path}: {status.decode().strip()} {reply.decode(errors='replace')}")
    return reply


def _wait_healthy(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    """Return once it says that it is ready. Raises BenchError."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=START_SECONDS):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    last = log.read_text(errors="replace").strip().rpartition("\n")[2]
    raise BenchError(f"{log.stem} did not start: {last}")
