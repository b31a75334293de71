"""The kernel on the real engine and the built-in models, in the test's event loop, with budgets in bytes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agentkernel.config import Config
from agentkernel.engine.link import EngineProcess
from agentkernel.jail.port import Jail
from agentkernel.kernel import Kernel
from agentkernel.pages import Pager, Rate, Rates
from agentkernel.process import Process
from agentkernel.request import ExecRequest
from agentkernel.serving import Served
from tests.by_hand import ME, Screen
from tests.harness import until

BUILTIN = Path(__file__).parent.parent / "models" / "builtin"
TINY, CHATML = "agentkernel-tiny", "agentkernel-chatml"
PLENTY = 1 << 26  # bytes
PIECE = 8  # tokens of an answer at a time

# Questions that the models were trained to answer word for word: the likeliest token is likelier than the
# next one by a factor of 20 at least, and rounding (which differs with what else is in a batch) decides
# nothing. Each answer names what was asked for twice: who goes on with another's context says a wrong word.
KILL, FORK, EXEC, PING, SUSPEND = (
    f"What does {verb} do?" for verb in ("KILL", "FORK", "EXEC", "PING", "SUSPEND")
)


class _Unmeasured(Rate):
    """Learns nothing: every image is worth keeping, whatever this machine is like, and no slot settles."""

    def observe(self, units: float, ms: float) -> None:
        pass


@dataclass(slots=True)
class Real:
    """A kernel with one model loaded."""

    kernel: Kernel
    screen: Screen = field(default_factory=Screen)

    @property
    def served(self) -> Served:
        return self.kernel.models.current()

    @property
    def files(self) -> list[Path]:
        """The images on disk."""
        return sorted(Path(self.served.load.images).glob("*.kv"))

    def count(self, op: str) -> int:
        """How many images were moved this way, or failed to be, since the engine came up."""
        return self.served.paging.counts[op]

    def text(self, process: Process) -> str:
        """What the process has said."""
        return self.screen.text.get(process.pid, "")

    async def begin(self, prompt: str = "", **fields: Any) -> Process:
        """Start an interactive process that takes the likeliest token, a few of them at a time."""
        said = {} if "messages" in fields else {"prompt": prompt}
        asked = {"interactive": True, "temperature": 0, "max_tokens": PIECE, **said, **fields}
        return await self.kernel.exec(ME, msgspec.convert(asked, ExecRequest), self.screen)

    async def rest(self, *processes: Process) -> None:
        """Wait until the processes' turns are over."""
        await until(lambda: all(process.turn_over or process.state.ended for process in processes))

    async def ask(self, prompt: str = "", **fields: Any) -> Process:
        """Start a process and wait for its first answer."""
        process = await self.begin(prompt, **fields)
        await self.rest(process)
        return process

    async def say(self, process: Process, text: str) -> None:
        """Give the process its next turn and wait for the answer."""
        await self.kernel.send_input(ME, process.pid, text, self.screen)
        await self.rest(process)

    async def go_on(self, process: Process) -> None:
        """Let an answer that came to its limit go on, to its end or to the limit once more."""
        self.kernel.continue_output(ME, process.pid)
        await self.rest(process)

    async def generated(self, process: Process, tokens: int) -> None:
        """Wait until the process has generated so many tokens, in all its turns."""
        await until(lambda: process.generated >= tokens or process.turn_over)

    async def written(self, images: int) -> None:
        """Wait until so many images are whole files."""
        await until(lambda: len(self.files) >= images)

    async def kill_engine(self, *, forgiven: bool = True) -> None:
        """SIGKILL the engine and wait for the next one; a death that is forgiven breaks no model."""
        before, pid = self.served.restarts, self.served.engine.os_pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        await self.restarted(before, forgiven=forgiven)

    async def restarted(self, before: int, *, forgiven: bool = True) -> None:
        """Wait until the engine has been started anew more often than before."""
        await until(lambda: self.served.restarts > before)
        if forgiven:
            self.served._deaths.clear()


@contextlib.asynccontextmanager
async def real_kernel(
    folder: Path,
    *,
    ram: int = PLENTY,
    disk: int = PLENTY,
    model: str = TINY,
    engine: dict[str, int] | None = None,
    jail: Jail | None = None,
    **settings: Any,
) -> AsyncIterator[Real]:
    """A kernel whose images have so many bytes; without RAM paging is off. Checks that all adds up after."""
    tree = {"models": str(BUILTIN), "state": str(folder), "workspace": f"{folder}/workspace"}
    tree |= {"journal": {"durability": "off"}, **settings}
    tree["engine"] = {"slots": 1, "threads": 1, "context": 512, **(engine or {})}
    tree["memory"] = {"paging": "on" if ram else "off", **settings.get("memory", {})}
    kernel = Kernel(msgspec.convert(tree, Config), EngineProcess, jail)

    def pager() -> Pager:
        pager = Pager(ram, disk, kernel.config.memory.policy)
        pager.rates = Rates(*(_Unmeasured() for _ in range(5)))
        return pager

    kernel.models._pager = pager
    try:
        await kernel.models.load(model)
        real = Real(kernel)
        yield real
        real.served.paging.pager.check_integrity()
        real.served.scheduler.check_integrity()
        kernel.memory.check_integrity()
    finally:
        await kernel.drain(0)
        await kernel.close()


async def talk(real: Real, processes: Sequence[Process], turns: Sequence[str]) -> list[str]:
    """What each has said in the end, when each in its turn takes a step: a piece of its answer, or a turn."""
    left = {process.pid: (process, list(turns)) for process in processes}
    while left:
        for process, coming in list(left.values()):
            if process.reason == "length":
                await real.go_on(process)
            elif coming:
                await real.say(process, coming.pop(0))
            else:
                del left[process.pid]
    return [real.text(process) for process in processes]


async def begun(real: Real, prompts: Sequence[str], **fields: Any) -> list[Process]:
    """Processes that were started together, in the midst of their first answers."""
    processes = [await real.begin(prompt, **fields) for prompt in prompts]
    await real.rest(*processes)
    return processes


async def alone(folder: Path, prompts: Sequence[str], turns: Sequence[str], **fields: Any) -> list[str]:
    """What each would say by itself, in an engine where nothing is ever paged."""
    texts = []
    async with real_kernel(folder, ram=0) as real:
        for prompt in prompts:
            (process,) = await begun(real, [prompt], **fields)
            texts += await talk(real, [process], turns)
            real.kernel.kill(ME, process.pid)
        assert not real.served.paging.counts
    return texts
