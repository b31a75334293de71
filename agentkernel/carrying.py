"""KV images on their way from an engine into a checkpoint, and from there into another engine.

Rules
1. An image is a cache: one that can't be had, or doesn't fit, costs a prefill and nothing else.
2. What is carried is an image of the first of the tokens that go with it, and of no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import NamedTuple

from agentkernel.engine import port
from agentkernel.process import Process
from agentkernel.serving import Served

_SECONDS = 30.0  # an engine has to write one
_ROOM = 3  # times the image's size that the disk must have: it is there twice, and more is written
_keys = count(-(1 << 40), -1)  # no PIDs, and no snapshot's


class Carried(NamedTuple):
    """An image of so many tokens, in a file."""

    path: Path
    tokens: int


def form(served: Served) -> str:
    """What reads the images of the model: an engine of the same library and as many slots, if packed too."""
    packed = ", zstd" if served.load.compress else ""
    return f"llama-cpp-python {version('llama-cpp-python')}, {served.load.slots} slots{packed}"


@contextlib.asynccontextmanager
async def exported(served: Served, process: Process, tokens: list[int]) -> AsyncIterator[Carried | None]:
    """An image of the process's context, which begins with these tokens; None when there is none."""
    folder, key = Path(served.load.images), next(_keys)
    if not served.load.images or process.pid not in served.processes:
        yield None
        return
    written: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def done(filled: int) -> None:
        held = min(filled, len(tokens))
        if not written.done():  # else nobody waits any more
            written.set_result(held if process.tokens[:held] == tokens[:held] else 0)

    now = asyncio.get_running_loop().time()
    commands = served.paging.export(process, key, now, done)
    served.send(*commands)
    if not commands:
        yield None  # it is not worth it
        return
    try:
        held = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                held = await written
        path = folder / f"{key}.kv"
        yield Carried(path, held) if held and await asyncio.to_thread(_fits, path) else None
    finally:
        served.drop(key)


def _fits(path: Path) -> bool:
    try:
        return shutil.disk_usage(path).free > _ROOM * path.stat().st_size
    except OSError:
        return False


def adopt(served: Served, process: Process, tokens: int, digest: bytes) -> None:
    """Let the process begin with the image that is in its file."""
    size = place(served, process.pid).stat().st_size
    image = port.Adopt(process.pid, tokens, size, digest)
    served.send(*served.paging.adopt(process, image, asyncio.get_running_loop().time()))


def place(served: Served, pid: int) -> Path:
    """Where the image of a process lies."""
    return Path(served.load.images) / f"{pid}.kv"
