"""A swap storm costs at most a fifth: 64 processes at once on four slots, their images on disk, say at least
0.8 of the tokens a second that the same ones do four at a time; nothing is prefilled twice (1.05 of what is
needed at most), and PING is answered within 5 ms at p99 meanwhile.

Each has 192 private tokens and says 64. There is 1 MiB of memory for images, less than one takes: whoever
loses the slot goes to disk and comes back from there. PINGs are due at Poisson moments fixed beforehand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop

from benchmarks.bench import Bench, BenchError, Kernel
from benchmarks.client import Connection, clients, start
from benchmarks.figures import Figure, Side, ratio
from benchmarks.latency import moments
from benchmarks.pairs import alternate
from benchmarks.prompts import letters, request

_SLOTS, _MODEL, _RATE, _LONGEST = 4, "135m", 40.0, 600.0  # PINGs a second; seconds


@dataclass(frozen=True, slots=True)
class Work:
    """So many processes, the tokens of a prompt and those of an answer."""

    processes: int
    prompt: int
    new: int

    def payload(self, pair: int, process: int) -> bytes:
        """EXEC's; no two are alike."""
        return request(letters(self.prompt - 1, pair, process), self.new, process)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Tokens a second, tokens prefilled for one needed, images out and in again, PING's delays in ms."""

    rate: float
    prefilled: float
    outs: int
    ins: int
    delays: list[float]


def run(bench: Bench) -> list[Figure]:
    """The storm and the calm in turns, on one kernel."""
    model, work = bench.model(_MODEL), bench.pick(Work(64, 192, 64), Work(12, 32, 64))
    with bench.kernel(model, _SLOTS, work.prompt + work.new + 1, memory__ram_mb=1) as kernel:
        storms, calms = alternate(
            bench.pick(3, 1),
            lambda pair: uvloop.run(_measured(kernel, work, 2 * pair, work.processes)),
            lambda pair: uvloop.run(_measured(kernel, work, 2 * pair + 1, _SLOTS)),
        )
    if not (bench.smoke or all(storm.ins for storm in storms)):
        raise BenchError("nothing was paged")
    settings: dict[str, object] = {"model": model.stem, "threads": bench.threads, "slots": _SLOTS}
    settings |= {field: getattr(work, field) for field in Work.__slots__}
    return _figures(storms, calms, settings)


def _figures(storms: list[Outcome], calms: list[Outcome], settings: dict[str, object]) -> list[Figure]:
    sides = [
        Side(name, "tokens/s", [outcome.rate for outcome in some])
        for name, some in (("storm", storms), ("four at a time", calms))
    ]
    who, delays = (
        f"{settings['processes']} processes on {_SLOTS} slots",
        [d for s in storms for d in s.delays],
    )
    prefilled = [storm.prefilled for storm in storms]
    return [
        ratio(f"swap storm, {who} ÷ four at a time", *sides, at_least=0.8, settings=settings),
        Figure("swap storm, prefilled ÷ needed", "", prefilled, at_most=1.05, settings=settings),
        Figure("PING in a swap storm", "ms", delays, "p99", at_most=5, settings=settings),
        Figure("swap storm, images out", "", [float(s.outs) for s in storms], settings=settings),
        Figure("swap storm, images in", "", [float(s.ins) for s in storms], settings=settings),
    ]


async def _measured(kernel: Kernel, work: Work, pair: int, at_once: int) -> Outcome:
    """Do all of the work, so many processes at once."""
    async with clients(kernel, at_once) as connections, clients(kernel) as (control,):
        prompts, moves = await _prefilled(control), await _moves(control)
        left, began, delays = iter(range(work.processes)), time.monotonic(), list[float]()
        pinging = asyncio.create_task(_ping(control, began, delays))
        await asyncio.gather(*(_stream(each, work, pair, left) for each in connections))
        seconds = time.monotonic() - began
        pinging.cancel()
        needed = work.processes * (work.prompt - 1)  # a prompt's last token counts as decoding
        outs, ins = (now - then for now, then in zip(await _moves(control), moves, strict=True))
        prefilled = (await _prefilled(control) - prompts) / needed
        return Outcome(work.processes * work.new / seconds, prefilled, outs, ins, delays)


async def _stream(connection: Connection, work: Work, pair: int, left: Iterator[int]) -> None:
    """One process after the other, as long as there are any."""
    for process in left:
        stream = await start(connection, work.payload(pair, process))
        await stream.ended.wait()
        if stream.tokens != work.new:
            raise BenchError(f"{stream.tokens} tokens, not {work.new}")


async def _ping(connection: Connection, began: float, delays: list[float]) -> None:
    """PING at every moment that is due, whatever became of those before."""

    async def one(due: float) -> None:
        delays.append(((await connection.ask("PING")).at - due) * 1e3)

    async with asyncio.TaskGroup() as group:
        for after in (0.0, *moments(_RATE, _LONGEST)):
            await asyncio.sleep(began + after - time.monotonic())
            group.create_task(one(began + after))


async def _prefilled(connection: Connection) -> int:
    return int((await connection.ask("STATUS")).data["engine"]["engine_prompt_tokens"])


async def _moves(connection: Connection) -> tuple[int, int]:
    """Images that went out, and that came in."""
    found = (await connection.ask("MEM")).data
    return int(found["kv_page_outs"]), int(found["kv_page_ins"])
