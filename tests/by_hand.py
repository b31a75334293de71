"""A kernel on scripted engines that step when told to, in a loop whose clock never waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agentkernel.config import Config
from agentkernel.engine import port
from agentkernel.engine.scripted import Script, ScriptedEngine
from agentkernel.jail.port import Jail
from agentkernel.kernel import Kernel
from agentkernel.process import Owner, Process
from agentkernel.request import ExecRequest
from tests.gguf_files import write_model

ME, OTHER, ADMIN = Owner(1, "me"), Owner(2, "other"), Owner(3, "root", admin=True)
MARKER = rb"\n\[PROCESS_FINISHED pid=%d tokens_generated=%d elapsed_secs=\d+\.\d{3}\]\n"


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait for timers: the time moves to the next one when nothing else is ready."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += max(timeout, 0)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time passes only when nothing else can happen, and then at once."""

    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run an async test in a loop of its own; kernels that it leaves behind begin nothing any more."""

    async def whole() -> None:
        try:
            await main
        finally:
            for kernel in _booted:
                kernel.models._closed = True
            _booted.clear()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(whole())


_booted: list[Kernel] = []  # by the test that runs


class Gated(ScriptedEngine):
    """Answers Open and Append only while the gate is open; what it is asked takes effect in order."""

    def __init__(self, script: Script) -> None:
        super().__init__(script, auto=False)
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self, request: port.Open | port.Append) -> list[int]:
        tokens = await super().open(request)
        await self.gate.wait()
        return tokens


def words(count: int, start: int = 0) -> str:
    """What the counting script says: `w0 w1 w2 …`, a word a token."""
    return "".join(f" w{i}" if i else "w0" for i in range(start, start + count))


def counting(text: str) -> str:
    return words(1000)


class Screen:
    """A sink that keeps what it gets; its reader is behind while `full`."""

    client = 7

    def __init__(self) -> None:
        self.text: dict[int, str] = {}
        self.ends: dict[int, bytes] = {}
        self.events: list[dict[str, Any]] = []
        self.dropped: list[int] = []
        self.full = False
        self._next: dict[int, int] = {}

    def data(self, pid: int, offset: int, text: bytes) -> bool:
        """Output is never empty, whole characters, and begins where the last piece ended."""
        assert text
        assert pid not in self.ends
        assert offset == self._next.get(pid, offset)
        self._next[pid] = offset + len(text)
        self.text[pid] = self.text.get(pid, "") + text.decode()
        return not self.full

    def end(self, pid: int, offset: int, marker: bytes) -> None:
        assert pid not in self.ends
        assert offset == self._next.get(pid, offset)
        self.ends[pid] = marker

    def drop(self, pid: int) -> None:
        self.dropped.append(pid)
        self._next.pop(pid, None)

    def event(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]


@dataclass(slots=True)
class Bench:
    """A kernel with one model loaded, and its engines, the last of which lives."""

    kernel: Kernel
    engines: list[ScriptedEngine]
    screen: Screen = field(default_factory=Screen)

    @property
    def engine(self) -> ScriptedEngine:
        return self.engines[-1]

    async def exec(
        self, prompt: str = "hello", owner: Owner = ME, sink: Screen | None = None, **fields: Any
    ) -> Process:
        """Start a process; what is to happen after the reply has happened."""
        if "messages" not in fields:
            fields["prompt"] = prompt
        request = msgspec.convert(fields, ExecRequest)
        process = await self.kernel.exec(owner, request, sink or self.screen)
        await settle()
        return process

    def step(self, count: int = 1) -> None:
        """So many steps of the live engine."""
        for _ in range(count):
            self.engine.step()

    def finish(self) -> None:
        """Steps until nothing runs."""
        while self.engine.step():
            pass

    def sent(self, kind: type) -> list[Any]:
        """What of this kind the live engine was told."""
        return [command for command in self.engine.sent if isinstance(command, kind)]


async def settle() -> None:
    """Let everything happen that is due."""
    for _ in range(30):
        await asyncio.sleep(0)


async def die(bench: Bench) -> None:
    """Kill the live engine and let the next one come up."""
    bench.engine.die()
    await settle()


async def boot(
    folder: Path,
    script: Script = counting,
    make: Callable[[Script], ScriptedEngine] | None = None,
    model: str = "demo",
    jail: Jail | None = None,
    **settings: Any,
) -> Bench:
    """A kernel with the model loaded; `settings` are sections of the configuration."""
    if not (folder / "demo.gguf").exists():
        write_model(folder / "demo.gguf")
    folders = {name: str(folder / name) for name in ("state", "workspace")}
    journal = {"journal": {"durability": "off"}}  # nothing is waited for
    tree = {"models": str(folder), **folders, **journal, **settings}
    tree["engine"] = {"slots": 2, "threads": 1, **tree.get("engine", {})}
    engines: list[ScriptedEngine] = []

    def make_engine() -> port.Engine:
        engines.append(make(script) if make else ScriptedEngine(script, auto=False))
        return engines[-1]

    kernel = Kernel(msgspec.convert(tree, Config), make_engine, jail)
    _booted.append(kernel)
    if model:
        await kernel.models.load(model)
    return Bench(kernel, engines)
