"""One model being served: its engine, its slots, and the processes that run on it.

Rules
1. The scheduler decides, this applies: every Grant and Revoke it names is sent, in its order.
2. When there is another engine every process goes on from its tokens in it; when the model is broken its
   processes fail.
3. Nothing here knows of connections; what a step brought goes to the `Host`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from agentkernel import due, log
from agentkernel.catalog import ModelCard
from agentkernel.context import spliced
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.pages import Pager
from agentkernel.paging import Paging
from agentkernel.plan import NO_DEADLINES, Message
from agentkernel.process import Event, Process, State
from agentkernel.quotas import NOTHING
from agentkernel.scheduler import Grant, Scheduler
from agentkernel.supervision import Host, Supervised

_TICK = 1e-3  # seconds

_log = log.get("serving")


@dataclass(frozen=True, slots=True)
class Policy:
    """Who runs, and what is kept of who doesn't."""

    scheduler: Scheduler
    make_pager: Callable[[], Pager]


class Served(Supervised):
    """A model, from its first load to its unloading."""

    def __init__(
        self,
        card: ModelCard,
        load: port.Load,
        make_engine: Callable[[], port.Engine],
        host: Host,
        policy: Policy,
    ) -> None:
        super().__init__(card, load, make_engine, host)
        self._make_pager = policy.make_pager
        self.processes: dict[int, Process] = {}
        self.scheduler = policy.scheduler
        self.evictions = self.prompt_tokens = 0
        self._admitting = 0
        self.on_room: Callable[[], None] = lambda: None  # called when fewer may wait for a slot
        self.paging = self._new_paging()
        self._timer: asyncio.TimerHandle | None = None  # of the next scheduling that is due by itself

    def __repr__(self) -> str:
        up = "up" if self._up.is_set() else "down" if self.in_memory else "out"
        state = "broken" if self.broken else "stopped" if self._stopped else up
        return f"<Served {self.card.id} {state} processes={len(self.processes)}>"

    @property
    def lives(self) -> int:
        """How many processes run on it."""
        return len(self.processes)

    @property
    def users(self) -> int:
        """Processes that run on it or are being admitted, and whatever else waits for it."""
        return len(self.processes) + self._admitting + self._waiting

    @property
    def _busy(self) -> bool:
        return self.scheduler.busy

    async def stop(self) -> None:
        """End the engine; the processes are the caller's to end first."""
        if self._timer is not None:
            self._timer.cancel()
        await super().stop()

    async def admit(self, process: Process) -> None:
        """Open the process in the engine and let it run. Raises what `Engine.open` raises."""
        with self.expecting():
            opened = await self._ask(self._open_request(process), lambda: True)
        if opened.tokens:  # it is none that goes on
            process.edit(0, 0, opened.tokens)
            process.turns, process.closing = opened.turns, opened.closing
            process.charge(heard=len(opened.tokens))
        process.prompt_tokens = len(process.tokens)
        self._add(process)

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """Somebody is about to use it: it stays."""
        self._admitting += 1
        try:
            yield
        finally:
            self._admitting -= 1

    async def readmit(self, process: Process) -> bool:
        """Open a process of a former kernel where it stands; False when it has ended, perhaps by failing."""
        if process.state.ended:
            return False
        self._add(process)
        if not self.in_memory:  # its engine is told of it once there is one
            return True
        await self._up.wait()
        if not await self._reopen(process):
            await self._up.wait()  # the next engine has got it
        return process.pid in self.processes

    def _add(self, process: Process) -> None:
        """Take it on; it runs once it is set runnable."""
        self.processes[process.pid] = process
        self.scheduler.add(process.pid, process.priority, process.owner.id, process.nice)
        self.scheduler.set_deadline(process.pid, due.goal(process))
        self.scheduler.set_lane(process.pid, process.lane)
        self.scheduler.set_runnable(process.pid, runnable=False)

    async def append(self, process: Process, message: Message) -> None:
        """Begin the process's next turn with this message. Raises what `Engine.open` raises."""
        if message.role == "tool":
            budget = process.budget
        else:
            budget = min(process.plan.max_tokens, process.tokens_left)
        opened = await self._ask(
            port.Append(process.pid, message, budget, process.room), lambda: process.pid in self.processes
        )
        process.turns += [len(process.tokens) + turn for turn in opened.turns]
        process.edit(len(process.tokens), len(process.tokens), opened.tokens)
        process.prompt_tokens += len(opened.tokens)
        process.charge(heard=len(opened.tokens))

    async def prefix(self, process: Process, rows: bytes) -> None:
        """Put soft-prompt rows before everything the process has. Raises what `Engine.open` raises."""
        opened = await self._ask(
            port.Prefix(process.pid, rows, process.room), lambda: process.pid in self.processes
        )
        process.turns = [turn + len(opened.tokens) for turn in process.turns]
        process.edit(0, 0, opened.tokens)
        process.soft = rows
        process.prompt_tokens += len(opened.tokens)
        process.charge(heard=len(opened.tokens))

    def splice(self, process: Process, start: int, end: int, tokens: Sequence[int] = ()) -> None:
        """Put other tokens in place of some of the process's context, as a turn of their own."""
        process.turns = spliced(process.turns, start, end, len(tokens))
        process.edit(start, end, tokens)
        self.send(port.Splice(process.pid, start, end, list(tokens)), *self.paging.splice(process, start))

    def keep(self, process: Process, key: int, group: str) -> None:
        """Keep a copy of the process's context, as far as it is computed, for the group."""
        self.send(*self.paging.keep(process, key, group, self._clock()))

    def measure(self, pid: int) -> None:
        """Count what the process's context has held up to now."""
        if (process := self.processes.get(pid)) is not None:
            process.hold(self.paging.held(pid), self._clock())

    def _release(self, process: Process) -> None:
        """It will hold nothing any more."""
        process.hold(self.paging.held(process.pid), self._clock())
        process.hold(NOTHING, self._clock())

    def drop(self, key: int) -> None:
        """Forget a context that was kept."""
        self.send(*self.paging.drop(key))

    def set_runnable(self, process: Process, *, runnable: bool) -> None:
        """Let the process run when its time comes, or hold it at the next step's edge."""
        if process.pid not in self.processes:
            return
        self.scheduler.set_runnable(process.pid, runnable=runnable)
        if not runnable:
            self.send(port.Hold(process.pid), *self.paging.hold(process))
        self.schedule()

    def set_priority(self, process: Process) -> None:
        """The process's priority, or its nice value, is another."""
        if process.pid in self.processes:
            self.scheduler.set_priority(process.pid, process.priority, process.nice)
            self.send(port.Weigh(process.pid, self.scheduler.weight(process.priority, process.nice)))
            self.schedule()

    def set_deadline(self, process: Process) -> None:
        """Another deadline of the process is the next."""
        if process.pid in self.processes and process.deadlines != NO_DEADLINES:
            self.scheduler.set_deadline(process.pid, due.goal(process))

    def close(self, process: Process) -> None:
        """The process has ended: free what it holds."""
        if self.processes.pop(process.pid, None) is not None:
            self._release(process)
            self.scheduler.remove(process.pid)
            self.send(*self.paging.close(process, self._clock()), *self.paging.due())
            self.schedule()
            if not self.processes:
                self._rests = self._clock()
                self._check()

    def schedule(self) -> None:
        """Apply what the scheduler decides."""
        if not (self.broken or self._stopped) and self._up.is_set():
            self._assign()
        self._note()
        self.on_room()

    def _assign(self) -> None:
        now = self._clock()
        for change in self.scheduler.assign(now, self.paging.settle()):
            process = self.processes[change.pid]
            if isinstance(change, Grant):
                if process.state is State.READY:
                    process.move(Event.GRANT, now)
                grant = self.paging.grant(process, change.slot, now)
                if grant is not None:
                    self.engine.send(grant)
            else:
                self.evictions += 1
                if process.state is State.RUNNING:
                    process.move(Event.REVOKE, now)
                self.send(*self.paging.revoke(process, now), *self.paging.due())
        if self._timer is not None:
            self._timer.cancel()
        self._timer, due = None, self.scheduler.due
        if due is not None:
            when = max(due, now + _TICK)  # a timer may be early by the clock's resolution
            self._timer = self._loop.call_at(when, self.schedule)

    def _check(self) -> None:
        """Nothing runs: every slot and image must be accounted for."""
        try:
            self.scheduler.check_integrity()
            self.paging.pager.check_integrity()
        except ValueError as error:
            _log.error("the books are wrong", model=self.card.id, error=str(error))

    def _new_paging(self) -> Paging:
        """No image outlives its engine."""
        return Paging(self._make_pager(), self.card.kv_bytes_per_token, self._runs, self.measure)

    def _runs(self, pid: int) -> bool:
        process = self.processes.get(pid)
        return process is not None and process.state is State.RUNNING

    def _on_step(self, step: port.Step) -> None:
        self.threads = step.threads
        self.prompt_tokens += step.prompt
        answers = [output.pid for output in step.outputs if output.tokens]
        used, due = self.paging.observe(step)
        self.scheduler.commit(used, answers)
        self.send(*due)
        taken = [(self.processes[o.pid], o) for o in step.outputs if o.pid in self.processes]
        self._host.deliver(taken)
        self.schedule()

    def _on_paged(self, event: port.Paged) -> None:
        if (process := self.processes.get(event.pid)) is not None:
            now, phase = self._clock(), process.phase
            process.enter("swap", max(process.since, now - event.ms / 1e3))
            process.enter(phase, now)
        self.send(*self.paging.paged(event))

    def _set_back(self) -> None:
        now = self._clock()
        self.scheduler.reset()
        self.paging.give_up()
        for process in self.processes.values():
            self._release(process)
        rates = self.paging.pager.rates
        self.paging = self._new_paging()
        self.paging.pager.rates = rates
        for process in self.processes.values():
            if process.state is State.RUNNING:
                process.move(Event.REVOKE, now)

    def _give_up(self, reason: str) -> None:
        for process in list(self.processes.values()):
            if process.pid in self.processes:  # else it has ended with its parent
                self._host.fail(process, reason)
        self.on_room()

    async def _reopen_all(self) -> bool:
        live = list(self.processes.values())
        if not all(await asyncio.gather(*(self._reopen(process) for process in live))):
            return False
        for process in self.processes.values():
            if process.terminating:
                self.engine.send(port.Finish(process.pid, max(1, process.finish_by - process.generated)))
        return True

    async def _reopen(self, process: Process) -> bool:
        """Open a live process in the new engine, or fail it alone; False when that engine died too."""
        if process.pid not in self.processes:  # it has ended meanwhile
            return True
        try:
            await self.engine.open(self._open_request(process))
        except KernelError as error:
            if error.code == "ENGINE_FAILED":
                return False
            _log.warning("process not reopened", pid=process.pid, error=str(error))
            if process.pid in self.processes:
                self._host.fail(process, "engine_failed")
        return True

    def _open_request(self, process: Process) -> port.Open:
        """Open the process from its plan, or from where it stands when it has tokens."""
        plan = process.plan
        return port.Open(
            pid=process.pid,
            sampling=plan.sampling,
            budget=process.budget,
            prompt=plan.prompt,
            messages=plan.messages,
            raw=plan.raw,
            stop=plan.stop,
            grammar=plan.grammar,
            json_schema=plan.json_schema,
            conversation=plan.context_strategy != "stop",
            base=list(plan.base),
            tokens=list(process.tokens) or None,
            soft=process.soft,
            turn=port.Turn(process.turn_tokens, process.turn_bytes, process.draws, process.turn_cut),
            turn_over=process.turn_over or bool(process.calls) or process.turn_end is not None,
            weight=self.scheduler.weight(process.priority, process.nice),
            room=process.room,
            exact=plan.deterministic,
            calls=plan.permits is not None,
            functions=plan.functions,
            schemas=plan.schemas,
            prompt_lookup=plan.prompt_lookup,
            hasty=plan.interactive or process.deadlines != NO_DEADLINES,
        )
