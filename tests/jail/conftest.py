"""A jail that has passed its self-test, or a loud skip: what isn't tried isn't verified."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkernel.jail import bwrap, container, wasm
from agentkernel.jail.link import Spawner
from agentkernel.jail.port import Job, Outcome

BACKENDS = ("bwrap", *container.RUNTIMES)  # for programs that aren't trusted
# Answered at once, each after one more of the things that follow the end of a jail.
NOTHING, SETTLING = Job("nothing", 0), 4
_unverified: dict[str, str] = {}
_ONE_BACKEND = """
from dataclasses import replace
from agentkernel.jail import spawner
survey = spawner.survey
def survey_one(**options):
    machine = survey(**options)
    return replace(machine, backends={{name: it for name, it in machine.backends.items() if name == {one!r}}})
spawner.survey = survey_one
spawner.main()
"""


def only(backend: str) -> tuple[str, ...]:
    """What starts a spawner that finds no backend but this."""
    return sys.executable, "-I", "-c", _ONE_BACKEND.format(one=backend)


def absent(backend: str) -> str:
    """What to install for it; empty when it is there."""
    if backend in container.RUNTIMES:
        return container.missing(backend)
    if backend == "wasm":
        return wasm.missing()
    return bwrap.missing() if backend == "bwrap" else ""


def own_memory_mb(outcome: Outcome) -> int:
    """What makes the jail takes so much of its memory itself."""
    return container.SENTRY[1] if outcome.backend == "runsc" else 0


class Jailed:
    """A jail with an event loop of its own: `run` waits for the outcome."""

    def __init__(self, spawner: Spawner, runner: asyncio.Runner) -> None:
        self.spawner, self.runner, self._count = spawner, runner, 0

    def job(self, *argv: str, **given: Any) -> Job:
        self._count += 1
        return Job(**{"key": f"job {self._count}", "owner": 1000 + self._count, "argv": argv, **given})

    def run(self, *argv: str, **given: Any) -> Outcome:
        return self.runner.run(self.spawner.run(self.job(*argv, **given)))

    def python(self, code: str, *argv: str, **given: Any) -> Outcome:
        return self.run(*argv, code=code, **given)


def has_sentry(jailed: Jailed) -> bool:
    """Whether a kernel stands between jail and host."""
    return jailed.spawner.verdict is not None and "sentry" in jailed.spawner.verdict.layers


@pytest.fixture(scope="module")
def jailed(request: pytest.FixtureRequest) -> Iterator[Jailed]:
    """The strongest jail; or that of a backend, where a module is tried on each."""
    backend = getattr(request, "param", "")
    with asyncio.Runner() as runner:
        spawner = Spawner(command=only(backend)) if backend else Spawner()
        verdict = runner.run(spawner.start())
        try:
            if not verdict.levels:
                why = backend and absent(backend)
                _unverified[backend] = why or f"{backend} {'; '.join(verdict.faults)}".strip()
                pytest.skip(f"sandbox not verified: {_unverified[backend]}")
            yield Jailed(spawner, runner)
        finally:
            runner.run(spawner.stop())


@pytest.fixture
def workspace() -> Iterator[Path]:
    """A folder that only root, or whoever runs the kernel, may enter from outside."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in _unverified.values():
        terminalreporter.write_line(f"SANDBOX NOT VERIFIED, no jail was tried: {reason}", red=True, bold=True)
