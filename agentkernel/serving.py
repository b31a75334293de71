"""One model being served: its engine, its slots, and the processes that run on it.

Rules
1. The scheduler decides, this applies: every Grant and Revoke it names is sent, in its order.
2. When the engine dies every process goes on from its tokens in a new engine; after three deaths
   within a minute the model is broken and its processes fail.
   A death while a request was being taken counts for that request, not for the model.
3. Nothing here knows of connections; what a step brought goes to the `Host`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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

DEATHS, WITHIN = 3, 60.0  # so many deaths within so many seconds break a model

_TICK = 1e-3  # seconds

_log = log.get("serving")


class Host(Protocol):
    """What a served model reports to."""

    def deliver(self, outputs: list[tuple[Process, port.Output]]) -> None:
        """A step brought this for these processes."""

    def fail(self, process: Process, reason: str) -> None:
        """The process can't go on."""

    def emit(self, kind: str, **fields: Any) -> None:
        """Something happened that subscribers may want to know."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Who runs, and what is kept of who doesn't."""

    scheduler: Scheduler
    make_pager: Callable[[], Pager]


class Served:
    """A model, from its first load to its unloading."""

    def __init__(
        self,
        card: ModelCard,
        load: port.Load,
        make_engine: Callable[[], port.Engine],
        host: Host,
        policy: Policy,
    ) -> None:
        self.card, self.load, self.fingerprint = card, load, ""
        self._make_pager = policy.make_pager
        self.processes: dict[int, Process] = {}
        self.scheduler = policy.scheduler
        self.context = load.context
        self.jail: list[str] = []
        self.threads = load.threads
        self.broken = self._stopped = False
        self.restarts = self.evictions = self.prompt_tokens = 0
        self._admitting = self._asking = 0
        self.on_room: Callable[[], None] = lambda: None  # called when fewer may wait for a slot
        self._make_engine, self._host = make_engine, host
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self.engine, self.paging = make_engine(), self._new_paging()
        self._up = asyncio.Event()
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._restart: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # of the next scheduling that is due by itself

    def __repr__(self) -> str:
        state = "broken" if self.broken else "down" if self._stopped or not self._up.is_set() else "up"
        return f"<Served {self.card.id} {state} processes={len(self.processes)}>"

    @property
    def users(self) -> int:
        """Processes that run on it or are being admitted."""
        return len(self.processes) + self._admitting

    async def start(self, on_progress: Callable[[float], None]) -> None:
        """Load the model. Raises LOAD_FAILED or MEMORY_ADMISSION."""
        await self._bring_up(on_progress)
        self._up.set()

    async def _bring_up(self, on_progress: Callable[[float], None]) -> None:
        ready = await (engine := self.engine).start(self.load, on_progress)
        engine.on_step, engine.on_death = self._on_step, self._on_death
        engine.on_paged = lambda event: self.send(*self.paging.paged(event))
        self.context, self.jail = ready.context, ready.jail

    async def stop(self) -> None:
        """End the engine; the processes are the caller's to end first."""
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait([self._restart])
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._up.set()  # whoever waits learns that it is stopped
        await self.engine.stop()

    async def admit(self, process: Process) -> None:
        """Open the process in the engine and let it run. Raises what `Engine.open` raises."""
        with self.expecting():
            opened = await self._ask(self._open_request(process))
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
        opened = await self._ask(port.Append(process.pid, message, budget, process.room))
        process.turns += [len(process.tokens) + turn for turn in opened.turns]
        process.edit(len(process.tokens), len(process.tokens), opened.tokens)
        process.prompt_tokens += len(opened.tokens)
        process.charge(heard=len(opened.tokens))

    async def prefix(self, process: Process, rows: bytes) -> None:
        """Put soft-prompt rows before everything the process has. Raises what `Engine.open` raises."""
        opened = await self._ask(port.Prefix(process.pid, rows, process.room))
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
                self._check()

    def schedule(self) -> None:
        """Apply what the scheduler decides."""
        if not (self.broken or self._stopped) and self._up.is_set():
            self._assign()
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

    def send(self, *commands: port.Signal) -> None:
        """Tell the engine."""
        for command in commands:
            self.engine.send(command)

    def _new_paging(self) -> Paging:
        """No image outlives its engine."""
        return Paging(self._make_pager(), self.card.kv_bytes_per_token, self._runs, self.measure)

    def _runs(self, pid: int) -> bool:
        process = self.processes.get(pid)
        return process is not None and process.state is State.RUNNING

    async def _ask(self, request: port.Request) -> port.Opened:
        """Ask the engine; should it die meanwhile, once more and then no more: the request may kill it."""
        for last in (False, True):
            await self._up.wait()
            if self._stopped:
                raise KernelError("SHUTTING_DOWN")
            if not isinstance(request, port.Open) and request.pid not in self.processes:
                raise KernelError("PID_NOT_FOUND", f"PID {request.pid} has ended")
            if self.broken:
                break
            self._asking += 1
            try:
                return await self.engine.open(request)
            except KernelError as error:
                if error.code != "ENGINE_FAILED" or last:
                    raise
            finally:
                self._asking -= 1
        raise KernelError("ENGINE_FAILED", f"{self.card.id}: the engine died {DEATHS} times")

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

    def _on_death(self, reason: str) -> None:
        now = self._clock()
        self._up.clear()
        if not self._asking:  # else a request that was under way is the likelier cause
            self._deaths.append(now)
        self.scheduler.reset()
        self.paging.give_up()
        for process in self.processes.values():
            self._release(process)
        self.paging = self._new_paging()
        for process in self.processes.values():
            if process.state is State.RUNNING:
                process.move(Event.REVOKE, now)
        self.broken = len(self._deaths) == DEATHS and now - self._deaths[0] < WITHIN
        _log.warning("engine died", model=self.card.id, reason=reason, broken=self.broken)
        self._host.emit("engine_died", model=self.card.id, reason=reason, broken=self.broken)
        if self.broken:
            self._up.set()  # whoever waits learns that it is broken
            for process in list(self.processes.values()):
                if process.pid in self.processes:  # else it has ended with its parent
                    self._host.fail(process, "engine_failed")
            self.on_room()
        else:
            self._restart = self._loop.create_task(self._start_again())

    async def _start_again(self) -> None:
        self.engine = self._make_engine()
        try:
            await self._bring_up(lambda _fraction: None)
        except (KernelError, OSError) as error:  # no memory, no descriptors
            self._on_death(str(error))
            return
        live = list(self.processes.values())
        opened = all(await asyncio.gather(*(self._reopen(process) for process in live)))
        if not opened or self.broken or self._restart is not asyncio.current_task():
            return  # it died again, and `_on_death` knows
        self.restarts += 1
        for process in self.processes.values():
            if process.terminating:
                self.engine.send(port.Finish(process.pid, max(1, process.finish_by - process.generated)))
        self._up.set()
        _log.info("engine restarted", model=self.card.id, processes=len(live))
        self._host.emit("engine_restarted", model=self.card.id, processes=len(live))
        self.schedule()

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
        )
