"""A call that needs no jail costs at most 300 µs.

The kernel runs here, and a scripted engine whose every answer begins with a call of `calc`. Timed is all that
the kernel does from the report that brings the call to its asking the engine to take the result: gate, tool,
audit log. One process runs at a time.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import uvloop

from agentkernel import log
from agentkernel.config import Config, Log
from agentkernel.engine import port
from agentkernel.engine.scripted import ScriptedEngine
from agentkernel.jail.absent import NoJail
from agentkernel.jail.port import Verdict
from agentkernel.kernel import Kernel
from agentkernel.process import Owner
from agentkernel.request import ExecRequest
from benchmarks.bench import Bench, apart
from benchmarks.figures import Figure
from benchmarks.timed import Nowhere

_OWNER = Owner(1, "bench", admin=True)
_ASKED, _CALL = "ask", 'TOOL:calc {"expression": "417 + 268"}'


class Unused(NoJail):
    """What makes the gate let calls through; none of these needs a jail."""

    verdict: Verdict | None = Verdict("unused", (), ("standard",), 0, 0.0)


class Caller(ScriptedEngine):
    """An engine that notes how long a result takes to come back to it."""

    def __init__(self) -> None:
        super().__init__(lambda text: _CALL if text == _ASKED else "done")
        self.samples: list[float] = []
        self._called = 0.0

    def watch(self) -> None:
        """From now on, note it."""
        report = self.on_step

        def timed(step: port.Step) -> None:
            self._called = time.perf_counter()
            report(step)

        self.on_step = timed

    async def open(self, request: port.Request) -> port.Opened:
        """See `port.Engine`."""
        if isinstance(request, port.Append):
            self.samples.append((time.perf_counter() - self._called) * 1e6)
        return await super().open(request)


class Listener(Nowhere):
    """A sink whose processes end."""

    def end(self, _pid: int, _offset: int, _marker: bytes) -> None:
        """Taken."""


def run(bench: Bench) -> list[Figure]:
    """One kernel, one call after the other."""
    model, calls = bench.model("llama-1m"), bench.pick(1000, 20)
    samples = apart(measure, model, bench.scratch, calls)
    settings: dict[str, object] = {"tool": "calc", "calls": calls}
    return [Figure("call that needs no jail", "µs", samples, at_most=300, settings=settings)]


def measure(model: Path, scratch: Path, calls: int) -> list[float]:
    """Microseconds of each of so many calls."""
    log.configure(Log(level="warning"))
    return uvloop.run(_calls(model, scratch, calls))


async def _calls(model: Path, scratch: Path, calls: int) -> list[float]:
    tree = {"models": str(model.parent), "state": str(scratch), "workspace": str(scratch / "workspace")}
    engine, sink = Caller(), Listener()
    kernel = Kernel(msgspec.convert(tree, Config), lambda: engine, Unused())
    await kernel.models.load(model.stem)
    engine.watch()
    for _ in range(calls):
        process = await kernel.exec(_OWNER, ExecRequest(prompt=_ASKED), sink)
        await kernel.wait(_OWNER, process.pid, 10)
        await asyncio.sleep(0)
    await kernel.close()
    return engine.samples
