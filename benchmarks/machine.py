"""Where and on what a report was made: machine, versions, commit, and how busy others kept the cores.

Rules
1. A machine is named by its cores and processor family, never by its host name.
2. Others' use of the cores is all processor time less this program's and its children's; virtual
   machines' stolen time counts as others'.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

ROOT = Path(__file__).resolve().parent.parent
QUIET = 0.05  # cores; a neighbour that uses more shows in the figures of a machine with two

_PACKAGES = ("llama-cpp-python", "msgspec", "numpy", "psutil", "uvloop")
_VENDORS = re.compile(r"\((?:R|TM)\)|\b(?:AMD|Intel|Apple|CPU|processor)\b", re.IGNORECASE)


class Usage(msgspec.Struct, frozen=True):
    """How busy the machine was over a span: cores used by others, load averages at both ends."""

    seconds: float
    others_cores: float
    load_before: float
    load_after: float

    @property
    def loaded(self) -> bool:
        """Whether others took part in what was measured."""
        return self.others_cores > QUIET


class Meter:
    """Measures `Usage` from its creation to `read`; child processes must have ended by both."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy, self._own = _busy(), _own()
        self._load = os.getloadavg()[0]

    def read(self) -> Usage:
        """The usage up to now."""
        seconds = time.monotonic() - self._began
        others = (_busy() - self._busy) - (_own() - self._own)
        return Usage(
            seconds=round(seconds, 2),
            others_cores=round(max(0.0, others) / max(seconds, 0.01), 3),
            load_before=round(self._load, 2),
            load_after=round(os.getloadavg()[0], 2),
        )


def describe() -> dict[str, Any]:
    """The machine, as far as it bears on speed."""
    model, flags = _processor()
    cores = len(os.sched_getaffinity(0))
    return {
        "name": short_name(model, cores),
        "processor": model,
        "cores": cores,
        "flags": flags,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
    }


def versions() -> dict[str, str]:
    """What ran: the interpreter and the packages that do the work."""
    return {"python": platform.python_version()} | {
        package: importlib.metadata.version(package) for package in _PACKAGES
    }


def short_name(processor: str, cores: int) -> str:
    """A neutral name, such as `2c-epyc`."""
    words = re.findall(r"[A-Za-z][A-Za-z0-9]*", _VENDORS.sub(" ", processor))
    return f"{cores}c-{words[0].lower() if words else platform.machine()}"


def commit() -> tuple[str, bool]:
    """The checked-out commit, and whether the tree differs from it (reports apart)."""
    revision = _git("rev-parse", "--short=9", "HEAD") or "unversioned"
    return revision, bool(_git("status", "--porcelain", "--", ".", ":(exclude)reports"))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _processor() -> tuple[str, list[str]]:
    """Its model and instruction set flags, as Linux tells them; elsewhere what platform knows."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine(), []
    found = dict(re.findall(r"^([^\t:]+)\t*: (.*)$", text, re.MULTILINE))
    flags = found.get("flags") or found.get("Features") or ""
    return found.get("model name", platform.machine()), sorted(flags.split())


def _busy() -> float:
    """Seconds all cores have worked, or were kept from it by the hypervisor."""
    times = psutil.cpu_times()
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, name, 0.0) for name in names))


def _own() -> float:
    """Seconds used by this program and its children that have ended."""
    spans = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, spans))
