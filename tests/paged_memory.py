"""Memory of few pages, and I/O that is done when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from concurrent.futures import Executor, Future
from random import Random

import pytest

from agentkernel.errors import KernelError
from agentkernel.memory import PAGE, Memory


class HeldThread(Executor):
    """A thread that does a piece of work when told to; like one under way, work can't be called off."""

    def __init__(self):
        self.jobs = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_running_or_notify_cancel()
        self.jobs.append((future, functools.partial(fn, *args, **kwargs)))
        return future

    def step(self, error=None):
        """Do the next piece; a write fails with the error."""
        future, job = self.jobs.pop(0)
        writes = job.func.__name__ == "_write"
        try:
            if writes and error is not None:
                raise error
            result = job()
        except OSError as raised:
            future.set_exception(raised)
        else:
            future.set_result(result)


def story(test):
    """The test is a coroutine."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


def content(pages, seed=0):
    """Bytes unlike any other's, so many pages long."""
    return Random(seed).randbytes(int(pages * PAGE))


@contextlib.asynccontextmanager
async def memory_in(folder, ram=2, disk=8, **bounds):
    """Memory of so many pages; when it is closed, nothing is left."""
    file = folder / "own" / "memory.spill"
    memory = Memory(ram * PAGE, disk * PAGE, file, **bounds)
    try:
        yield memory
        memory.check_integrity()
    finally:
        await memory.close()
        memory.check_integrity()
        assert memory.usage().alloc_bytes == 0


async def turns(count=20):
    """Let everybody do what can be done without I/O."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.contextmanager
def refused(code="MEMW_FAILED"):
    """What is done within raises a KernelError of this code."""
    with pytest.raises(KernelError) as caught:
        yield
    assert caught.value.code == code


def block_of(memory, pid, index):
    """Where in the file a page is."""
    return memory._spaces[pid].pages[index].content.block


@contextlib.asynccontextmanager
async def held(folder, ram, disk):
    """Memory whose I/O is done when told."""
    async with memory_in(folder, ram, disk) as memory:
        thread, memory._file._thread = memory._file._thread, HeldThread()
        try:
            yield memory, memory._file._thread
        finally:
            while memory._file._thread.jobs:
                memory._file._thread.step()
                await turns()
            memory._file._thread = thread
