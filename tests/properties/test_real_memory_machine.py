"""The real engine under any order of turns, forks, ends, snapshots, writes, damage and its own death.

Two slots, room in memory and on disk for some images only, and pages of memory that spill. In the end every
process has the very tokens and text of the same conversation in an engine that never pages, and every
byte that was written. What a conversation is does not depend on when things happen: answers are the
likeliest tokens, by margins that no rounding crosses (`tests.real_kernel`), so batches may be as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import structlog.testing
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentkernel.backing import Backing
from agentkernel.memory import PAGE, Memory
from agentkernel.pages import Tier
from agentkernel.process import Process
from tests.by_hand import ME
from tests.harness import until
from tests.paged_memory import refused
from tests.real_kernel import EXEC, FORK, KILL, PING, Real, real_kernel, talk

FEWEST, PROCESSES, TURNS, SNAPSHOTS = 4, 6, 4, 2
RAM, DISK = 210_000, 450_000  # bytes; an image takes 150,000 after one turn and 540,000 after four
PAGES_IN_RAM, PAGES_ON_DISK = 3, 6
questions = st.sampled_from([EXEC, FORK, KILL, PING])
pieces = st.sampled_from([8, 60])  # tokens: answers that stop on their way, and whole ones
which = st.integers(0, 5)


@dataclass
class Known:
    """A process, the questions its context is made of, and what it should have in memory."""

    process: Process
    asked: tuple[str, ...]
    heard: tuple[str, ...] = ()  # of these, the ones that were answered before it was made
    suspended: bool = False
    memory: bytearray = field(default_factory=bytearray)


@dataclass
class Undisturbed:
    """The event loop of all examples, and what conversations come to where nothing is paged."""

    loop: asyncio.AbstractEventLoop
    real: Real
    known: dict[tuple[str, ...], tuple[list[int], str]] = field(default_factory=lambda: {(): ([], "")})

    async def conversation(self, asked: tuple[str, ...]) -> tuple[list[int], str]:
        """The tokens of the context after the last answer, and all answers."""
        if asked not in self.known:
            process = await self.real.ask(asked[0], max_tokens=60)
            (text,) = await talk(self.real, [process], asked[1:])
            self.known[asked] = list(process.tokens), text
            self.real.kernel.kill(ME, process.pid)
        return self.known[asked]


@pytest.fixture(scope="module", autouse=True)
def undisturbed(tmp_path_factory):
    with asyncio.Runner() as runner, structlog.testing.capture_logs():
        stack = contextlib.AsyncExitStack()
        kernel = real_kernel(tmp_path_factory.mktemp("undisturbed"), ram=0)
        RealMemoryMachine.undisturbed = Undisturbed(
            runner.get_loop(), runner.run(stack.enter_async_context(kernel))
        )
        yield
        runner.run(stack.aclose())


class RealMemoryMachine(RuleBasedStateMachine):
    undisturbed: Undisturbed

    @initialize(may_die=st.integers(0, 7), seed=st.integers(0, 9), first=st.tuples(*[questions] * FEWEST))
    def begin(self, may_die, seed, first):
        self.stack, self.folder = contextlib.AsyncExitStack(), tempfile.TemporaryDirectory()
        self.random, self.may_die, self.damaged = Random(seed), may_die == 0, False
        self.known, self.snapshots = [], []
        self.run(self.boot(Path(self.folder.name)))
        for question in first:
            self.exec(question, 8)

    async def boot(self, folder):
        kernel = real_kernel(folder, ram=RAM, disk=DISK, engine={"slots": 2}, memory={"when_full": "refuse"})
        self.real = await self.stack.enter_async_context(kernel)
        self.kernel = self.real.kernel
        await self.kernel.memory.close()
        spill = folder / "memory" / "spill"
        self.kernel.memory = Memory(PAGES_IN_RAM * PAGE, PAGES_ON_DISK * PAGE, spill)
        self.kernel.backing = Backing(self.kernel.memory, self.kernel.recorder)

    def run(self, main):
        return self.undisturbed.loop.run_until_complete(main)

    def teardown(self):
        if hasattr(self, "real"):
            try:
                self.run(self.everything_is_as_undisturbed())
            finally:
                self.run(self.stack.aclose())
                self.folder.cleanup()

    def pick(self, number, *, going=False):
        known = [known for known in self.known if not (going and known.suspended)]
        return known[number % len(known)]

    # what may happen

    @precondition(lambda self: len(self.known) < PROCESSES)
    @rule(question=questions, piece=pieces)
    def exec(self, question, piece):
        process = self.run(self.real.begin(question, max_tokens=piece))
        self.known.append(Known(process, (question,)))

    @precondition(lambda self: any(not known.suspended for known in self.known))
    @rule(number=which, question=questions)
    def speak(self, number, question):
        """Wait for the answer, or its first piece, and have it go on or ask something else."""
        known = self.pick(number, going=True)
        self.run(self.real.rest(known.process))
        if known.process.reason == "length":
            self.kernel.continue_output(ME, known.process.pid)
        elif len(known.asked) < TURNS:
            self.run(self.kernel.send_input(ME, known.process.pid, question, self.real.screen))
            known.asked += (question,)

    @precondition(lambda self: 0 < len(self.known) < PROCESSES)
    @rule(number=which)
    def fork(self, number):
        parent = self.pick(number)
        (child,) = self.run(self.kernel.fork(ME, parent.process.pid, 1, self.real.screen))
        self.known.append(Known(child, parent.asked, parent.heard, memory=bytearray(parent.memory)))

    @precondition(lambda self: len(self.known) > FEWEST)
    @rule(number=which)
    def kill(self, number):
        known = self.pick(number)
        self.known.remove(known)
        self.kernel.kill(ME, known.process.pid)

    @precondition(lambda self: self.known)
    @rule(number=which)
    def suspend_or_resume(self, number):
        known = self.pick(number)
        if known.suspended:
            self.kernel.resume(ME, known.process.pid, None)
        else:
            self.kernel.suspend(ME, known.process.pid)
        known.suspended = not known.suspended

    @precondition(lambda self: self.known)
    @rule(tokens=st.integers(1, 20))
    def let_it_run(self, tokens):
        going = [known.process for known in self.known if not known.suspended]
        enough = sum(process.generated for process in going) + tokens
        self.run(
            until(
                lambda: (
                    all(process.turn_over for process in going)
                    or sum(process.generated for process in going) >= enough
                )
            )
        )

    @precondition(lambda self: any(not known.suspended for known in self.known))
    @rule(number=which)
    def snapshot(self, number):
        """Of what a process has said to its end."""
        known = self.pick(number, going=True)
        if len(self.snapshots) < SNAPSHOTS:
            self.run(self.real.rest(known.process))
            self.run(talk(self.real, [known.process], []))
            name = f"snapshot{len(self.snapshots)}"
            self.run(self.kernel.snapshot(ME, known.process.pid, name))
            self.snapshots.append(known.asked)

    @precondition(lambda self: self.snapshots and len(self.known) < PROCESSES)
    @rule(number=which, question=questions, piece=pieces)
    def exec_from_a_snapshot(self, number, question, piece):
        number %= len(self.snapshots)
        fields = {"from": f"snapshot{number}"}
        process = self.run(self.real.begin(question, max_tokens=piece, **fields))
        heard = self.snapshots[number]
        self.known.append(Known(process, (*heard, question), heard))

    @precondition(lambda self: self.known)
    @rule(number=which, offset=st.integers(0, 3 * PAGE), size=st.integers(1, 2 * PAGE))
    def write(self, number, offset, size):
        known, data = self.pick(number), self.random.randbytes(size)
        pid, end = known.process.pid, offset + size
        writing = self.kernel.write_memory(ME, pid, offset, data)
        if not self.kernel.memory.room(pid, offset, size):
            with refused():
                self.run(writing)
            return
        self.run(writing)
        known.memory.extend(bytes(max(0, end - len(known.memory))))
        known.memory[offset:end] = data

    @precondition(lambda self: self.known)
    @rule(number=which, offset=st.integers(0, 3 * PAGE))
    def read(self, number, offset):
        known = self.pick(number)
        offset = min(offset, len(known.memory))
        data = self.run(self.kernel.read_memory(ME, known.process.pid, offset, None))
        assert data == known.memory[offset:]

    @rule(how=st.sampled_from(["replace", "flip", "cut", "remove", "folder"]))
    def damage(self, how):
        """Something happens to the images' files, where there are any now."""
        files = self.real.files
        for file in files:
            self.damaged = True
            with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                _DAMAGES[how](file, files[-1])

    @precondition(lambda self: self.may_die)
    @rule(wait=st.booleans())
    def die(self, wait):
        """SIGKILL the engine; what comes next may come before another is there."""
        self.may_die = False
        if wait:
            self.run(self.real.kill_engine())
        else:
            os.kill(self.real.served.engine.os_pid, 9)

    # what must follow

    @invariant()
    def everything_adds_up(self):
        if hasattr(self, "real"):
            served = self.real.served
            served.paging.pager.check_integrity()
            served.scheduler.check_integrity()
            self.kernel.memory.check_integrity()
            in_slots = {e.pid for e in served.paging.pager.entries() if e.tier is Tier.SLOT}
            assert all(served.scheduler.slot(pid) is not None for pid in in_slots)

    async def everything_is_as_undisturbed(self):
        for known in self.known:
            if known.suspended:
                self.kernel.resume(ME, known.process.pid, None)
        processes = [known.process for known in self.known]
        await self.real.rest(*processes)
        texts = await talk(self.real, processes, [])
        for known, text in zip(self.known, texts, strict=True):
            await self.is_as_undisturbed(known, text)
        assert not self.real.screen.ends.keys() - self.real.screen.dropped
        if not self.damaged:
            await until(self.disk_holds_what_the_kernel_believes)
        self.everything_adds_up()

    async def is_as_undisturbed(self, known, text):
        process = known.process
        tokens, said = await self.undisturbed.conversation(known.asked)
        _, heard = await self.undisturbed.conversation(known.heard)
        assert process.tokens == tokens
        if process.parent:
            assert said.endswith(text)
        else:
            assert heard + text == said
        assert await self.kernel.read_memory(ME, process.pid, 0, None) == known.memory

    def disk_holds_what_the_kernel_believes(self):
        entries = self.real.served.paging.pager.entries()
        return {int(file.stem) for file in self.real.files} == {e.pid for e in entries if e.tier is Tier.DISK}


def _flip(file, _other):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x40
    file.write_bytes(data)


def _make_folder(file, _other):
    file.unlink()
    file.mkdir()


_DAMAGES = {
    "flip": _flip,
    "cut": lambda file, _other: os.truncate(file, 1000),
    "remove": lambda file, _other: file.unlink(),
    "replace": lambda file, other: file.write_bytes(other.read_bytes()),
    "folder": _make_folder,
}

TestRealMemory = RealMemoryMachine.TestCase
TestRealMemory.settings = settings(
    max_examples=100,
    stateful_step_count=25,
    phases=[Phase.generate],  # an engine each: too slow to shrink
)
