"""Where the kernel and its engine spend their time: `python -m benchmarks.profile` writes flame graphs.

Two workloads, each for some seconds: 16 processes that stream, and a storm of short commands over 64
connections. py-spy takes 200 samples a second: of the kernel of whoever holds the interpreter's lock, of the
engine with the library's own functions. A profile costs time itself: nothing is timed here.
"""

from __future__ import annotations

import asyncio
import html
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path

import psutil
import uvloop

from benchmarks.bench import Bench, BenchError, Kernel
from benchmarks.client import Connection, clients
from benchmarks.loads import CONTEXT, SLOTS, Decoding
from benchmarks.machine import ROOT

_SECONDS, _STORMING = 8, 64
_PY_SPY = (str(Path(sys.executable).with_name("py-spy")), "record", "--rate", "200", "--format", "flamegraph")
_FRAME = re.compile(
    r"<title>(?P<name>[^<]*?) \([^<()]*samples[^<()]*\)</title>"
    r"<rect [^>]*?width=\"(?P<width>[0-9.]+)%\"[^>]*><text [^>]*>(?=</text>)"
)
_ACROSS = 1.7  # characters that have room in a hundredth of the picture
_SHORT = ("PING", "STATUS", "PS", "GET_GEN")


def main(out: Path = ROOT / "reports", seconds: int = _SECONDS) -> None:
    """Write `flame-<workload>-<process>.svg` of each into the folder."""
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(smoke=False, models=ROOT / "benchmarks" / "build", scratch=Path(scratch))
        bench.models.mkdir(parents=True, exist_ok=True)
        for name, work in (("16-streams", _streams), ("storm", _storm)):
            with bench.kernel(bench.model("135m"), SLOTS, CONTEXT) as kernel:
                uvloop.run(_profiled(kernel, work, out / f"flame-{name}", seconds))


async def _profiled(
    kernel: Kernel, work: Callable[[Kernel], Coroutine[None, None, None]], path: Path, seconds: int
) -> None:
    loading = asyncio.create_task(work(kernel))
    await asyncio.sleep(1)  # it is under way
    await asyncio.gather(
        asyncio.to_thread(_record, kernel.process.pid, Path(f"{path}-kernel.svg"), seconds, "--gil"),
        asyncio.to_thread(_record, _engine(kernel).pid, Path(f"{path}-engine.svg"), seconds, "--native"),
    )
    loading.cancel()
    with suppress(asyncio.CancelledError):
        await loading


def _record(pid: int, path: Path, seconds: int, *options: str) -> None:
    command = [*_PY_SPY, *options, "--duration", str(seconds), "--pid", str(pid), "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not path.exists():
        raise BenchError(f"py-spy: {done.stderr.strip()[-300:]}")
    path.write_text(plain(path.read_text("utf-8"), path.stem), encoding="utf-8")


def plain(picture: str, title: str) -> str:
    """The picture alone, its frames named, without its program and with a title that names no folder here."""
    picture = re.sub(r'<script.*?</script>|<!--.*?-->| onload="[^"]*"', "", picture, flags=re.DOTALL)
    picture = re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", picture)
    return _FRAME.sub(lambda frame: frame[0] + _label(frame["name"], float(frame["width"])), picture)


def _label(name: str, width: float) -> str:
    """As much of the name as a frame of so many per cent has room for."""
    room = int(width * _ACROSS)
    whole = html.unescape(name)
    return html.escape(whole if len(whole) <= room else whole[: room - 2] + "..") if room > len("f..") else ""


def _engine(kernel: Kernel) -> psutil.Process:
    children = kernel.process.children()
    return next(child for child in children if "agentkernel.engine.worker" in " ".join(child.cmdline()))


async def _streams(kernel: Kernel) -> None:
    decoding = Decoding()
    async with clients(kernel, SLOTS) as connections, asyncio.TaskGroup() as group:
        for seed, connection in enumerate(connections):
            group.create_task(decoding.keep_on(connection, seed))


async def _storm(kernel: Kernel) -> None:
    async def endless(connection: Connection) -> None:
        while True:
            for verb in _SHORT:
                await connection.ask(verb)

    async with clients(kernel, _STORMING) as connections, asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(endless(connection))


if __name__ == "__main__":
    main()
