"""llama-server, and the Python server of llama-cpp-python's examples: what `make bench-peers` sets up.

Rules
1. Both run the llama.cpp that the engine's library is, and get what the kernel gets: file, threads, slots,
   tokens a slot, batch. Everything else, their prompt caches too, is at its default.
2. A prompt is an array of tokens. An answer comes whole, which spares them what streaming costs the kernel;
   but where streams are compared with llama-server's, both stream.
3. llama-server samples as the kernel does. The Python server draws nothing at random: it is faster so.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from agentkernel.config import Engine, Generation
from benchmarks.bench import Bench, BenchError
from benchmarks.machine import ROOT
from benchmarks.web import free_port, post, post_streaming, running

NAME, PYTHON_NAME = "llama-server", "Python server"
_BUILD = ROOT / "benchmarks" / "build" / f"llama.cpp-{importlib.metadata.version('llama-cpp-python')}"
PROGRAM = _BUILD / "bin" / NAME
PYTHON_PROGRAM = _BUILD / "examples" / "server" / "server.py"
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
    """A running llama-server; with `streams` its answers come token by token."""

    port: int
    process: psutil.Process
    streams: bool = False

    async def complete(self, prompt: Sequence[int], limit: int, seed: int) -> Answer:
        """Generate so many tokens behind the prompt. Raises BenchError unless it does."""
        request = {"prompt": prompt, "n_predict": limit, "seed": seed, "return_tokens": True}
        if self.streams:
            events = await post_streaming(self.port, "/completion", request | _SAMPLERS | {"stream": True})
        else:
            events = [await post(self.port, "/completion", request | _SAMPLERS)]
        timings = events[-1]["timings"]
        if timings["predicted_n"] < limit or events[-1]["truncated"]:
            raise BenchError(f"{NAME}: {timings['predicted_n']} tokens of {limit}")
        # a stream leaves out tokens that are parts of a character
        return Answer([token for event in events for token in event["tokens"]], timings["prompt_n"])


@dataclass(frozen=True, slots=True)
class PythonServer:
    """A running Python server."""

    port: int

    async def complete(self, prompt: Sequence[int], limit: int, seed: int) -> None:
        """Generate so many tokens behind the prompt. Raises BenchError unless it does."""
        request = {"prompt": prompt, "max_tokens": limit, "seed": seed, "temperature": 0.0}
        found = await post(self.port, "/v1/completions", request)
        tokens = found["usage"]["completion_tokens"]
        if tokens != limit:
            raise BenchError(f"{PYTHON_NAME}: {tokens} tokens of {limit}")


@contextmanager
def llama_server(
    bench: Bench, model: Path, slots: int, context: int, *, streams: bool = False
) -> Iterator[LlamaServer]:
    """Serve the model with so many slots of so many tokens; ends with the block."""
    port, batch = free_port(), max(Engine().batch, slots)
    arguments = {
        "--model": model,
        "--host": "127.0.0.1",
        "--port": port,
        "--threads": bench.threads,
        "--threads-batch": bench.threads,
        "--parallel": slots,
        "--ctx-size": slots * context,
        "--batch-size": batch,
        "--ubatch-size": batch,
    }
    command = [_there(PROGRAM), *(str(word) for pair in arguments.items() for word in pair)]
    log = bench.scratch / "llama-server.log"
    with running(command, f"http://127.0.0.1:{port}/health", log) as process:
        yield LlamaServer(port, process, streams)


@contextmanager
def python_server(bench: Bench, model: Path, slots: int, context: int) -> Iterator[PythonServer]:
    """Serve the model with so many sequences and so many tokens for each; ends with the block."""
    port, batch = free_port(), max(Engine().batch, slots)
    settings = {
        "path": str(model),
        "n_seq_max": slots,
        "n_ctx": slots * context,
        "n_batch": batch,
        "n_ubatch": batch,
        "threads": bench.threads,
        "threads_batch": bench.threads,
        "store_logits": False,  # as in every configuration that comes with it
    }
    file = bench.scratch / "python-server.json"
    file.write_bytes(msgspec.json.encode({"server": {"host": "127.0.0.1", "port": port}, "model": settings}))
    command = [sys.executable, _there(PYTHON_PROGRAM), "--config-file", str(file)]
    with running(command, f"http://127.0.0.1:{port}/healthz", bench.scratch / "python-server.log"):
        yield PythonServer(port)


def _there(program: Path) -> str:
    if not program.exists():
        raise BenchError(f"{program.name} is not there: make bench-peers")
    return str(program)
