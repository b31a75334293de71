"""What a newcomer sees: the kernel as it is served, the built-in model, a real jail, a tool's result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentkernel.client import Client
from tests.conftest import MakeKernel

MODELS = Path(__file__).parents[1] / "models"

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="sandbox not verified: no bwrap")


@dataclass(slots=True)
class Newcomer:
    """A client of a kernel that serves the built-in model, and where that kernel keeps its files."""

    client: Client
    folder: Path

    def asks(self, prompt: str) -> str:
        return self.client.exec(prompt).read()

    def calls(self) -> list[dict[str, object]]:
        """What the audit log has."""
        lines = (self.folder / "state" / "audit.log").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def newcomer(make_kernel: MakeKernel) -> Iterator[Newcomer]:
    kernel = make_kernel("--models", str(MODELS), model="builtin/agentkernel-tiny")
    with Client(kernel.host, kernel.port) as client:
        client.set_gen(temperature=0.0)
        yield Newcomer(client, kernel.state.parent)


def test_a_sum_is_computed_written_to_a_file_and_told(newcomer: Newcomer) -> None:
    said = newcomer.asks("What is 417 plus 268? Write it to sum.txt")
    assert (newcomer.folder / "workspace" / "1" / "sum.txt").read_text() == "685"
    answer = said.splitlines()[-1]
    assert "685" in answer
    assert "sum.txt" in answer
    assert [(call["tool"], call["outcome"]) for call in newcomer.calls()] == [
        ("calc", "ok"),
        ("write_file", "ok"),
    ]


def test_a_program_runs_in_a_jail_and_its_output_is_told(newcomer: Newcomer) -> None:
    said = newcomer.asks("Run the Python code print(6 * 7)")
    assert said.splitlines()[-1] == "It printed: 42"
    [call] = newcomer.calls()
    assert (call["tool"], call["outcome"]) == ("python", "ok")
    assert call["backend"] != "kernel"
