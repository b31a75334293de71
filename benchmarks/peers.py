"""llama-server, built by `make bench-peers` from the llama.cpp that the engine's library is built from.

Rules
1. It gets what the kernel gets: file, threads, slots, tokens a slot, batch and samplers; everything else,
   its prompt cache too, is at its default.
2. A prompt is an array of tokens, an answer comes whole: it is spared what streaming costs the kernel.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agentkernel.config import Engine, Generation
from benchmarks.bench import START_SECONDS, Bench, BenchError, stop
from benchmarks.machine import ROOT

NAME = "llama-server"
_BUILD = ROOT / "benchmarks" / "build" / f"llama.cpp-{importlib.metadata.version('llama-cpp-python')}"
PROGRAM = _BUILD / "bin" / NAME
_DEFAULTS = Generation()
_SAMPLERS = {
    "samplers": ["top_k", "top_p", "temperature"],
    "top_k": _DEFAULTS.top_k,
    "top_p": _DEFAULTS.top_p,
    "temperature": _DEFAULTS.temperature,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was generated, and the tokens of the prompt that were computed for it."""

    tokens: list[int]
    prefilled: int


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A running server."""

    port: int

    async def complete(self, prompt: Sequence[int], limit: int, seed: int) -> Answer:
        """Generate so many tokens behind the prompt. Raises BenchError unless it does."""
        request = {"prompt": prompt, "n_predict": limit, "seed": seed, "return_tokens": True}
        found = await self._post("/completion", msgspec.json.encode(request | _SAMPLERS))
        answer = Answer(found["tokens"], found["timings"]["prompt_n"])
        if len(answer.tokens) < limit or found["truncated"]:
            raise BenchError(f"{NAME}: {len(answer.tokens)} tokens of {limit}")
        return answer

    async def _post(self, path: str, body: bytes) -> dict[str, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            writer.write(head.encode() + body)
            status = await reader.readline()
            length = None
            while (line := await reader.readline()).strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            content = await reader.read() if length is None else await reader.readexactly(length)
        finally:
            writer.close()
        if status.split()[1:2] != [b"200"]:
            raise BenchError(f"{NAME}: {status.decode().strip()} {content.decode(errors='replace')}")
        decoded: dict[str, Any] = msgspec.json.decode(content)
        return decoded


@contextmanager
def llama_server(bench: Bench, model: Path, slots: int, context: int) -> Iterator[LlamaServer]:
    """Serve the model with so many slots of so many tokens; ends with the block."""
    if not PROGRAM.exists():
        raise BenchError(f"{NAME} is not built: make bench-peers")
    port, log = _free_port(), bench.scratch / f"{NAME}.log"
    arguments = {
        "--model": model,
        "--host": "127.0.0.1",
        "--port": port,
        "--threads": bench.threads,
        "--threads-batch": bench.threads,
        "--parallel": slots,
        "--ctx-size": slots * context,
        "--batch-size": max(Engine().batch, slots),
        "--ubatch-size": max(Engine().batch, slots),
    }
    command = [str(PROGRAM), *(str(word) for pair in arguments.items() for word in pair)]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            _wait_healthy(process, port, log)
            yield LlamaServer(port)
        finally:
            stop(process)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once it says that it is ready. Raises BenchError."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=START_SECONDS):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise BenchError(
        f"{NAME} did not start: {log.read_text(errors='replace').strip().rpartition(chr(10))[2]}"
    )
