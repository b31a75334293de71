"""Memory under any order of writes, reads, forks and ends, beside a model of plain bytes.

I/O is done one piece at a time, when a rule says so, and may fail; so everything also happens in the
middle of everything else. The model follows what has finished: of one process, things finish in the order
in which they take effect.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentkernel.errors import KernelError
from agentkernel.memory import PAGE, Memory
from tests.paged_memory import HeldThread

PIDS = st.integers(1, 4)
OFFSETS = st.one_of(st.integers(0, 4).map(PAGE.__mul__), st.integers(0, 4 * PAGE))
SIZES = st.one_of(st.integers(1, 3).map(PAGE.__mul__), st.integers(0, 3 * PAGE))
QUEUED = 3


@dataclass
class Space:
    """What a process should have: its bytes, and by index which page, the same one after a fork."""

    data: bytearray = field(default_factory=bytearray)
    pages: dict[int, int] = field(default_factory=dict)


@dataclass
class Flight:
    """Something begun and not known to have finished."""

    task: asyncio.Future
    pid: int
    space: Space
    offset: int
    data: bytes | None = None  # None is a read
    size: int | None = None
    queued: bool = False
    cancelled: bool = False


class MemoryMachine(RuleBasedStateMachine):
    @initialize(ram=st.integers(0, 3), disk=st.integers(0, 4), seed=st.integers(0, 9))
    def begin(self, ram, disk, seed):
        self.loop, self.folder = asyncio.new_event_loop(), tempfile.TemporaryDirectory()
        file = Path(self.folder.name) / "memory.spill"
        self.memory = Memory(ram * PAGE, disk * PAGE, file, queued=QUEUED)
        self.memory._file._thread.shutdown()
        self.thread = self.memory._file._thread = HeldThread()
        self.total = ram + disk
        self.spaces, self.flights, self.landed = {}, [], []
        self.random, self.numbers = Random(seed), itertools.count()

    def teardown(self):
        if not hasattr(self, "memory"):
            return
        for pid in list(self.spaces):
            self.forget(pid)
        self.finish()
        self.memory.check_integrity()
        assert self.memory._file.used == 0
        self.loop.run_until_complete(self.closed())
        self.loop.close()
        self.folder.cleanup()

    async def closed(self):
        closing = asyncio.ensure_future(self.memory.close())
        while not closing.done():
            await asyncio.sleep(0)
            if self.thread.jobs:
                self.thread.step()
        await closing

    # what the model knows

    def space(self, pid):
        return self.spaces.setdefault(pid, Space())

    def alive(self, flight):
        return self.spaces.get(flight.pid) is flight.space

    def held(self):
        """Every page anybody has."""
        return {page for space in self.spaces.values() for page in space.pages.values()}

    def fits(self, pid, offset, size):
        """Whether there are pages enough for the write, those it can use again included."""
        if offset + size > self.total * PAGE:
            return False
        others = {page for key, space in self.spaces.items() if key != pid for page in space.pages.values()}
        own = self.spaces.get(pid, Space()).pages
        touched = range(offset // PAGE, -(-(offset + size) // PAGE)) if size else ()
        need = sum(index not in own or own[index] in others for index in touched)
        return need <= self.total - len(self.held())

    def finished(self, flight):
        """Check what came of it against the model, or the model follows it."""
        if flight.task.cancelled():
            assert flight.cancelled or not self.alive(flight)
            return
        error = flight.task.exception()
        if error is not None:
            assert isinstance(error, KernelError)
            if error.code == "PID_NOT_FOUND":
                assert not self.alive(flight)
            elif flight.data is None:
                end = flight.offset if flight.size is None else flight.offset + flight.size
                assert (error.code, end > len(flight.space.data)) == ("MEMR_INVALID", True)
            else:
                assert error.code == "MEMW_FAILED"
            return
        result, data = flight.task.result(), flight.space.data
        if flight.data is None:
            end = len(data) if flight.size is None else flight.offset + flight.size
            assert result == data[flight.offset : end]
        elif flight.data:
            assert self.alive(flight)
            end = flight.offset + len(flight.data)
            data.extend(bytes(max(0, end - len(data))))
            data[flight.offset : end] = flight.data
            touched = range(flight.offset // PAGE, -(-end // PAGE))
            assert result == len(touched)
            flight.space.pages.update((index, next(self.numbers)) for index in touched)

    # time

    def begun(self, flight):
        self.flights.append(flight)
        flight.task.add_done_callback(lambda _: self.landed.append(flight))

    def turn(self, count=1):
        """One turn of the loop, and the model follows in the order in which things finished."""
        for _ in range(count):
            self.spin()
            while sum(flight.task.done() for flight in self.flights) > len(self.landed):
                self.spin()  # who finished is told in the turn behind
            landed, self.landed = self.landed, []
            for flight in landed:
                self.flights = [other for other in self.flights if other is not flight]
                self.finished(flight)

    def spin(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def finish(self):
        """All I/O is done, and all that does not wait for room has finished."""
        while self.loop._ready or self.thread.jobs:
            if not self.loop._ready:
                self.thread.step()
            self.turn()
        assert all(flight.queued for flight in self.flights)

    # what may happen

    @rule(pid=PIDS, offset=OFFSETS, size=SIZES)
    def write(self, pid, offset, size):
        quiet = not self.flights and not self.loop._ready
        fits = self.fits(pid, offset, size)
        data = self.random.randbytes(size)
        if quiet:
            assert self.memory.room(pid, offset, size) == fits
        task = self.loop.create_task(self.memory.write(pid, offset, data))
        flight = Flight(task, pid, self.space(pid), offset, data)
        self.begun(flight)
        self.turn()
        if quiet and not fits:
            self.finish()
            assert task.exception().code == "MEMW_FAILED"

    @rule(pid=PIDS, offset=OFFSETS, size=SIZES)
    def write_undisturbed(self, pid, offset, size):
        self.finish()
        if not self.flights and self.fits(pid, offset, size):
            self.write(pid, offset, size)
            self.finish()
            assert self.spaces[pid].data[offset : offset + size] or not size

    @rule(pid=PIDS, offset=OFFSETS, size=SIZES)
    def queue(self, pid, offset, size):
        async def ask():
            full = self.memory.usage().waiting == QUEUED
            try:
                task = self.memory.queue(pid, offset, data)
            except KernelError as error:
                return error.code, full
            self.begun(Flight(task, pid, space, offset, data, queued=True))
            return None, full

        space, data = self.space(pid), self.random.randbytes(size)
        asking = self.loop.create_task(ask())
        self.turn()
        refusal, full = asking.result()
        never = offset + size > self.total * PAGE
        assert refusal == ("MEMW_FAILED" if never or full else None)

    @rule(pid=PIDS, offset=OFFSETS, size=st.none() | SIZES)
    def read(self, pid, offset, size):
        task = self.loop.create_task(self.memory.read(pid, offset, size))
        self.begun(Flight(task, pid, self.space(pid), offset, None, size))
        self.turn()

    @rule(parent=PIDS, child=PIDS)
    def fork(self, parent, child):
        before = self.spaces.get(child)
        if parent == child or before is not None:
            return
        self.memory.fork(parent, child)
        if parent in self.spaces:
            space = self.spaces[parent]
            self.spaces[child] = Space(bytearray(space.data), dict(space.pages))

    @rule(pid=PIDS)
    def forget(self, pid):
        self.memory.forget(pid)
        self.spaces.pop(pid, None)
        self.turn()

    @precondition(lambda self: self.flights)
    @rule(which=st.integers(0, 9))
    def cancel(self, which):
        flight = self.flights[which % len(self.flights)]
        flight.cancelled = flight.task.cancel()
        self.turn()

    @rule(turns=st.integers(1, 3), fails=st.booleans())
    def io(self, turns, fails):
        if self.thread.jobs:
            self.thread.step(OSError(28, "No space left on device") if fails else None)
        self.turn(turns)

    @rule()
    def settle(self):
        """When nothing is under way everybody has what the model says, and the queue's head does not fit."""
        self.finish()
        usage = self.memory.usage()
        assert usage.alloc_bytes == len(self.held()) * PAGE
        assert (usage.waiting, usage.pending_swaps) == (len(self.flights), 0)
        if self.flights:
            head = self.flights[0]
            assert not self.fits(head.pid, head.offset, len(head.data))
        for pid in list(self.spaces):
            self.read(pid, 0, None)
            self.finish()
            assert self.memory.size(pid) == len(self.spaces[pid].data)

    @invariant()
    def everything_adds_up(self):
        if hasattr(self, "memory"):
            self.memory.check_integrity()
            own = [self.memory.usage(pid) for pid in self.spaces]
            whole = self.memory.usage()
            assert sum(usage.alloc_bytes for usage in own) == whole.alloc_bytes
            assert whole.ram_bytes + whole.disk_bytes == whole.alloc_bytes
            assert whole.free_blocks == self.total - len(self.held())


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=200, stateful_step_count=40)
