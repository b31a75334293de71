"""Paging a process of 1,024 tokens out and in again takes at most 1/50 of prefilling it, in memory, and 1/10
by way of a cold file; FORK of it is answered within 10 ms.

The engine's own context and images do the paging, one process in the slot after the other, with nothing
else running; each round prefills, pages out, and pages in. The file is brought to the disk and out of the
operating system's cache before it is read (which the page-out's time does not include). FORK goes through
the whole kernel, while the parent waits for input.
"""

from __future__ import annotations

import os
import queue
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from agentkernel.config import Engine
from agentkernel.engine import port
from agentkernel.engine.worker import llama
from agentkernel.engine.worker.batcher import Row
from agentkernel.engine.worker.images import Images
from benchmarks.agents import agents
from benchmarks.bench import Bench, BenchError, Kernel, apart
from benchmarks.figures import Figure, Side, ratio
from benchmarks.prompts import array, letters, request

_MODEL, _PID, _SLOT = "135m", 1, 0
_BATCH = Engine().batch


@dataclass(frozen=True, slots=True)
class Round:
    """Milliseconds: prefilling, paging by way of memory, paging by way of a file."""

    prefill: float
    ram: float
    disk: float


def run(bench: Bench) -> list[Figure]:
    """Rounds of paging, then FORKs."""
    model, tokens = bench.model(_MODEL), bench.pick(1024, 64)
    rounds = apart(measure, model, bench.scratch, tokens, bench.pick(15, 2), bench.threads)
    with bench.kernel(model, 2, 2 * tokens) as kernel:
        delays = uvloop.run(_forks(kernel, tokens, bench.pick(100, 10)))
    settings: dict[str, object] = {"model": model.stem, "threads": bench.threads, "tokens": tokens}
    prefill = Side("prefill", "ms", [one.prefill for one in rounds])
    ram = Side("out and in", "ms", [one.ram for one in rounds])
    disk = Side("out and in", "ms", [one.disk for one in rounds])
    what = f"paging {tokens:,} tokens"
    return [
        ratio(f"{what} in memory ÷ prefill", ram, prefill, at_most=1 / 50, settings=settings),
        ratio(f"{what} by a cold file ÷ prefill", disk, prefill, at_most=1 / 10, settings=settings),
        Figure(f"FORK of {tokens:,} tokens", "ms", delays, "p99", at_most=10, settings=settings),
    ]


def measure(model: Path, folder: Path, tokens: int, rounds: int, threads: int) -> list[Round]:
    """So many rounds in this process, after one to warm up."""
    llama.set_up()
    context = llama.Context(llama.Model(str(model), 0, lambda _: None), 1, 2 * tokens, _BATCH, threads)
    probe = Probe(context, folder, array(letters(tokens - 1)))
    return [probe.round() for _ in range(rounds + 1)][1:]


class Probe:
    """One slot, one process, its images."""

    def __init__(self, context: llama.Context, folder: Path, tokens: list[int]) -> None:
        self._context, self._folder, self._tokens = context, folder, tokens
        self._reports: queue.SimpleQueue[port.Paged] = queue.SimpleQueue()
        self._images = Images(context, folder, self._reports.put)

    def round(self) -> Round:
        """Prefill, out and in by memory, out and in by a file."""
        self._context.drop(_SLOT)
        prefill = self._prefill()
        ram = self._out() + self._in("in")
        disk = self._out()
        self._images.store(_PID)
        disk += self._reported("disk-out")
        for path in self._folder.glob("*.kv"):
            _cool(path)
        return Round(prefill, ram, disk + self._in("disk-in"))

    def _prefill(self) -> float:
        began = time.perf_counter()
        for start in range(0, len(self._tokens), _BATCH):
            some = self._tokens[start : start + _BATCH]
            if self._context.decode([Row(_SLOT, some, start, sample=False)]):
                raise BenchError("llama_decode failed")
        return (time.perf_counter() - began) * 1e3

    def _out(self) -> float:
        self._images.save(_PID, _SLOT, len(self._tokens))
        self._context.drop(_SLOT)
        return self._reported("out")

    def _in(self, op: str) -> float:
        self._images.load(_PID, _SLOT, len(self._tokens))
        return self._reported(op)

    def _reported(self, op: str) -> float:
        """Wait for the end of what was begun; the milliseconds it took."""
        report = self._reports.get()
        if (report.op, report.tokens) != (op, len(self._tokens)):
            raise BenchError(f"{op} expected, not {report}")
        return report.ms


def _cool(path: Path) -> None:
    """Have the next reading of the file come from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def _forks(kernel: Kernel, tokens: int, count: int) -> list[float]:
    """Milliseconds from FORK to its reply, one after the other."""
    delays = []
    async with agents(kernel) as mine:
        parent = await mine.start(request(letters(tokens - 1), 1, interactive=True))
        await mine.turn(parent)
        for _ in range(count):
            began = time.monotonic()
            reply = await mine.ask("FORK", parent)
            delays.append((reply.at - began) * 1e3)
            await mine.ask("KILL", reply.data["children"][0])
    return delays
