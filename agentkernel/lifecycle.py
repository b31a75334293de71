"""What happens to processes by themselves: their output, the ends of their turns, the kernel's end.

Rules
1. What a step brought is given out before anything follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from agentkernel import log
from agentkernel.calling import Calling
from agentkernel.calls import Call
from agentkernel.config import Config
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.jail.absent import NoJail
from agentkernel.jail.port import Jail
from agentkernel.models import Models
from agentkernel.process import Event, Owner, Process, Sink, State, Wait
from agentkernel.processes import Unseen
from agentkernel.request import summarizes
from agentkernel.syscalls.gate import Gate

_UPKEEP_SECONDS = 0.1  # between pieces of the journal's upkeep

_log = log.get("kernel")

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
        self.gate = Gate(config, jail or NoJail(), self, self.recorder)
        self._upkeep: asyncio.TimerHandle | None = None  # of the journal

    # Sinks

    def readable(self, pid: int, sink: Sink | None = None) -> None:
        """This reader of the process, or any that was behind, has caught up with it."""
        try:
            process = self.table.find(pid)
        except KernelError:  # of a former kernel: who reads it knows where it ended
            self.readers.caught_up(pid, 0, sink)
            return
        self.readers.caught_up(pid, self._shown(process), sink)
        if process.wait is Wait.OUTPUT and (sink is None or process.sink in (None, sink)):
            process.move(Event.WAKE, self.clock())
            self._wake(process)

    def _adopt(self, process: Process, sink: Sink | None) -> None:
        """Have a process that streams nowhere stream to the sink, unless that is attached to it."""
        if process.sink is None and sink is not None and not self.readers.reads(sink, process.pid):
            process.sink = sink

    def disconnected(self, sink: Sink) -> None:
        """A client is gone: each of its processes does as its `on_disconnect` says."""
        self.events.unsubscribe(sink)
        self.readers.forget(sink)
        self.drivers.gone(sink)
        self.admission.gone(sink)
        for process in self.table:
            if process.sink is not sink:
                continue
            process.sink = None
            if self._goes_on_later:  # it is the kernel that leaves
                continue
            if process.plan.on_disconnect == "kill":
                self._end(process, Event.KILL, "disconnected")
            elif process.plan.on_disconnect == "suspend" and process.state is not State.SUSPENDED:
                process.move(Event.SUSPEND, self.clock())
                self._served(process).set_runnable(process, runnable=False)
            else:
                self.readable(process.pid, sink)

    def streams_to(self, sink: Sink) -> bool:
        """Whether a process of the sink's goes on by itself."""
        going = (State.READY, State.RUNNING)
        comes = any(p.sink is sink and (p.state in going or p.wait in _BOUNDED) for p in self.table)
        return comes or self.readers.reads(sink)

    def emit(self, kind: str, **fields: Any) -> None:
        """Tell every subscriber."""
        self.events.emit(kind, **fields)

    # What a served model reports (serving.Host)

    def deliver(self, outputs: list[tuple[Process, port.Output]]) -> None:
        """Write down what a step brought, and then give it out."""
        used_up: dict[str, Process] = {}
        over: set[int] = set()
        for process, output in outputs:
            if process.pid in over or (output.tokens and process.exhausted):
                used_up[process.owner.name] = process
                over.add(process.pid)
                continue  # a step that was under way when the quota became less, or the owner's was used up
            start, text = process.offset, b"".join(_pieces(output))
            end = (output.end, tuple(output.calls)) if output.end else None
            self._unseen.append(Unseen(process, start, partial(self._deliver, process, output, start)))
            self.recorder.took(process, output.tokens, text, output.draws, end)
            if process.exhausted:
                used_up[process.owner.name] = process
        for name, process in used_up.items():  # once all that came before is given out
            self._unseen.append(Unseen(process, process.offset, partial(self._use_up, name)))
        self._show()

    def _deliver(self, process: Process, output: port.Output, start: int) -> None:
        """Give out what a step brought; the process may wait, or end, with it."""
        if process.state.ended:  # with its parent, say
            return
        if process.state is State.RUNNING and process.phase == "prefill" and output.tokens:
            process.enter("decode", self.clock())
            self._served(process).set_deadline(process)
        keeps_up = True
        for text in _pieces(output):
            keeps_up = self._give(process, start, text)
            start += len(text)
        if output.end and process.turn_end is not None:
            self._turn_over(process, *process.turn_end)
        elif process.tokens_left <= 0 and start == process.offset and process.turn_end is None:
            self._end(process, Event.FINISH, "quota")
        elif not keeps_up and process.state is State.RUNNING:
            process.move(Event.WAIT, self.clock(), Wait.OUTPUT)
            self._served(process).set_runnable(process, runnable=False)
        self.charged(process)

    def fail(self, process: Process, reason: str) -> None:
        """End a process that can't go on."""
        self._end(process, Event.FAIL, reason)

    async def drain(self, seconds: float) -> None:
        """Take no new work; let what runs go on for so long; stop engines.

        What lives then is in the journal, for the next kernel; without one it ends, what waits at once.
        """
        self.draining = True
        self.admission.close()
        kept = self._goes_on_later
        if not kept:
            for process in self.table:
                if not self._passing(process):
                    self._end(process, Event.TERMINATE, "shutdown")
        try:
            async with asyncio.timeout(seconds):
                while any(self._passing(process) for process in self.table):
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            for process in () if kept else self.table:
                if not process.state.ended:  # with its parent
                    self._end(process, Event.TERMINATE, "shutdown")
        await self.gate.halt()
        await self.models.stop()

    @staticmethod
    def _passing(process: Process) -> bool:
        """Whether it goes on by itself."""
        return process.state in (State.READY, State.RUNNING) or process.wait in _PASSING

    async def close(self) -> None:
        """End the engines and give up the memory; nothing can be asked any more."""
        self.draining = True
        self.alarms.close()
        self.admission.close()
        for process in self.table:
            process.changed()  # its age, at least
        await super().close()
        await self.gate.halt()
        await self.models.stop()
        await self.gate.close()
        await self.backing.close()
        if self._upkeep is not None:
            self._upkeep.cancel()
        self.recorder.close()

    # What a former kernel left

    async def recover(self, known: Callable[[Owner], Owner] = lambda owner: owner) -> int:
        """Bring back the processes that lived when the last kernel ended; how many go on.

        `known` says who an owner of that kernel's is now.
        """
        self.recorder.known = known
        found = self.recorder.recover()
        for process, _ in found:
            self.table.restore(process)
            self._watch(process)
            self.accounts.open(process)
            self.gate.open(process)
        live = {process.pid: process for process, _ in found}
        for process in live.values():
            if parent := live.get(process.parent):
                parent.lend(process)
        lost = await self.backing.restore()
        for process, fingerprint in found:
            if process.pid in lost and not process.state.ended:
                self._end(process, Event.FAIL, "memory_lost")
            if not process.state.ended:  # with one that came before
                await self._recover(process, fingerprint)
        _log.info("recovered", processes=len(self.table))
        self._maintain()
        return len(self.table)

    def _maintain(self) -> None:
        """A little of the journal's upkeep, for ever."""
        self.recorder.maintain()
        self._upkeep = asyncio.get_running_loop().call_later(_UPKEEP_SECONDS, self._maintain)

    async def _recover(self, process: Process, fingerprint: str) -> None:
        now = self.clock()
        if process.state is State.RUNNING:
            process.move(Event.REVOKE, now)
        try:
            served = await self.models.serving(process.model_id)
        except KernelError as error:
            _log.warning("process lost its model", pid=process.pid, error=str(error))
            self._end(process, Event.FAIL, "model_lost")
            return
        if served.fingerprint != fingerprint:
            self._end(process, Event.FAIL, "model_changed")
            return
        if not await served.readmit(process):
            return
        if summarizes(process.plan):
            self._end(process, Event.KILL, "killed")  # who waited for it asks anew
            return
        if self.config.journal.recover == "suspended" and process.state is State.READY:
            process.move(Event.SUSPEND, now)
        self._resume_waiting(process)

    def _resume_waiting(self, process: Process) -> None:
        """What the process waited for is asked for again, if it doesn't come by itself."""
        if process.terminating:
            left = max(1, process.finish_by - process.generated)
            self._served(process).engine.send(port.Finish(process.pid, left))
        if process.state is State.READY and process.waiting_before is not None:  # the input did not come
            process.move(Event.WAIT, self.clock(), process.waiting_before)
        for gone in (Wait.CHILD, Wait.OUTPUT, *(() if self._lacks_prefix(process) else (Wait.MEMORY,))):
            self._no_longer_waits(process, gone)
        if process.calls:
            self._changing.add(process.pid)
            self.waits(process, Wait.SYSCALL)
            self.gate.begin(process)
        elif process.turn_end is not None:
            self._turn_over(process, *process.turn_end)
        self._wake(process)
        self.charged(process)

    def _turn_over(self, process: Process, end: str, calls: tuple[Call, ...]) -> None:
        exhausted = process.exhausted
        if end == "call":
            unheard = exhausted or (process.budget <= 0 and not process.plan.interactive)
            end = "terminated" if process.terminating else "length" if unheard else end
        if end == "call":
            self._called(process, calls)
            return
        if end == "context_full" and not exhausted and self._go_on(process):
            return
        short = exhausted and process.turn_tokens < process.turn_limit
        quota = end == "length" and (short or process.wrap_up == "on")
        reason = "quota" if quota else end
        if not process.plan.interactive or exhausted or quota or end not in ("stop", "length"):
            self._end(process, _ENDINGS[end], reason)
            return
        if process.terminating:
            self._end(process, Event.TERMINATE, "terminated")
            return
        self._rest(process, end)


def _pieces(output: port.Output) -> list[bytes]:
    """What is given out of an output: its text, and behind a call the end of its line."""
    return [text for text in (output.text, b"\n" if output.end == "call" else b"") if text]
