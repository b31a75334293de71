"""Decoding through the whole kernel over TCP keeps 0.95 of the raw llama_decode loop's speed with 16
processes, and 0.93 with one.

Same file, threads, slots, prompt lengths and numbers of tokens; sampling is part of both. The two run in
turns, the order changing from pair to pair; each pair gives one ratio. Decoding counts from the moment
when every process has its first token to the moment when the first of them ends; `whole` counts from the
first EXEC to the last end marker, prompts included. One connection a process.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import uvloop

from benchmarks.bench import Bench, BenchError, Kernel
from benchmarks.client import Stream, clients, start
from benchmarks.figures import Figure
from benchmarks.pairs import alternate
from benchmarks.prompts import letters, request
from benchmarks.raw import RawLoop, raw_loop

SLOTS, CONTEXT, PROMPT = 16, 512, 32
_MODEL = "135m"


@dataclass(frozen=True, slots=True)
class Run:
    """Processes that were streamed at once."""

    streams: list[Stream]
    seconds: float

    @property
    def tokens(self) -> int:
        """Of all of them together."""
        return sum(stream.tokens for stream in self.streams)

    @property
    def decode(self) -> float:
        """Tokens a second while all decode. Raises BenchError."""
        return decode_rate(self.streams)

    @property
    def whole(self) -> float:
        """Tokens a second over the whole run."""
        return self.tokens / self.seconds


def run(bench: Bench) -> list[Figure]:
    """Pairs of runs at 16 processes and at one."""
    model = bench.model(_MODEL)
    figures = []
    with (
        bench.kernel(model, SLOTS, CONTEXT) as kernel,
        raw_loop(bench, model, SLOTS, CONTEXT) as raw,
    ):
        for processes, target in ((SLOTS, 0.95), (1, 0.93)):
            figures += _compare(bench, kernel, raw, processes, target)
    return figures


def _compare(bench: Bench, kernel: Kernel, raw: RawLoop, processes: int, target: float) -> list[Figure]:
    tokens = bench.pick(256, 200)
    served, bare = alternate(
        bench.pick(7, 1),
        lambda _pair: streamed(kernel, processes, tokens),
        lambda _pair: raw.tokens_per_second(processes, PROMPT, tokens),
    )
    settings: dict[str, object] = {"model": bench.model(_MODEL).stem, "threads": bench.threads}
    settings |= {"processes": processes, "prompt": PROMPT, "tokens": tokens}
    return _figures(served, bare, target, settings)


def _figures(
    served: list[Run], bare: list[float], target: float, settings: dict[str, object]
) -> list[Figure]:
    who = f"{settings['processes']} processes" if settings["processes"] != 1 else "1 process"
    ratios = [run.decode / loop for run, loop in zip(served, bare, strict=True)]
    return [
        Figure(f"decode of {who} ÷ raw loop", "", ratios, at_least=target, settings=settings),
        Figure(f"decode of {who}", "tokens/s", [run.decode for run in served], settings=settings),
        Figure(f"raw loop, {who}", "tokens/s", bare, settings=settings),
        Figure(f"whole run of {who}", "tokens/s", [run.whole for run in served], settings=settings),
    ]


def streamed(kernel: Kernel, processes: int, tokens: int) -> Run:
    """Stream so many processes at once, each to so many tokens."""
    return uvloop.run(_streamed(kernel, processes, tokens))


async def _streamed(kernel: Kernel, processes: int, tokens: int) -> Run:
    payloads = [request(letters(PROMPT - 1, seed), tokens, seed) for seed in range(processes)]
    async with clients(kernel, processes) as connections:
        began = time.monotonic()
        streams = await asyncio.gather(*map(start, connections, payloads))
        await asyncio.gather(*(stream.ended.wait() for stream in streams))
        return Run(streams, time.monotonic() - began)


def decode_rate(streams: list[Stream]) -> float:
    """Tokens a second in all, over the frames that came while every stream was decoding.

    A step's frames come one after the other, so each stream is timed by its own frames. A token without
    text of its own (part of a character) has no frame: frames count for as many tokens as the stream had
    a frame on average.
    """
    begin = max(stream.frames[0] for stream in streams)
    end = min(stream.frames[-1] for stream in streams)
    rate = 0.0
    for stream in streams:
        gaps = len(stream.frames) - 1
        half_step = (stream.frames[-1] - stream.frames[0]) / max(1, gaps) / 2
        frames = [at for at in stream.frames if begin - half_step <= at <= end + half_step]
        if len(frames) < 2:
            raise BenchError("the processes hardly ran at the same time")
        steps = (len(frames) - 1) * stream.tokens / len(stream.frames)
        rate += steps / (frames[-1] - frames[0])
    return rate
