"""A process that has ended is run again, from what is written down of it, and compared.

Rules
1. Nothing of what it heard is asked for again: prompts, inputs and the results of calls are in its context,
   and what is run again can call nothing.
2. Each stretch of tokens that it drew is drawn once more behind what stood before it, by a process of its
   own: a difference in one has no effect on the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from itertools import zip_longest

from agentkernel.checkpointing import Checkpointing
from agentkernel.errors import KernelError
from agentkernel.plan import Input
from agentkernel.process import Event, Owner, Process, State
from agentkernel.request import again
from agentkernel.serving import Served


@dataclass(frozen=True, slots=True)
class Replay:
    """How many tokens were drawn again, and where in its context the first is another, if one is.

    `said` is the token that stands there, `drawn` what was drawn instead, None for an end.
    """

    pid: int
    tokens: int
    at: int | None = None
    said: int | None = None
    drawn: int | None = None


class Replaying(Checkpointing):
    """The part of the kernel's methods that runs processes again."""

    async def replay(self, owner: Owner, pid: int) -> Replay:
        """Draw again what an ended process has drawn, up to the first difference.

        Raises WRONG_STATE for one that lives, REPLAY_FAILED where its context is not whole, or its model not
        there.
        """
        self._check_open()
        self.accounts.check(self.find(owner, pid).owner.name)
        found = self.recorder.past(pid)
        if found is None:
            raise KernelError("WRONG_STATE", f"PID {pid} lives, or is not kept")
        past, fingerprint = found
        if past.inputs is None:
            raise KernelError("REPLAY_FAILED", f"the context of PID {pid} was cut")
        with contextlib.ExitStack() as stack:
            served = await self._model_of(past.model_id, fingerprint, "REPLAY_FAILED", stack)
            count = 0
            for heard, end in zip(past.inputs, _ends(past), strict=True):
                said = past.tokens[heard.end : end]
                drawn = await self._drawn_again(past, heard, end, served) if said else []
                if (at := _difference(said, drawn)) is not None:
                    instead = drawn[at] if at < len(drawn) else None
                    return Replay(pid, count + at, heard.end + at, said[at], instead)
                count += len(said)
        return Replay(pid, count)

    async def _drawn_again(self, past: Process, heard: Input, end: int, served: Served) -> list[int]:
        """What is drawn behind an input now, up to so many tokens of context. Raises REPLAY_FAILED."""
        process = again(past, heard, end, self.table.new_pid(), self.clock())
        process.model_id = served.card.id  # the file may have another name by now
        ended: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        process.on_end = lambda process: ended.set_result(process.tokens[heard.end :])
        try:
            await self._take_on(process, served)
            self._enroll(process, served)
            self._wake(process)
            drawn = await asyncio.shield(ended)
        finally:
            self.table.abandon(process.pid)
            if self.table.get(process.pid) is process:  # nobody waits for it any more
                self._end(process, Event.KILL, "killed")
        if process.reason == "quota":  # of its owner, perhaps
            self.accounts.check(process.owner.name)
        if process.state is not State.DONE:
            raise KernelError("REPLAY_FAILED", f"PID {process.pid}, which ran it, ended: {process.reason}")
        return drawn


def _ends(past: Process) -> list[int]:
    """Where what the process has drawn behind each of its inputs ends."""
    inputs = past.inputs or []
    return [heard.start for heard in inputs[1:]] + [len(past.tokens)]


def _difference(said: list[int], drawn: list[int]) -> int | None:
    """The first of the tokens that is not the same."""
    pairs = enumerate(zip_longest(said, drawn))
    return next((at for at, (one, other) in pairs if one != other), None)
