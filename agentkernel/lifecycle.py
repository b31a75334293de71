"""What happens to processes by themselves: their output, the ends of their turns, the kernel's end.

Rules
1. What a step brought is given out before anything follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agentkernel.calling import Calling
from agentkernel.calls import Call
from agentkernel.config import Config
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.jail.absent import NoJail
from agentkernel.jail.port import Jail
from agentkernel.models import Models
from agentkernel.process import Event, Process, Sink, State, Wait
from agentkernel.syscalls.gate import Gate

# How the end of a turn ends a process: reason given by the engine → event.
_ENDINGS = {
    "stop": Event.FINISH,
    "length": Event.FINISH,
    "context_full": Event.FINISH,
    "terminated": Event.TERMINATE,
    "failed": Event.FAIL,
}
_PASSING = (Wait.OUTPUT, Wait.CHILD, Wait.SYSCALL)  # what comes without anybody's asking
_BOUNDED = (*_PASSING, Wait.APPROVAL, Wait.ANSWER)  # and what people have so much time for


class Lifecycle(Calling):
    """The kernel, as far as nobody asks it for anything."""

    def __init__(
        self, config: Config, make_engine: Callable[[], port.Engine], jail: Jail | None = None
    ) -> None:
        """Without a jail nothing can be called. Raises as `Gate` does."""
        super().__init__(config)
        self.models = Models(config, make_engine, self)
        self.gate = Gate(config, jail or NoJail(), self)

    # Sinks

    def readable(self, pid: int) -> None:
        """A reader that was behind has caught up with this process."""
        try:
            process = self.table.live(pid)
        except KernelError:
            return
        if process.wait is Wait.OUTPUT:
            process.move(Event.WAKE, self.clock())
            self._wake(process)

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
        return any(p.sink is sink and (p.state in going or p.wait in _BOUNDED) for p in self.table)

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
        if process.state is State.RUNNING and process.phase == "prefill" and output.tokens:
            process.enter("decode", self.clock())
        keeps_up = self._give_out(process, output.text)
        if output.end:
            self._turn_over(process, output.end, output.calls)
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
            if process.state in idle and process.wait not in _PASSING:
                self._end(process, Event.TERMINATE, "shutdown")
        try:
            async with asyncio.timeout(seconds):
                while len(self.table):
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            for process in self.table:
                if not process.state.ended:  # with its parent
                    self._end(process, Event.TERMINATE, "shutdown")
        await self.models.stop()

    async def close(self) -> None:
        """End the engines and give up the memory; nothing can be asked any more."""
        await self.models.stop()
        await self.gate.close()
        await self.memory.close()

    def _give_out(self, process: Process, text: bytes) -> bool:
        start = process.offset
        process.offset += len(text)
        process.turn_bytes += len(text)
        if not text or process.sink is None:
            return True
        return process.sink.data(process.pid, start, text)

    def _turn_over(self, process: Process, end: str, calls: list[Call]) -> None:
        exhausted = process.generated >= process.quota_tokens
        if end == "call":
            end = "terminated" if process.terminating else "length" if process.budget <= 0 else end
        if end == "call":
            self._give_out(process, b"\n")  # what follows is another line
            self._called(process, calls)
            return
        if end == "context_full" and not exhausted and self._go_on(process):
            return
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
        generated = process.turn_before + process.turn_tokens
        self.events.emit("turn_finished", process, reason=end, tokens_generated=generated)
