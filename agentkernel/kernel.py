"""The kernel: the process table, the models, and one method for each thing a client can ask.

Rules
1. Methods take owners and typed values, return records, and raise KernelError; they don't know the wire.
2. A signal takes effect before its method returns: after `kill` nothing of the process is delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agentkernel import log
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.plan import Message
from agentkernel.process import Event, Owner, Priority, Process, Sink, State, Wait
from agentkernel.request import changed, fork
from agentkernel.snapshots import Snapshot
from agentkernel.starting import Starting

# What a process waits for that puts out nothing by itself.
_QUIET = (Wait.INPUT, Wait.MEMORY, Wait.SYSCALL, Wait.APPROVAL, Wait.ANSWER)

_log = log.get("kernel")


class Kernel(Starting):
    """Everything that outlives a connection. Made inside a running event loop."""

    # Processes

    async def fork(self, owner: Owner, pid: int, count: int, sink: Sink | None) -> list[Process]:
        """Children with the process's context, turn and settings; each draws from its own seed.

        They go on from the last token that was given out, on the sink; a process that waits for input has
        children that do.
        """
        parent = self._forkable(owner, pid)
        served = self._served(parent)
        children: list[Process] = []
        try:
            for _ in range(count):
                child = fork(parent, self.table.new_pid(), self.seed, self.clock())
                children.append(child)
            for child in children:
                await self.backing.fork(pid, child.pid)
                await self._admit(child, served, sink, wake=False)
        except KernelError:
            for child in children:
                self.backing.forget(child.pid)
                if child.pid in served.processes:  # nobody was told of it
                    child.sink = None
                    self._end(child, Event.KILL, "killed")
            raise
        finally:
            for child in children:
                self.table.abandon(child.pid)
        for child in children:
            if child.state is State.READY:
                asyncio.get_running_loop().call_soon(self._begin_forked, child)
        return children

    def _forkable(self, owner: Owner, pid: int) -> Process:
        parent = self._mine(owner, pid)
        if self.draining:
            raise KernelError("SHUTTING_DOWN")
        if parent.calls or (parent.turn_end is not None and parent.turn_end[1]):
            raise KernelError("WRONG_STATE", f"PID {pid} waits for the result of a call")
        self.accounts.check(parent.owner.name)
        return parent

    def _begin_forked(self, child: Process) -> None:
        """The child does what its parent was about to do."""
        if child.turn_end is not None and not child.state.ended:
            self._turn_over(child, *child.turn_end)
        self._wake(child)

    async def snapshot(self, owner: Owner, pid: int, name: str) -> Snapshot:
        """Keep the process's context under a name. Raises as `Snapshots.add`, and SNAPSHOT_INVALID."""
        process = self._mine(owner, pid)
        if process.plan.memory_prefix:
            raise KernelError("SNAPSHOT_INVALID", f"PID {pid} begins with embeddings, which have no tokens")
        served = self._served(process)
        snapshot = await self.snapshots.add(owner, name, process, served.fingerprint)
        if not process.state.ended:  # else the first who begins from it computes it again
            served.keep(process, self.snapshots.key(snapshot), snapshot.group)
        return snapshot

    async def drop_snapshot(self, owner: Owner, name: str) -> Snapshot:
        """Forget a snapshot of the owner's. Raises SNAPSHOT_NOT_FOUND or SNAPSHOT_FAILED."""
        snapshot, key = await self.snapshots.remove(owner, name)
        for served in self.models.served.values():
            served.drop(key)
        return snapshot

    async def write_memory(self, owner: Owner, pid: int, offset: int, data: bytes) -> int | None:
        """Write to the process's memory; pages touched, or None when the write waits for room.

        The process then waits as well. What is written first to a process with a memory prefix becomes it.
        Raises MEMW_INVALID, MEMW_FAILED, WRONG_STATE; JOURNAL_FULL when it would not survive the kernel.
        """
        process = self._mine(owner, pid)
        if not process.plan.memory_prefix or process.soft:
            return await self._write(owner, process, offset, data)
        if not self.memory.room(pid, offset, len(data)):
            raise KernelError("MEMW_FAILED", f"no room for a memory prefix of {len(data)} bytes")
        await self._take_prefix(process, offset, data)
        try:
            return await self._write(owner, process, offset, data)
        finally:
            if not process.state.ended:  # it begins once the write is done
                self._have(process, Wait.MEMORY)

    async def _write(self, owner: Owner, process: Process, offset: int, data: bytes) -> int | None:
        pid = process.pid
        refuse = self.config.memory.when_full == "refuse"
        if refuse or self.memory.room(pid, offset, len(data)):
            try:
                return await self.backing.write(pid, offset, data)
            except KernelError as error:
                if refuse or error.code != "MEMW_FAILED" or self.memory.room(pid, offset, len(data)):
                    raise
                self._mine(owner, pid)  # somebody else took the room; it may have ended meanwhile
        write = self.backing.queue(pid, offset, data)
        process.queued_writes += 1
        if process.state in (State.READY, State.RUNNING):
            process.move(Event.WAIT, self.clock(), Wait.MEMORY)
            self._served(process).set_runnable(process, runnable=False)
        write.add_done_callback(lambda write: self._written(process, write))
        return None

    async def read_memory(self, owner: Owner, pid: int, offset: int, length: int | None) -> bytes:
        """Bytes of the process's memory, to its end without a length. Raises MEMR_INVALID, MEMR_FAILED."""
        self._mine(owner, pid)
        most = self.config.server.body_bytes
        if (self.memory.size(pid) - offset if length is None else length) > most:
            raise KernelError("MEMR_INVALID", f"{most} bytes can be read at a time", {"limit": most})
        return await self.memory.read(pid, offset, length)

    async def send_input(self, owner: Owner, pid: int, text: str, sink: Sink) -> Process:
        """The next user turn. Raises WRONG_STATE unless the process waits for one."""
        process = self._mine(owner, pid)
        stopped = process.wait is Wait.EVENT and process.plan.interactive
        busy = process.terminating or pid in self._changing
        if (process.wait is not Wait.INPUT and not stopped) or busy:
            raise KernelError("WRONG_STATE", f"PID {pid} waits for no input")
        self.accounts.check(process.owner.name)
        self._adopt(process, sink)
        before = process.wait
        process.move(Event.WAKE, self.clock())
        process.waiting_before = before
        self._changing.add(pid)
        try:
            await self._append(process, Message("user", text))
        except KernelError:
            process.waiting_before = before
            process.changed()
            if process.state in (State.READY, State.WAITING):  # stopped meanwhile, perhaps
                process.move(Event.WAIT, self.clock(), before)
            raise
        finally:
            self._changing.discard(pid)
        if process.state.ended:
            raise KernelError("PID_NOT_FOUND", f"PID {pid} has ended")
        if process.state is not State.SUSPENDED:
            process.waiting_before = None
        process.begin_turn(self.clock())
        self._served(process).set_deadline(process)
        self._watch(process)
        if process.wait is Wait.INPUT:  # the stopped turn ended while the input was on its way
            process.move(Event.WAKE, self.clock())
        self._wake(process)
        return process

    def stop_output(self, owner: Owner, pid: int) -> Process:
        """Hold the process until CONTINUE_OUTPUT, or a new turn of an interactive one."""
        process = self._mine(owner, pid)
        if process.wait in _QUIET or process.state is State.SUSPENDED:
            raise KernelError("WRONG_STATE", f"PID {pid} puts out nothing")
        process.move(Event.WAIT, self.clock(), Wait.EVENT)
        self._served(process).set_runnable(process, runnable=False)
        return process

    def continue_output(self, owner: Owner, pid: int) -> Process:
        """Let a stopped process go on; an interactive one whose turn hit its limit gets another."""
        process = self._mine(owner, pid)
        served = self._served(process)
        at_limit = process.wait is Wait.INPUT and process.reason == "length"
        if at_limit and pid not in self._changing:
            process.extend_turn()
            served.engine.send(port.Resume(pid, process.turn_tokens + process.budget))
        elif process.wait is not Wait.EVENT:
            raise KernelError("WRONG_STATE", f"PID {pid} was not stopped")
        process.move(Event.WAKE, self.clock())
        self._wake(process)
        return process

    async def wait(self, owner: Owner, pid: int, seconds: float | None) -> Process:
        """The process, once it has ended. Raises TIMEOUT."""
        process = self.find(owner, pid)
        if self._seen_to_end(process):
            return process
        future: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(pid, [])
        waiters.append(future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError as error:
            raise KernelError("TIMEOUT", f"PID {pid} is still live") from error
        finally:
            if future in waiters:
                waiters.remove(future)

    def term(self, owner: Owner, pid: int) -> Process:
        """End the process at the end of its sentence; at once if it is not in one."""
        process = self._mine(owner, pid)
        self.counters["signals"] += 1
        going = process.state in (State.READY, State.RUNNING) and process.turn_tokens > 0
        if going and not process.turn_over and not process.terminating:
            grace = self.config.limits.term_grace_tokens
            process.finish_by = process.generated + grace
            process.changed()
            self._served(process).engine.send(port.Finish(pid, grace))
        else:
            self._end(process, Event.TERMINATE, "terminated")
        return process

    def kill(self, owner: Owner, pid: int) -> Process:
        """End the process now; what was not sent of its output is dropped."""
        process = self._mine(owner, pid)
        self.counters["signals"] += 1
        if process.sink is not None:
            process.sink.drop(pid)
        self._end(process, Event.KILL, "killed")
        return process

    def suspend(self, owner: Owner, pid: int) -> Process:
        """Take the process off the processor until RESUME."""
        process = self._mine(owner, pid)
        process.move(Event.SUSPEND, self.clock())
        self.counters["signals"] += 1
        self._served(process).set_runnable(process, runnable=False)
        return process

    def resume(self, owner: Owner, pid: int, sink: Sink | None) -> Process:
        """Put a suspended process back where it was; its output goes to the sink if it had none."""
        process = self._mine(owner, pid)
        if process.state is not State.SUSPENDED:
            raise KernelError("WRONG_STATE", f"PID {pid} is not suspended")
        self.counters["signals"] += 1
        self._adopt(process, sink)
        before = Wait.INPUT if process.turn_over else process.waiting_before
        if before not in (None, Wait.OUTPUT):
            process.move(Event.WAIT, self.clock(), before)
        else:
            process.move(Event.RESUME, self.clock())
            self._wake(process)
        return process

    def set_priority(self, owner: Owner, pid: int, priority: Priority, nice: int | None = None) -> Process:
        """Change the class the process is scheduled in, and its weight there. Raises FORBIDDEN."""
        process = self._mine(owner, pid)
        if nice is not None:
            self._check_nice(owner, nice)
            process.nice = nice
        process.priority = priority
        process.changed()
        self._served(process).set_priority(process)
        return process

    def set_quota(self, owner: Owner, pid: int, changes: Mapping[str, Any]) -> Process:
        """Change the process's limits (`quotas.KEYS`); who is over a new one ends with reason `quota`.

        None is no limit, but for `max_tokens` and `max_syscalls`, which there always are.
        """
        process, others = self._mine(owner, pid), dict(changes)
        process.quota_tokens = others.pop("max_tokens", process.quota_tokens)
        process.quota_syscalls = others.pop("max_syscalls", process.quota_syscalls)
        process.bounds = process.bounds.changed(others)
        process.changed()
        self._clocks.drop(pid)
        if process.tokens_left <= 0:
            self._end(process, Event.FINISH, "quota")
        else:
            self._served(process).engine.send(port.Limit(pid, process.turn_tokens + process.budget))
            self.charged(process)
        return process

    def live(self, owner: Owner, pid: int) -> Process:
        """The live process."""
        return self._mine(owner, pid)

    def visible(self, owner: Owner) -> list[Process]:
        """The live processes the owner may see, oldest first."""
        return [process for process in self.table if owner.may(process)]

    def set_generation(self, changes: dict[str, Any]) -> None:
        """Change the defaults of later processes. Raises SET_GEN_INVALID, and then changes nothing."""
        self.generation = changed(self.generation, changes)

    async def _take_prefix(self, process: Process, offset: int, data: bytes) -> None:
        if offset or process.pid in self._prefixing:
            raise KernelError("MEMW_INVALID", "a memory prefix is one write at offset 0")
        self._prefixing.add(process.pid)
        try:
            async with self.accounts.asking(process):
                await self._served(process).prefix(process, data)
        finally:
            self._prefixing.discard(process.pid)
        if process.state.ended:
            raise KernelError("PID_NOT_FOUND", f"PID {process.pid} has ended")

    def _written(self, process: Process, write: asyncio.Future[int]) -> None:
        """A write that waited for room is done with."""
        process.queued_writes -= 1
        if process.state.ended or write.cancelled():
            return
        error = write.exception()
        self.events.emit("memory_written", process, ok=error is None, error=str(error or ""))
        if not process.queued_writes:
            self._have(process, Wait.MEMORY)
