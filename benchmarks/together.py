"""Everybody asks at once: the seconds from the first request to the last one's end, on either side."""

from __future__ import annotations

import asyncio
import time

import uvloop

from benchmarks.bench import BenchError, Kernel
from benchmarks.client import clients, start
from benchmarks.prompts import array, request
from benchmarks.web import Server


def on_kernel(kernel: Kernel, texts: list[str], tokens: int) -> float:
    """One process and one connection a text, so many new tokens each, streamed."""
    return uvloop.run(_on_kernel(kernel, texts, tokens))


def on_server(server: Server, texts: list[str], tokens: int) -> float:
    """One request a text, so many new tokens each."""
    return uvloop.run(_on_server(server, texts, tokens))


async def _on_kernel(kernel: Kernel, texts: list[str], tokens: int) -> float:
    payloads = [request(text, tokens, seed) for seed, text in enumerate(texts)]
    async with clients(kernel, len(texts)) as connections:
        began = time.monotonic()
        streams = await asyncio.gather(*map(start, connections, payloads))
        await asyncio.gather(*(stream.ended.wait() for stream in streams))
        seconds = time.monotonic() - began
    if any(stream.tokens != tokens for stream in streams):
        raise BenchError(f"{[stream.tokens for stream in streams]} tokens, {tokens} expected of each")
    return seconds


async def _on_server(server: Server, texts: list[str], tokens: int) -> float:
    arrays = [array(text) for text in texts]
    began = time.monotonic()
    await asyncio.gather(*(server.complete(some, tokens, seed) for seed, some in enumerate(arrays)))
    return time.monotonic() - began
