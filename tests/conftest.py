"""Fixtures that many tests share: model files in three shapes, and kernels run as a user runs them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import shapes

LLAMA, QWEN2, MISTRAL = "llama-1m", "qwen2-1m", "mistral-1m"
ENDLESS = 'root ::= "a" root\n'  # a grammar under which a process never ends by itself
_STOP_SECONDS = 30

# A shell that runs the tests in the background ignores SIGINT, and whatever they start would do so too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(slots=True)
class RunningKernel:
    """A kernel in a process of its own; `log` is its standard error."""

    process: subprocess.Popen[str]
    host: str
    port: int
    state: Path
    log: Path

    def stop(self) -> int:
        """End it by SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(_STOP_SECONDS)


MakeKernel = Callable[..., RunningKernel]


def command_line(*arguments: str) -> list[str]:
    """What runs the command line without its being installed."""
    return [sys.executable, "-m", "agentkernel.cli", *arguments]


def start_kernel(
    folder: Path, models: Path, *arguments: str, model: str = LLAMA, env: Mapping[str, str] | None = None
) -> RunningKernel:
    """Run `agentkernel serve` with its files in `folder`, and wait until it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    state, log = folder / "state", folder / "log"
    own = ["--port", "0", "--models", str(models), "--model", model]
    own += ["--state", str(state), "--workspace", str(folder / "workspace")]
    quiet = {"AGENTKERNEL_ENGINE__THREADS": "1", "AGENTKERNEL_ENGINE__SLOTS": "8"}
    with log.open("w") as errors:
        process = subprocess.Popen(
            command_line("serve", *own, *arguments),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **quiet, **(env or {})},
            cwd=folder,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.kill()
        pytest.fail(f"no ready line but {line!r}; exit {process.wait()}: {log.read_text()}")
    host, _, port = line.split()[1].rpartition(":")
    return RunningKernel(process, host.strip("[]"), int(port), state, log)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of three tiny random models: llama, qwen2 and mistral shape."""
    root = tmp_path_factory.mktemp("models")
    for name in (LLAMA, QWEN2, MISTRAL):
        shapes.write(root / f"{name}.gguf", shapes.SHAPES[name])
    return root


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with one model, `demo`."""
    folder = tmp_path_factory.mktemp("demo")
    shapes.write(folder / "demo.gguf", shapes.SHAPES["llama-1m"])
    return folder


@pytest.fixture(scope="session")
def kernel(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """One kernel for all tests that leave it as it was, with the llama-shaped model loaded."""
    running = start_kernel(tmp_path_factory.mktemp("kernel"), models_dir)
    yield running
    _end(running)


@pytest.fixture(scope="session")
def long_kernel(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """One kernel whose contexts are long enough for a process to be still running when a test ends."""
    longer = {"AGENTKERNEL_ENGINE__CONTEXT": "32768", "AGENTKERNEL_ENGINE__SLOTS": "4"}
    running = start_kernel(tmp_path_factory.mktemp("long"), models_dir, env=longer)
    yield running
    _end(running)


@pytest.fixture
def make_kernel(models_dir: Path, tmp_path: Path) -> Iterator[MakeKernel]:
    """Start kernels of one's own: further arguments of `serve`, `model=` and `env=`."""
    running: list[RunningKernel] = []

    def make(*arguments: str, model: str = LLAMA, env: Mapping[str, str] | None = None) -> RunningKernel:
        folder = tmp_path / f"kernel{len(running)}"
        running.append(start_kernel(folder, models_dir, *arguments, model=model, env=env))
        return running[-1]

    yield make
    for each in running:
        _end(each)


@pytest.fixture
def unused_port() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _end(running: RunningKernel) -> None:
    if running.process.poll() is None:
        running.stop()
    if running.process.stdout is not None:
        running.process.stdout.close()
