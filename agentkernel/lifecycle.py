"""What happens to processes by themselves: their output, the ends of their turns, their own end.

Rules
1. Every end goes through `_end`: state, engine, marker, waiters, event, in this order.
2. What a process waits for is named; nothing that waits is ever forgotten.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentkernel import log
from agentkernel.config import Config, Generation
from agentkernel.context import oldest
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.events import Events
from agentkernel.memory import Memory
from agentkernel.models import MIB, Models
from agentkernel.process import Event, Message, Owner, Process, ProcessTable, Sink, State, Wait
from agentkernel.request import summarizer
from agentkernel.serving import Served
from agentkernel.snapshots import Snapshots

_FREED_PART = 8  # of its context, that a summary has to free

_log = log.get("kernel")

# How the end of a turn ends a process: reason given by the engine → event.
_ENDINGS = {
    "stop": Event.FINISH,
    "length": Event.FINISH,
    "context_full": Event.FINISH,
    "terminated": Event.TERMINATE,
    "failed": Event.FAIL,
}
_PASSING = (Wait.OUTPUT, Wait.CHILD)  # what comes without anybody's asking


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
        state, memory = Path(config.state), config.memory
        self.snapshots = Snapshots(state / "snapshots", config.limits.snapshots)
        spill = state / "memory" if memory.process_disk_mb else None
        self.memory = Memory(memory.process_ram_mb * MIB, memory.process_disk_mb * MIB, spill)
        self._prefixing: set[int] = set()  # PIDs whose memory prefix is on its way to the engine
        self._summaries: dict[int, int] = {}  # PIDs of processes, and of the children that write theirs
        self._changing: set[int] = set()  # PIDs of those who can't run until their context is changed
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: dict[int, list[asyncio.Future[Process]]] = {}
        self._empty = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} processes={len(self.table)} models={len(self.models.served)}>"

    # Beginnings

    async def _admit(self, process: Process, served: Served, sink: Sink | None) -> None:
        process.sink, process.client = sink, sink.client if sink else 0
        await served.admit(process)
        if self.draining:  # it has begun meanwhile
            served.close(process)
            raise KernelError("SHUTTING_DOWN")
        self.table.add(process)
        self.counters["execs"] += 1
        self._log_start(process)
        plan, priority = process.plan, process.priority
        self.events.emit("session_started", process, workload=plan.workload, priority=priority)
        asyncio.get_running_loop().call_soon(served.schedule)  # after the reply

    def _log_start(self, process: Process) -> None:
        who = {"client": process.client, "pid": process.pid}
        _log.info("process started", **who, owner=process.owner.name, model=process.model_id)
        _log.debug("prompt", **who, prompt=process.plan.prompt, messages=process.plan.messages)

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
        return any(p.sink is sink and (p.state in going or p.wait in _PASSING) for p in self.table)

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
        await self.memory.close()

    def _give_out(self, process: Process, text: bytes) -> bool:
        start = process.offset
        process.offset += len(text)
        process.turn_bytes += len(text)
        if not text or process.sink is None:
            return True
        return process.sink.data(process.pid, start, text)

    def _turn_over(self, process: Process, end: str) -> None:
        exhausted = process.generated >= process.quota_tokens
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
        self.events.emit("turn_finished", process, reason=end, tokens_generated=process.turn_tokens)

    def _end(self, process: Process, event: Event, reason: str) -> None:
        now = self.clock()
        process.move(event, now, reason=reason)
        self._served(process).close(process)
        self.memory.forget(process.pid)
        if process.on_end is not None:
            process.on_end(process)
        if child := self._summaries.get(process.pid):
            self._end(self.table.live(child), Event.KILL, "killed")
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

    # Contexts that are full

    def _oldest(self, process: Process, needed: int = 0) -> tuple[int, int] | None:
        """The tokens of the turns that may give way, where the strategy lets any and it makes room enough."""
        if process.plan.context_strategy == "stop":
            return None
        length, context = len(process.tokens), self._served(process).context
        cut = oldest(process.turns, length, min(context // 2, context - 1 - needed))
        enough = cut is not None and length - (cut[1] - cut[0]) + needed < context
        return cut if enough else None

    def _go_on(self, process: Process) -> bool:
        """Have a turn that has filled its context go on without the oldest turns; False if it can't."""
        cut = self._oldest(process)
        if cut is None:
            return False
        process.cut_text()
        if process.plan.context_strategy == "slide" or process.pid in self._changing:
            self._give_way(process, cut, ())
            self._resume_turn(process)
            return True
        self._changing.add(process.pid)
        if process.state in (State.READY, State.RUNNING):
            process.move(Event.WAIT, self.clock(), Wait.CHILD)
            self._served(process).set_runnable(process, runnable=False)
        task = asyncio.get_running_loop().create_task(self._summarize_and_go_on(process, cut))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _summarize_and_go_on(self, process: Process, cut: tuple[int, int]) -> None:
        summary = await self._summary(process, cut[1])
        self._changing.discard(process.pid)
        if process.state.ended:
            return
        self._give_way(process, cut, summary)
        self._resume_turn(process)
        self._have(process, Wait.CHILD)

    def _resume_turn(self, process: Process) -> None:
        limit = process.turn_tokens + process.budget
        self._served(process).engine.send(port.Resume(process.pid, limit))

    async def _append(self, process: Process, message: Message) -> None:
        """Begin the next turn, without the oldest ones should the context be too full for it."""
        summarize = process.plan.context_strategy == "summarize"
        while True:
            try:
                return await self._served(process).append(process, message)
            except KernelError as error:
                full = error.code == "MEMORY_ADMISSION"
                cut = self._oldest(process, error.details.get("tokens", 0)) if full else None
                if cut is None:
                    raise
            summary = await self._summary(process, cut[1]) if summarize else ()
            summarize = False  # once; what is too full still loses its turns without
            if process.state.ended:
                raise KernelError("PID_NOT_FOUND", f"PID {process.pid} has ended")
            self._give_way(process, cut, summary)

    def _give_way(self, process: Process, cut: tuple[int, int], summary: Sequence[int]) -> None:
        freed = cut[1] - cut[0] - len(summary)
        if freed < self._served(process).context // _FREED_PART:  # soon there would have to be another
            summary = ()
        self._served(process).splice(process, *cut, summary)
        self.events.emit(
            "context_summarized" if summary else "context_slid",
            process,
            dropped_tokens=cut[1] - cut[0],
            summary_tokens=len(summary),
            context_tokens=len(process.tokens),
        )

    async def _summary(self, parent: Process, end: int) -> list[int]:
        """A turn that says what the context up to `end` says, written by a child; nothing if that fails."""
        served = self._served(parent)
        try:
            child = summarizer(parent, end, self.table.new_pid(), served.context, self.clock())
        except KernelError:
            return []
        ended: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

        def on_end(child: Process) -> None:
            self._summaries.pop(parent.pid, None)
            ended.set_result(list(child.tokens))

        child.on_end = on_end
        try:
            await self._admit(child, served, None)
        except KernelError as error:  # it doesn't fit, most likely
            _log.warning("no summary", pid=parent.pid, error=str(error))
            return []
        finally:
            self.table.abandon(child.pid)
        if parent.state.ended:
            self._end(child, Event.KILL, "killed")
            return []
        self._summaries[parent.pid] = child.pid
        asked = len(child.tokens)
        tokens = await ended
        if child.state is not State.DONE or len(tokens) == asked:
            return []
        return tokens[end + parent.closing :] + tokens[end : end + parent.closing]

    def _have(self, process: Process, awaited: Wait) -> None:
        """What the process may wait for is there: it needn't any more, nor when it is resumed."""
        if process.wait is awaited:
            process.move(Event.WAKE, self.clock())
        elif process.waiting_before is awaited:
            process.waiting_before = None
        self._wake(process)

    def _wake(self, process: Process) -> None:
        """Let a process that is READY run, once its context is as it should be and its memory written."""
        if process.state is not State.READY or process.pid in self._changing:
            return
        if process.queued_writes:
            process.move(Event.WAIT, self.clock(), Wait.MEMORY)
        self._served(process).set_runnable(process, runnable=not process.queued_writes)

    def _mine(self, owner: Owner, pid: int) -> Process:
        process = self.table.live(pid)
        owner.permit(process)
        return process

    def _served(self, process: Process) -> Served:
        return self.models.served[process.model_id]
