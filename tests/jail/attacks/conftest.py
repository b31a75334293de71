"""The jails that attacks run against, on a host with secrets; what has no jail is skipped, loudly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkernel.jail.link import Spawner
from agentkernel.jail.port import Trust
from tests.jail.attacks.scene import KERNEL_SECRET, Scene, furnish
from tests.jail.conftest import BACKENDS, absent, only

_unverified: list[str] = []


@contextlib.contextmanager
def _scene(backend: str) -> Iterator[Scene]:
    """A jail that has passed its self-test, started by a kernel whose environment and files hold secrets."""
    # Not below pytest's folder, which is closed to other users: the jail alone must hide what is here.
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    furnish(folder)
    command = only(backend)
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setenv("KERNEL_SECRET", KERNEL_SECRET)
        inherited = os.open(folder / "secret.txt", os.O_RDONLY)
        os.set_inheritable(inherited, True)
        jail = Spawner(command=command)
        verdict = runner.run(jail.start())
        try:
            if verdict.backend != backend or not verdict.levels:
                _unverified.append(absent(backend) or f"{backend}: {'; '.join(verdict.faults)}")
                pytest.skip(f"sandbox not verified: {_unverified[-1]}")
            trust: Trust = "standard" if "standard" in verdict.levels else "trusted"
            made = Scene(jail, runner, folder, trust, command)
            made.serves()
            made.unchanged()
            yield made
            made.serves()
        finally:
            runner.run(jail.stop())
            os.close(inherited)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", params=BACKENDS)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Each jail for programs that aren't trusted."""
    with _scene(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def weaker_scene() -> Iterator[Scene]:
    """The jail for trusted programs on machines without a stronger one."""
    with _scene("landlock") as made:
        yield made


@pytest.fixture(scope="module")
def wasm_scene() -> Iterator[Scene]:
    """The jail that runs Python alone."""
    with _scene("wasm") as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end of the run, whatever its verbosity, what no attack was tried on."""
    for reason in _unverified:
        terminalreporter.write_line(
            f"SANDBOX NOT VERIFIED, no attack was tried on {reason}", red=True, bold=True
        )
