"""One run's circumstances, and the kernel under test: `agentkernel serve` as a user starts it."""

from __future__ import annotations

import multiprocessing
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from agentkernel.cpu import usable_cores
from benchmarks import shapes
from benchmarks.machine import ROOT

_T = TypeVar("_T")
START_SECONDS, _STOP_SECONDS = 120, 30


class BenchError(Exception):
    """Something that makes a measurement impossible."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A running kernel: where it listens, and its operating-system process."""

    host: str
    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Processor time the kernel's own process has used, its engine's not counted."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every benchmark is told: how much to measure, and the folders it may use."""

    smoke: bool
    models: Path
    scratch: Path
    tree: Path = ROOT  # of the kernel

    @property
    def threads(self) -> int:
        """Threads for the engine and for whatever it is compared with."""
        return self.pick(usable_cores(), 1)

    @property
    def threads_but_one(self) -> int:
        """One fewer where there are several: what else runs takes nothing from a step, and steps are even."""
        return max(1, self.threads - 1)

    def pick(self, full: _T, smoke: _T) -> _T:
        """The value for this run; a smoke run only shows that everything works."""
        return smoke if self.smoke else full

    def model(self, name: str) -> Path:
        """The model of that shape; in a smoke run the smallest there is."""
        smallest = name if name.endswith("-1m") else "llama-1m"
        return shapes.cached(self.pick(name, smallest), folder=self.models)

    @contextmanager
    def kernel(self, model: Path, slots: int, context: int, **settings: object) -> Iterator[Kernel]:
        """Serve the model with so many slots of so many tokens; ends with the block.

        Further settings are named by their dotted keys, a dot being two underscores.
        """
        arguments = ["--port", "0", "--models", str(self.models), "--model", model.stem]
        for folder in ("state", "workspace"):
            arguments += [f"--{folder}", str(self.scratch / folder)]
        log = self.scratch / "log"
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                (sys.executable, "-m", "agentkernel.cli", "serve", *arguments),
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.scratch,
                env=self._environment({"engine__slots": slots, "engine__context": context} | settings),
            ) as process,
        ):
            try:
                host, port = _ready(process, log)
                yield Kernel(host, port, psutil.Process(process.pid))
            finally:
                stop(process)

    def _environment(self, settings: dict[str, object]) -> dict[str, str]:
        """The user's environment without settings; those of the run take their place."""
        settings = {"engine__threads": self.threads} | settings
        foreign = ("AGENTKERNEL_", "AGENTIC_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return kept | {
            "PYTHONPATH": str(self.tree),
            "XDG_CONFIG_HOME": str(self.scratch),
            **{f"AGENTKERNEL_{key.upper()}": str(value) for key, value in settings.items()},
        }


def apart(function: Callable[..., _T], *arguments: object) -> _T:
    """What the function returns, run in a process of its own, which leaves nothing behind in this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def _ready(process: subprocess.Popen[bytes], log: Path) -> tuple[str, int]:
    """The address in the line that says so. Raises BenchError."""
    line = b""
    if process.stdout is not None and select.select([process.stdout], [], [], START_SECONDS)[0]:
        line = process.stdout.readline()
    if not line.startswith(b"ready "):
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise BenchError(f"the kernel did not start: {last or line.decode(errors='replace')}")
    host, _, port = line.split()[1].decode().rpartition(":")
    return host, int(port)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it, kindly at first."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
