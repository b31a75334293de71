"""A jail that has passed its self-test, or a loud skip: what isn't tried isn't verified."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkernel.jail.link import Spawner
from agentkernel.jail.port import Job, Outcome

_unverified: list[str] = []


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


@pytest.fixture(scope="module")
def jailed() -> Iterator[Jailed]:
    with asyncio.Runner() as runner:
        spawner = Spawner()
        verdict = runner.run(spawner.start())
        try:
            if not verdict.levels:
                _unverified.append("; ".join(verdict.faults))
                pytest.skip(f"sandbox not verified: {_unverified[-1]}")
            yield Jailed(spawner, runner)
        finally:
            runner.run(spawner.stop())


@pytest.fixture
def workspace() -> Iterator[Path]:
    """A folder that only root, or whoever runs the kernel, may enter from outside."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in _unverified:
        terminalreporter.write_line(f"SANDBOX NOT VERIFIED, no jail was tried: {reason}", red=True, bold=True)
