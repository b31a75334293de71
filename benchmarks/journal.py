"""Writing down a step of 16 processes takes at most 2 % of the step, and a journal of 1,000 live processes
with a million tokens is replayed in at most 2 s.

The journal is the kernel's, with its recorder, on this disk, without an engine. A step gives each process
one token and five bytes of text; writing it down is all of that and the commit, with the upkeep that has come
due. The step that it is compared with is one of the raw llama_decode loop. Replay opens the journal and makes
the processes; seven tenths of their tokens were generated, one a step, the rest are prompts.
"""

from __future__ import annotations

import time
from pathlib import Path

from agentkernel.config import Generation
from agentkernel.journal.store import Journal
from agentkernel.process import Owner, Process
from agentkernel.recording import Recorder
from agentkernel.request import ExecRequest
from benchmarks.bench import Bench, apart
from benchmarks.decode import CONTEXT, PROMPT, SLOTS
from benchmarks.figures import Figure
from benchmarks.pairs import alternate
from benchmarks.raw import raw_loop

_OWNER, _TEXT = Owner(1, "bench"), b" word"
_UPKEEP = 4  # steps between two pieces of the journal's upkeep: a tenth of a second


def run(bench: Bench) -> list[Figure]:
    """Pairs of steps written and decoded, then journals replayed."""
    model, steps = bench.model("135m"), bench.pick(400, 50)
    with raw_loop(bench, model, SLOTS, CONTEXT) as raw:
        written, rates = alternate(
            bench.pick(7, 1),
            lambda pair: apart(_write, bench.scratch / f"steps-{pair}", steps),
            lambda _pair: raw.tokens_per_second(SLOTS, PROMPT, bench.pick(200, 50)),
        )
    decoded = [SLOTS / rate * 1e3 for rate in rates]
    settings: dict[str, object] = {"model": model.stem, "processes": SLOTS, "threads": bench.threads}
    ratios = [one / other for one, other in zip(written, decoded, strict=True)]
    size = {"processes": bench.pick(1000, 20), "tokens": 1000}
    replayed = [
        apart(_replay, bench.scratch / f"replay-{number}", size["processes"], size["tokens"])
        for number in range(bench.pick(5, 1))
    ]
    return [
        Figure("writing down a step ÷ the step", "", ratios, at_most=0.02, settings=settings),
        Figure("writing down a step", "ms", written, settings=settings),
        Figure("step of the raw loop", "ms", decoded, settings=settings),
        Figure("replay of a journal", "s", replayed, at_most=2, settings={**size}),
    ]


def _write(folder: Path, steps: int) -> float:
    """Milliseconds a step."""
    recorder = _recorder(folder)
    processes = [_born(recorder, pid, PROMPT) for pid in range(1, SLOTS + 1)]
    recorder.commit()
    began = time.perf_counter()
    for step in range(steps):
        _step(recorder, processes, step)
        if step % _UPKEEP == 0:
            recorder.maintain()
    seconds = time.perf_counter() - began
    recorder.close()
    return seconds / steps * 1e3


def _replay(folder: Path, count: int, tokens: int) -> float:
    """Seconds from opening the journal to the last process."""
    recorder = _recorder(folder)
    generated = tokens * 7 // 10
    processes = [_born(recorder, pid, tokens - generated) for pid in range(1, count + 1)]
    for step in range(generated):
        _step(recorder, processes, step)
    recorder.close()
    began = time.perf_counter()
    again = _recorder(folder)
    found = again.recover()
    seconds = time.perf_counter() - began
    again.close()
    if sum(len(process.tokens) for process, _ in found) != count * tokens:
        raise ValueError("the journal has lost tokens")
    return seconds


def _recorder(folder: Path) -> Recorder:
    folder.mkdir(exist_ok=True)
    return Recorder(Journal(folder / "journal.db"), time.monotonic)


def _born(recorder: Recorder, pid: int, prompt: int) -> Process:
    request = ExecRequest(prompt="x" * prompt, raw=True)
    process = request.process(pid, _OWNER, request.plan(Generation(), 1, pid), "bench", 0.0)
    process.edit(0, 0, range(prompt))
    recorder.born(process, "bench")
    return process


def _step(recorder: Recorder, processes: list[Process], step: int) -> None:
    for process in processes:
        recorder.took(process, [step], _TEXT, step)
    recorder.commit()
