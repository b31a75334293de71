"""What changes have saved the kernel's own process: `python -m benchmarks.changes WORK COMMIT …`.

Of each commit two kernels run at once, one as it left the tree and one as the tree was before; the same
work is done on each in turns, and the processor time of each kernel's own process counts, its threads
included, its engine not. Engines are of this tree for both. Where others use the cores, a pair of bursts
meets them alike: what holds is the ratio.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import uvloop

from agentkernel.protocol.framing import Frame
from benchmarks import index, machine, report
from benchmarks.bench import Bench, Kernel
from benchmarks.churn import pairs
from benchmarks.client import clients
from benchmarks.decode import streamed
from benchmarks.figures import Figure, Side, ratio
from benchmarks.pairs import alternate
from benchmarks.prompts import letters, request

_MODEL, _SLOTS, _CONTEXT, _TOKENS, _PAIRS, _BURSTS = "llama-1m", 16, 512, 400, 25, 16


@dataclass(frozen=True, slots=True)
class Work:
    """What is done on a kernel, told how much of it was, and the unit of that."""

    unit: str
    do: Callable[[Kernel], int]


def main(work: str, changes: list[str], out: Path = machine.ROOT / "reports") -> None:
    """Measure each commit and write a report."""
    started, (revision, dirty) = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), machine.commit()
    claim = " ".join((__doc__ or "").partition("\n\n")[0].split())
    sections = []
    for change in changes:
        meter = machine.Meter()
        with tempfile.TemporaryDirectory(prefix="agentkernel-bench-") as scratch:
            figure = measure(Path(scratch), WORKS[work], work, change)
        sections.append(report.Section("changes", claim, meter.read(), [figure]))
        print(f"{figure.name}: {figure.value:.3g}, {[round(side.value, 1) for side in figure.sides]} µs")
    result = report.Report(
        date=started,
        commit=revision,
        dirty=dirty,
        smoke=False,
        command=["python", "-m", "benchmarks.changes", work, *changes],
        machine=machine.describe(),
        versions=machine.versions(),
        sections=sections,
    )
    report.write(result, out)
    index.renew(out)


def measure(scratch: Path, work: Work, name: str, change: str) -> Figure:
    """The ratio of what the work costs with the change to what it costs without."""
    models = machine.ROOT / "benchmarks" / "build"
    models.mkdir(parents=True, exist_ok=True)
    kernels = []
    with ExitStack() as running:
        for side, commit in (("after", change), ("before", f"{change}^")):
            (folder := scratch / side).mkdir()
            bench = replace(Bench(False, models, folder), tree=_tree(folder / "tree", commit))  # noqa: FBT003
            model = bench.model(_MODEL)
            kernel = running.enter_context(bench.kernel(model, _SLOTS, _CONTEXT, engine__threads=1))
            kernels.append(kernel)
        after, before = alternate(
            _BURSTS,
            lambda _: _cost(kernels[0], work),
            lambda _: _cost(kernels[1], work),
        )
    subject = _git("show", "--no-patch", "--format=%s", change).decode().strip()
    settings: dict[str, object] = {"model": _MODEL, "work": name, "change": subject}
    sides = Side("after", "µs", after), Side("before", "µs", before)
    return ratio(f"CPU {work.unit}, {change[:9]} ÷ before", *sides, settings=settings)


def _cost(kernel: Kernel, work: Work) -> float:
    """Microseconds of the kernel's process for a unit of the work."""
    before = _cpu(kernel.process)
    done = work.do(kernel)
    return (_cpu(kernel.process) - before) / done / 1e3


def _cpu(process: psutil.Process) -> int:
    """Nanoseconds that the process's threads have run; /proc's other counters have ticks of 10 ms."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads)


def _tree(folder: Path, commit: str) -> Path:
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=_git("archive", commit), check=True)
    return folder


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=machine.ROOT, capture_output=True, check=True).stdout


async def _churned(kernel: Kernel) -> int:
    async with clients(kernel, _SLOTS) as connections:
        return sum(await asyncio.gather(*(pairs(each, _PAIRS) for each in connections)))


async def _shared(kernel: Kernel) -> int:
    """Processes that stream over one connection; the tokens they bring."""
    ended, left = asyncio.Event(), set(range(_SLOTS))

    def take(frame: Frame, _at: float) -> None:
        if b"[PROCESS_FINISHED" in frame.payload:
            left.pop()
            if not left:
                ended.set()

    async with clients(kernel, 1, "tagged_frames_v1") as (connection,):
        connection.on_frame = take
        payloads = [request(letters(32, seed), _TOKENS, seed) for seed in range(_SLOTS)]
        await asyncio.gather(*(connection.ask("EXEC", payload) for payload in payloads))
        await ended.wait()
    return _SLOTS * _TOKENS


WORKS = {
    "churn": Work("of EXEC and KILL", lambda kernel: uvloop.run(_churned(kernel))),
    "streams": Work("of a token", lambda kernel: streamed(kernel, _SLOTS, _TOKENS).tokens),
    "shared": Work("of a token on a shared connection", lambda kernel: uvloop.run(_shared(kernel))),
}


if __name__ == "__main__":
    if len(sys.argv) <= len(("", "WORK")) or sys.argv[1] not in WORKS:
        sys.exit(f"usage: python -m benchmarks.changes {{{','.join(WORKS)}}} COMMIT …")
    main(sys.argv[1], sys.argv[2:])
