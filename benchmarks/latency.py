"""Control stays quick under load: EXEC's +OK within 10 ms and PING within 5 ms at p99 while 16 processes
decode, while a 4,000-token prompt is read, and during the LOAD of a 135M model.

Open loop: commands are due at Poisson moments fixed beforehand, and a reply's delay counts from the
moment when its command was due, whatever became of those before it and however late the client woke (which
`client late` shows; the client asks for short slices of the processor, so that it is seldom its own lateness
that is measured). Only commands due while the load was really on are counted; before the load begins
nothing is sent. EXEC's processes are killed at their +OK.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from dataclasses import dataclass, field

import msgspec

from agentkernel.cpu import SHORT_SLICE, set_slice
from benchmarks.bench import Bench, Kernel
from benchmarks.client import Connection, clients
from benchmarks.figures import Figure
from benchmarks.loads import LOADS, Load, Spans

_LIMITS = {"PING": 5.0, "EXEC": 10.0}  # milliseconds
_RATES = {"PING": 40.0, "EXEC": 20.0}  # commands a second
_EXEC = msgspec.json.encode({"prompt": "say one word", "max_tokens": 400})
_HEAD_START = 0.2  # seconds, in which the client gets everything ready
_CLIENTS = 8  # a connection runs one EXEC at a time: several, as of several clients


@dataclass(frozen=True, slots=True)
class Sample:
    """Moments of one command."""

    verb: str
    due: float
    sent: float
    answered: float


@dataclass(slots=True)
class Arrivals:
    """An open loop of PINGs and EXECs."""

    kernel: Kernel
    samples: list[Sample] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        """Send what falls due in so many seconds, and wait for every reply."""
        async with clients(self.kernel, _CLIENTS) as pings, clients(self.kernel, _CLIENTS) as execs:
            begin = time.monotonic() + _HEAD_START
            async with asyncio.TaskGroup() as group:
                for verb, some in (("PING", pings), ("EXEC", execs)):
                    for i, after in enumerate(moments(_RATES[verb], seconds)):
                        group.create_task(self._one(some[i % _CLIENTS], verb, begin + after))

    async def _one(self, client: Connection, verb: str, due: float) -> None:
        await asyncio.sleep(due - time.monotonic())
        sent = time.monotonic()
        answer = await client.ask(verb, _EXEC if verb == "EXEC" else b"")
        self.samples.append(Sample(verb, due, sent, answer.at))
        if verb == "EXEC":
            await client.ask("KILL", str(answer.data["pid"]).encode())


def moments(rate: float, seconds: float) -> list[float]:
    """Poisson arrivals within so many seconds; the same ones each time."""
    rng = random.Random(rate)
    found = [rng.expovariate(rate)]
    while found[-1] < seconds:
        found.append(found[-1] + rng.expovariate(rate))
    return found[:-1]


def run(bench: Bench) -> list[Figure]:
    """Each load in turn, on a kernel of its own."""
    set_slice(SHORT_SLICE)
    figures = []
    for load in LOADS:
        model = bench.model(load.model)
        with (
            bench.kernel(model, load.slots, load.context) as kernel,
            asyncio.Runner(loop_factory=precise_loop) as runner,
        ):
            samples = runner.run(_measure(bench, kernel, load))
        figures += _figures(samples, load, {"model": model.stem, "threads": bench.threads})
    return figures


async def _measure(bench: Bench, kernel: Kernel, load: Load) -> list[Sample]:
    """The samples that were due while the load was on."""
    spans, arrivals = Spans(), Arrivals(kernel)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(load.work(bench, kernel, spans))
        await spans.begun.wait()
        await arrivals.run(bench.pick(30.0, 2.0))
        spans.end()
        work.cancel()
    return [sample for sample in arrivals.samples if spans.hold(sample.due)]


def _figures(samples: list[Sample], load: Load, settings: dict[str, object]) -> list[Figure]:
    figures = []
    settings |= {"slots": load.slots, "context": load.context, "rates": _RATES}
    for verb, limit in _LIMITS.items():
        delays = [round((s.answered - s.due) * 1e3, 3) for s in samples if s.verb == verb]
        name = f"{verb} while {load.name}"
        figures.append(Figure(name, "ms", delays, "p99", at_most=limit, settings=settings))
    late = [round((sample.sent - sample.due) * 1e3, 3) for sample in samples]
    name = f"client late while {load.name}"
    figures.append(Figure(name, "ms", late, "p99", settings=settings))
    return figures


def precise_loop() -> asyncio.SelectorEventLoop:
    """An event loop whose timers are exact to the microsecond; epoll and uvloop round up to 1 ms."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
