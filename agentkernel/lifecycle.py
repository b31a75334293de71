"""What happens to processes by themselves: their output, the ends of their turns, their own end.

Rules
1. Every end goes through `_end`: state, engine, marker, waiters, event, in this order.
2. What a process waits for is named; nothing that waits is ever forgotten.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from agentkernel import log
from agentkernel.config import Config, Generation
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.events import Events
from agentkernel.models import Models
from agentkernel.process import Event, Owner, Process, ProcessTable, Sink, State, Wait
from agentkernel.serving import Served

_log = log.get("kernel")

# How the end of a turn ends a process: reason given by the engine → event.
_ENDINGS = {
    "stop": Event.FINISH,
    "length": Event.FINISH,
    "context_full": Event.FINISH,
    "terminated": Event.TERMINATE,
    "failed": Event.FAIL,
}


class Lifecycle:
    """The process table and the models, and what happens without anybody asking."""

    def __init__(self, config: Config, make_engine: Callable[[], port.Engine]) -> None:
        self.config = config
        self.generation: Generation = config.generation
        self.seed = secrets.randbits(32)  # from which each process draws its own, without SET_GEN
        self.table = ProcessTable(config.limits.processes, config.limits.ended_processes)
        self.models = Models(config, make_engine, self)
        self.clock = asyncio.get_running_loop().time
        self.started = self.clock()
        self.counters = {"commands": 0, "errors": 0, "execs": 0, "signals": 0}
        self.draining = False
        self.events = Events()
        self._waiters: dict[int, list[asyncio.Future[Process]]] = {}
        self._empty = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} processes={len(self.table)} models={len(self.models.served)}>"

    # Sinks

    def readable(self, pid: int) -> None:
        """A reader that was behind has caught up with this process."""
        try:
            process = self.table.live(pid)
        except KernelError:
            return
        if process.wait is Wait.OUTPUT:
            process.move(Event.WAKE, self.clock())
            self._served(process).set_runnable(process, runnable=True)

    def disconnected(self, sink: Sink) -> None:
        """A client is gone: each of its processes does as its `on_disconnect` says."""
        self.events.unsubscribe(sink)
        for process in self.table:
            if process.sink is not sink:
                continue
            process.sink = None
            if process.plan.on_disconnect == "kill":
                self._end(process, Event.KILL, "disconnected")
            elif process.plan.on_disconnect == "suspend" and process.state is not State.SUSPENDED:
                process.move(Event.SUSPEND, self.clock())
                self._served(process).set_runnable(process, runnable=False)
            else:
                self.readable(process.pid)

    def streams_to(self, sink: Sink) -> bool:
        """Whether a process of the sink's goes on by itself."""
        going = (State.READY, State.RUNNING)
        return any(p.sink is sink and (p.state in going or p.wait is Wait.OUTPUT) for p in self.table)

    def emit(self, kind: str, **fields: Any) -> None:
        """Tell every subscriber."""
        self.events.emit(kind, **fields)

    # What a served model reports (serving.Host)

    def deliver(self, process: Process, output: port.Output) -> None:
        """Give out what a step brought; the process may wait, or end, with it."""
        new = len(output.tokens)
        process.tokens += output.tokens
        process.generated += new
        process.turn_tokens += new
        process.draws = output.draws
        if process.phase == "prefill" and output.tokens:
            process.enter("decode", self.clock())
        keeps_up = self._give_out(process, output.text)
        if output.end:
            self._turn_over(process, output.end)
        elif process.generated >= process.quota_tokens:
            self._end(process, Event.FINISH, "quota")
        elif not keeps_up and process.state is State.RUNNING:
            process.move(Event.WAIT, self.clock(), Wait.OUTPUT)
            self._served(process).set_runnable(process, runnable=False)

    def fail(self, process: Process, reason: str) -> None:
        """End a process that can't go on."""
        self._end(process, Event.FAIL, reason)

    async def drain(self, seconds: float) -> None:
        """Take no new work; end what waits, let the rest run for so long, then end it; stop engines."""
        self.draining = True
        idle = (State.WAITING, State.SUSPENDED)
        for process in self.table:
            if process.state in idle and process.wait is not Wait.OUTPUT:
                self._end(process, Event.TERMINATE, "shutdown")
        try:
            async with asyncio.timeout(seconds):
                while len(self.table):
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            for process in self.table:
                self._end(process, Event.TERMINATE, "shutdown")
        await self.models.stop()

    def _give_out(self, process: Process, text: bytes) -> bool:
        start = process.offset
        process.offset += len(text)
        process.turn_bytes += len(text)
        if not text or process.sink is None:
            return True
        return process.sink.data(process.pid, start, text)

    def _turn_over(self, process: Process, end: str) -> None:
        exhausted = process.generated >= process.quota_tokens
        quota = exhausted and end == "length" and process.turn_tokens < process.turn_limit
        reason = "quota" if quota else end
        if not process.plan.interactive or exhausted or end not in ("stop", "length"):
            self._end(process, _ENDINGS[end], reason)
            return
        if process.terminating or self.draining:
            self._end(process, Event.TERMINATE, "terminated" if process.terminating else "shutdown")
            return
        process.turn_over, process.reason = True, end
        if process.state is not State.SUSPENDED:
            process.move(Event.WAIT, self.clock(), Wait.INPUT, end)
            self._served(process).set_runnable(process, runnable=False)
        self.events.emit("turn_finished", process, reason=end, tokens_generated=process.turn_tokens)

    def _end(self, process: Process, event: Event, reason: str) -> None:
        now = self.clock()
        process.move(event, now, reason=reason)
        served = self._served(process)
        served.close(process)
        sink = process.sink
        self.table.retire(process)
        if sink is not None:
            sink.end(process.pid, process.offset, process.marker(now))
        for future in self._waiters.pop(process.pid, []):
            if not future.done():
                future.set_result(process)
        seconds = round(process.elapsed(now), 3)
        who = {"client": process.client, "pid": process.pid}
        _log.info("process ended", **who, reason=reason, tokens=process.generated)
        self.events.emit(
            "session_finished",
            process,
            state=process.state.value,
            reason=reason,
            tokens_generated=process.generated,
            elapsed_secs=seconds,
        )
        self.models.retire_idle()
        if not len(self.table):
            self._empty.set()

    def _wake(self, process: Process) -> None:
        if process.state is State.READY:
            self._served(process).set_runnable(process, runnable=True)

    def _mine(self, owner: Owner, pid: int) -> Process:
        process = self.table.live(pid)
        owner.permit(process)
        return process

    def _served(self, process: Process) -> Served:
        return self.models.served[process.model_id]
