"""Processes under test that call: what they say, what their calls came to, and a kernel by hand for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import Process
from tests.by_hand import Bench, Gated, boot, settle
from tests.fake_jail import ENDLESS, FakeJail, ended

NO_FILES = {"read": ["nothing"]}  # jobs have no workspace then, and no thread is needed to make one


def call(tool: str, **arguments: Any) -> str:
    """A call as the built-in model writes it."""
    return f"TOOL:{tool} {json.dumps(arguments)}"


SUM = call("calc", expression="2+3")
WORK = call("python", code=ENDLESS)
ASK = call("ask_human", question="which one?")


class Held(FakeJail):
    """A jail whose jobs go on until the test ends them, but for those that print a text."""

    def end(self, output: bytes = b"done") -> None:
        """End the job that was begun last."""
        self._running.pop(self.jobs[-1].key).set_result(ended(output))

    @property
    def running(self) -> list[str]:
        """The keys of the jobs that go on."""
        return list(self._running)


class Slow(Gated):
    """Answers while its gate is open; a request that is open when it dies fails."""

    async def open(self, request: port.Request) -> port.Opened:
        opened = await super().open(request)
        if self._batcher is None:
            raise KernelError("ENGINE_FAILED", "signal 9")
        return opened


async def calling(
    folder: Path, said: Mapping[str, str], jail: FakeJail | None = None, **settings: Any
) -> Bench:
    """A kernel whose model answers these inputs so, and any other with `ok`; all events are on its screen."""
    jail = Held() if jail is None else jail
    bench = await boot(folder, lambda text: said.get(text, "ok"), jail=jail, **settings)
    bench.kernel.events.subscribe(_Everyone, bench.screen)
    return bench


class _Everyone:
    @staticmethod
    def may(process: Process) -> bool:
        return True


async def rest(bench: Bench) -> None:
    """Step until nothing runs nor is about to."""
    await settle()
    while bench.engine.step():
        await settle()


async def called(bench: Bench, process: Process) -> None:
    """Wait for a call that a thread serves; no time passes."""
    await rest(bench)
    while process.calls:
        await settle()
        await rest(bench)


def audited(bench: Bench) -> list[dict[str, Any]]:
    """The calls that were written down."""
    lines = bench.kernel.config.audit_file.read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == "call"]


def outcomes(bench: Bench) -> list[tuple[int, str, str]]:
    """Of each call that was written down, its process, tool and outcome."""
    return [(line["pid"], line["tool"], line["outcome"]) for line in audited(bench)]


def events(bench: Bench, kind: str) -> list[dict[str, Any]]:
    """The events of a kind."""
    return [event for event in bench.screen.events if event["kind"] == kind]


def context(process: Process) -> str:
    """What bytes are in a process's context: its prompt, results and inputs, an end before each."""
    return "".join("|" if token == 256 else chr(token) for token in process.tokens if 0 <= token <= 256)


HELLO = call("python", code="hello")


def results(process: Process) -> list[str]:
    """What the process's calls came to, as its model sees it."""
    return context(process).split("|")[1:]


async def one(
    folder: Path,
    said: str,
    jail: FakeJail | None = None,
    settings: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[Bench, Process]:
    """An interactive process that has made one call; its kernel."""
    bench = await calling(folder, {"go": said}, FakeJail() if jail is None else jail, **(settings or {}))
    process = await bench.exec("go", interactive=True, **fields)
    await rest(bench)
    return bench, process
