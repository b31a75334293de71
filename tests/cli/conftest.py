"""The command line as a user runs it: in a process of its own, in an empty directory and home."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agentkernel.client import Client
from tests.conftest import RunningKernel, command_line
from tests.fake_jail import FakeJail
from tests.harness import run, scripted_server

_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Address:
    """Where a kernel is that runs in this process."""

    port: int
    state: Path


@dataclass(slots=True)
class CommandLine:
    """Runs `agentkernel` in `folder`, against a kernel where one is named."""

    folder: Path
    _running: list[subprocess.Popen[str]] = field(default_factory=list)

    def environment(self, kernel: RunningKernel | Address | None, more: Mapping[str, str]) -> dict[str, str]:
        """What is inherited: a home of its own, and where the kernel is."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("AGENTKERNEL", "XDG", "HF_"))
        }
        at = {}
        if kernel is not None:
            at = {"AGENTKERNEL_SERVER__PORT": str(kernel.port), "AGENTKERNEL_STATE": str(kernel.state)}
        return {**kept, "HOME": str(self.folder), "PYTHONWARNINGS": "error", **at, **more}

    def __call__(
        self, *arguments: str, kernel: RunningKernel | Address | None = None, stdin: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            command_line(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment(kernel, env),
            cwd=self.folder,
            timeout=_SECONDS,
            check=False,
        )

    def start(
        self, *arguments: str, kernel: RunningKernel | Address | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start it; what still runs when the test ends is killed."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        process = subprocess.Popen(
            command_line(*arguments), env=self.environment(kernel, {}), cwd=self.folder, **options
        )
        self._running.append(process)
        return process

    def end(self) -> None:
        """Kill what was started and still runs."""
        for process in self._running:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None and not stream.closed:
                    stream.close()


@pytest.fixture
def ak(tmp_path: Path) -> Iterator[CommandLine]:
    """The command line, in an empty directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    line = CommandLine(folder)
    yield line
    line.end()


@pytest.fixture
def client_of() -> Iterator[Callable[[RunningKernel], Client]]:
    """Clients of kernels, closed at the end."""
    clients: list[Client] = []

    def connect(kernel: RunningKernel) -> Client:
        clients.append(Client(kernel.host, kernel.port))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def scripted(demo: Path, tmp_path: Path) -> Callable[..., None]:
    """Do something beside a kernel whose model repeats its prompt, calls included."""

    def beside(use: Callable[[Address], None], jail: FakeJail | None = None) -> None:
        async def main() -> None:
            async with scripted_server(demo, jail=jail or FakeJail()) as bench:
                await asyncio.to_thread(use, Address(bench.port, tmp_path / "state"))

        run(main())

    return beside
