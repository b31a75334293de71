"""Processes as they are admitted, woken and ended, whoever or whatever has that done.

Rules
1. Every end goes through `_end`: state, engine, calls, marker, waiters, event, in this order.
2. What a process waits for is named; nothing that waits is ever forgotten.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from agentkernel import due, log
from agentkernel.accounts import Accounts
from agentkernel.admission import Admission, check_deadlines
from agentkernel.alarms import Alarms
from agentkernel.backing import Backing
from agentkernel.checkpoints import Checkpoints
from agentkernel.config import Config, Generation
from agentkernel.driving import Drivers
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.events import Events
from agentkernel.memory import Memory
from agentkernel.models import MIB, Models
from agentkernel.phases import rounded
from agentkernel.process import Event, Owner, Process, Sink, State, Wait
from agentkernel.quotas import NO_QUOTA
from agentkernel.readers import Readers
from agentkernel.recording import Recorder, open_journal
from agentkernel.serving import Served
from agentkernel.snapshots import Snapshots
from agentkernel.syscalls.gate import Gate
from agentkernel.syscalls.workspace import greatest
from agentkernel.table import ProcessTable

_NOTED = 5.0  # seconds between notes of the age of a process that has deadlines

_log = log.get("kernel")


class Unseen(NamedTuple):
    """What is to be given out of a process, from a byte of its output on, once it is written down."""

    process: Process
    start: int
    show: Callable[[], object]


class Processes:
    """The process table and the models; what every change to a process goes through."""

    models: Models  # these two report to what is made of this class, and are made by it
    gate: Gate

    def __init__(self, config: Config) -> None:
        self.config = config
        self.generation: Generation = config.generation
        self.seed = secrets.randbits(32)  # from which each process draws its own, without SET_GEN
        self.clock = asyncio.get_running_loop().time
        self.recorder = Recorder(open_journal(config), self.clock)
        self.accounts = Accounts(self.recorder, self.clock)
        self.drivers = Drivers()
        self.alarms = Alarms()  # of deadlines
        self.readers = Readers(self.recorder.output)
        # What an earlier process left stays its own.
        first = max(self.recorder.journal.next_pid, greatest(Path(config.workspace)) + 1)
        self.table = ProcessTable(config.limits.processes, config.limits.ended_processes, first)
        self.started = self.clock()
        self.counters = {"commands": 0, "errors": 0, "execs": 0, "signals": 0}
        self.draining = False
        self.events = Events()
        self.admission = Admission(config.limits, self.events)
        state, memory = Path(config.state), config.memory
        self.snapshots = Snapshots(state / "snapshots", config.limits.snapshots)
        self.checkpoints = Checkpoints(state / "checkpoints", config.limits.checkpoints)
        self._saving = asyncio.Lock()  # one checkpoint at a time
        self._frozen: set[int] = set()  # PIDs of processes whose calls wait until their files are saved
        self._thaw = asyncio.Event()
        spill = state / "memory" if memory.process_disk_mb else None
        self.memory = Memory(memory.process_ram_mb * MIB, memory.process_disk_mb * MIB, spill)
        self.backing = Backing(self.memory, self.recorder)
        self._prefixing: set[int] = set()  # PIDs whose memory prefix is on its way to the engine
        self._summaries: dict[int, int] = {}  # PIDs of processes, and of the children that write theirs
        self._changing: set[int] = set()  # PIDs of those who can't run until their context is changed
        self._keys: set[tuple[str, str]] = set()  # owners and keys of those that are being admitted
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: dict[int, list[asyncio.Future[Process]]] = {}
        self._settled = asyncio.Event()  # somebody has ended, or waits
        self._unseen: list[Unseen] = []  # oldest first
        self._waiting_for_disk = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} processes={len(self.table)} models={len(self.models.served)}>"

    async def _admit(self, process: Process, served: Served, sink: Sink | None, *, wake: bool = True) -> None:
        """Have it run once it is written down; unless another wakes it, when the caller has told of it."""
        process.client = sink.client if sink else 0
        process.plan = self.gate.admit(process.plan, inherited=process.parent > 0)
        await self._take_on(process, served)
        try:
            check_deadlines(process, served, self.clock())
        except KernelError:
            served.close(process)
            self.accounts.withdraw(process)
            raise
        if process.turn_over:
            process.move(Event.WAIT, self.clock(), Wait.INPUT)
        elif self._lacks_prefix(process):
            process.move(Event.WAIT, self.clock(), Wait.MEMORY)
        self._enroll(process, served)
        try:
            await self._check_begun(process)
        except KernelError:
            self.recorder.withdraw(process)
            self.accounts.withdraw(process)
            if not process.state.ended:
                self._end(process, Event.KILL, "killed")
            raise
        process.sink = sink
        self._watch(process)
        if sink is not None:
            self.drivers.begin(process.pid, sink)
        if wake:
            asyncio.get_running_loop().call_soon(self._wake, process)  # after the reply

    async def _take_on(self, process: Process, served: Served) -> None:
        """Have its model know it; what it is given and uses from now on is its owner's use."""
        self.accounts.open(process)
        try:
            async with self.accounts.asking(process):
                await served.admit(process)
        except BaseException:
            self.accounts.withdraw(process)
            raise

    async def _check_begun(self, process: Process) -> None:
        """Wait until it may be told of. Raises JOURNAL_FULL, SHUTTING_DOWN, or PID_NOT_FOUND."""
        await self.recorder.synced()
        self._check_open()  # draining may have begun meanwhile
        if process.state.ended:
            raise KernelError("PID_NOT_FOUND", f"PID {process.pid} has ended")

    def _enroll(self, process: Process, served: Served) -> None:
        self.recorder.born(process, served.fingerprint)
        self._enlist(process)

    def _enlist(self, process: Process) -> None:
        """A process that is written down is there."""
        self.table.add(process)
        self.gate.open(process)
        self.counters["execs"] += 1
        self._log_start(process)
        plan, priority = process.plan, process.priority
        self.events.emit("session_started", process, workload=plan.workload, priority=priority)

    @staticmethod
    def _lacks_prefix(process: Process) -> bool:
        return process.plan.memory_prefix and not process.soft

    def _check_open(self) -> None:
        if self.draining:
            raise KernelError("SHUTTING_DOWN")

    def _log_start(self, process: Process) -> None:
        who = {"client": process.client, "pid": process.pid}
        _log.info("process started", **who, owner=process.owner.name, model=process.model_id)
        _log.debug("prompt", **who, prompt=process.plan.prompt, messages=process.plan.messages)

    # Ends and waits

    def _end(self, process: Process, event: Event, reason: str) -> None:
        now = self.clock()
        process.move(event, now, reason=reason)
        if served := self.models.served.get(process.model_id):  # else it came back to a kernel without
            served.close(process)
        self.backing.forget(process.pid)
        self.gate.forget(process)
        self.drivers.end(process.pid)
        self.alarms.drop(process.pid)
        self._settle(process)
        self.recorder.ended(process)
        self.accounts.close(process)
        self._changing.discard(process.pid)
        if process.on_end is not None:
            process.on_end(process)
        if child := self._summaries.get(process.pid):
            self._end(self.table.live(child), Event.KILL, "killed")
        if event is not Event.KILL and self._shown(process) < process.offset:
            self._read_on(process)
        sink = process.sink
        self.table.retire(process)
        self._unseen.append(Unseen(process, process.offset, partial(self._show_end, process, sink)))
        self._show()
        who = {"client": process.client, "pid": process.pid}
        _log.info("process ended", **who, reason=reason, tokens=process.generated)
        self.models.retire_idle()
        self._settled.set()

    def _ring(self, pid: int) -> None:
        """A deadline of the process is over, perhaps."""
        process, now = self.table.live(pid), self.clock()
        if now >= due.end(process):
            self._end(process, Event.TERMINATE, "deadline")
            return
        missed = due.misses(process, now)
        process.missed += tuple(missed)
        process.changed()  # its age, at least
        if missed:
            self.recorder.commit()
            self._served(process).set_deadline(process)
        for name in missed:
            self.events.emit("deadline_missed", process, deadline=name)
        self._watch(process)

    def _watch(self, process: Process) -> None:
        """Ring when something of the process is due, and from time to time to write down how old it is."""
        alarm = due.alarm(process)
        alarm = min(alarm, self.clock() + _NOTED) if alarm < inf else alarm
        self.alarms.set(process.pid, alarm, partial(self._ring, process.pid))

    def _settle(self, child: Process) -> None:
        """What the child didn't use of its parent's quota is the parent's again, if that lives."""
        try:
            parent = self.table.live(child.parent)
        except KernelError:
            return
        if child.granted == NO_QUOTA:
            return
        parent.settle(child)
        served = self.models.served.get(parent.model_id)
        if served and parent.pid in served.processes:
            served.engine.send(port.Limit(parent.pid, parent.turn_tokens + parent.budget))

    def _show_end(self, process: Process, sink: Sink | None) -> None:
        pid, size, marker = process.pid, process.offset, process.marker(process.ended)
        if sink is not None:
            sink.end(pid, size, marker)
        self.readers.end(pid, size, marker)
        for future in self._waiters.pop(pid, []):
            if not future.done():
                future.set_result(process)
        self.events.emit(
            "session_finished",
            process,
            state=process.state.value,
            reason=process.reason,
            tokens_generated=process.generated,
            elapsed_secs=round(process.elapsed(process.ended), 3),
            times=rounded(process.times(process.ended)),
        )

    def _give(self, process: Process, start: int, text: bytes) -> bool:
        """Give out text that starts at the byte; false when who the process streams to is behind."""
        keeps_up = process.sink is None or process.sink.data(process.pid, start, text)
        self.readers.data(process.pid, start, text)
        return keeps_up

    def _read_on(self, process: Process) -> None:
        """Whom the process streamed to is a reader like any other from now on."""
        sink, process.sink = process.sink, None
        if sink is not None:
            shown = self._shown(process)
            self.readers.attach(process, sink, shown)
            self.readers.caught_up(process.pid, shown, sink)

    def _show(self) -> None:
        """Write down what happened and give it out, now or once that can be."""
        written = self.recorder.commit()
        if self._waiting_for_disk:
            return
        if written:
            self._give_out(len(self._unseen))
        else:
            self._waiting_for_disk = True
            self._start(self._show_when_written())

    async def _show_when_written(self) -> None:
        while ready := len(self._unseen):
            await self.recorder.written()
            self._give_out(ready)
        self._waiting_for_disk = False

    def _give_out(self, count: int) -> None:
        ready, self._unseen = self._unseen[:count], self._unseen[count:]
        for unseen in ready:
            unseen.show()

    def _shown(self, process: Process) -> int:
        """How many bytes of what the process put out were given out."""
        return self._shown_of(process.pid, process.offset)

    def _shown_of(self, pid: int, size: int) -> int:
        return next((unseen.start for unseen in self._unseen if unseen.process.pid == pid), size)

    def _seen_to_end(self, process: Process) -> bool:
        """Whether the process has ended, and that was given out."""
        return process.state.ended and all(unseen.process is not process for unseen in self._unseen)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _have(self, process: Process, awaited: Wait) -> None:
        """What the process may wait for is there: it needn't any more, nor when it is resumed."""
        self._no_longer_waits(process, awaited)
        self._wake(process)

    def _no_longer_waits(self, process: Process, awaited: Wait) -> None:
        if process.wait is awaited:
            process.move(Event.WAKE, self.clock())
        elif process.waiting_before is awaited:
            process.waiting_before = None
            process.changed()

    def _wake(self, process: Process) -> None:
        """Let a process that is READY run, once its context is as it should be and its memory written."""
        if process.state is State.READY and process.calls:
            process.move(Event.WAIT, self.clock(), self.gate.awaited(process))
        if process.state is not State.READY or process.pid in self._changing:
            return
        if process.queued_writes:
            process.move(Event.WAIT, self.clock(), Wait.MEMORY)
        self._served(process).set_runnable(process, runnable=not process.queued_writes)

    def find(self, owner: Owner, pid: int) -> Process:
        """The process, live or ended, also in a former kernel, while the journal keeps it."""
        try:
            process = self.table.find(pid)
        except KernelError:
            past = self.recorder.past(pid)
            if past is None:
                raise
            process, _ = past
        owner.permit(process)
        return process

    def _mine(self, owner: Owner, pid: int) -> Process:
        process = self.table.live(pid)
        owner.permit(process)
        return process

    def _served(self, process: Process) -> Served:
        return self.models.served[process.model_id]
