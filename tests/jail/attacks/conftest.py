"""The jail that attacks run against, on a host with secrets; without a jail they are skipped, loudly."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkernel.jail.link import Spawner
from tests.jail.attacks.scene import KERNEL_SECRET, Scene, children, furnish

_unverified: list[str] = []


@pytest.fixture(scope="session")
def scene() -> Iterator[Scene]:
    """A jail that has passed its self-test, started by a kernel whose environment and files hold secrets."""
    # Not below pytest's folder, which is closed to other users: the jail alone must hide what is here.
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    furnish(folder)
    before = children(os.getpid())
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setenv("AGENTKERNEL_SECRET", KERNEL_SECRET)
        inherited = os.open(folder / "secret.txt", os.O_RDONLY)
        os.set_inheritable(inherited, True)
        jail = Spawner()
        verdict = runner.run(jail.start())
        try:
            if not verdict.levels:
                _unverified.append("; ".join(verdict.faults))
                pytest.skip(f"sandbox not verified: {_unverified[-1]}")
            made = Scene(jail, runner, folder, before)
            made.serves()
            made.unchanged()
            yield made
        finally:
            runner.run(jail.stop())
            os.close(inherited)
            shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end of the run, whatever its verbosity, that no attack was tried."""
    for reason in _unverified:
        terminalreporter.write_line(
            f"SANDBOX NOT VERIFIED, no attack was tried: {reason}", red=True, bold=True
        )
