"""What processes come to by calling: results that join their contexts, waits, children, their end.

Rules
1. A process whose call has no result can't run; its slot is for others.
2. A result is the next message of the same turn; the turn goes on with the tokens it has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agentkernel.calls import Call
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.plan import Message
from agentkernel.process import Event, Process, State, Wait
from agentkernel.request import Spawn
from agentkernel.request import child as child_of
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.results import cut
from agentkernel.turns import Turns

_SHORTEST_RESULT = 64  # bytes: what is shorter isn't cut to fit into a context
_STOPS = {"quota": Event.FINISH, "internal": Event.FAIL, "syscall_errors": Event.KILL}
_NO_RESULT = {  # why a result can't be taken → how its process ends
    "MEMORY_ADMISSION": (Event.FINISH, "context_full"),
    "QUOTA_EXCEEDED": (Event.FINISH, "quota"),
}
_CALLS = (Wait.SYSCALL, Wait.APPROVAL, Wait.ANSWER)


class Heard:
    """A child that was started by a call, and what it says."""

    client = 0

    def __init__(self, process: Process, kill: Callable[[Process], None]) -> None:
        self.pid = process.pid
        self._process, self._kill = process, kill
        self._text = bytearray()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def output(self) -> str:
        """All it says, once it has ended; it ends with who waits for it."""
        try:
            await self._ended
        except asyncio.CancelledError:
            self._kill(self._process)
            raise
        text, reason = self._text.decode("utf-8", "replace").strip(), self._process.reason
        return text if reason == "stop" else f"{text}\n[ended: {reason}]"

    def data(self, pid: int, offset: int, text: bytes) -> bool:  # noqa: ARG002
        """See `process.Sink`."""
        self._text += text
        return True

    def end(self, pid: int, offset: int, marker: bytes) -> None:  # noqa: ARG002
        """See `process.Sink`."""
        if not self._ended.done():
            self._ended.set_result(None)

    def drop(self, pid: int) -> None:
        """See `process.Sink`."""

    def event(self, event: dict[str, Any]) -> None:
        """See `process.Sink`."""


class Calling(Turns):
    """Processes that call (gate.Host)."""

    def _called(self, process: Process, calls: tuple[Call, ...]) -> None:
        """The process's turn has come to calls."""
        process.calls = calls
        process.continue_turn()
        self._changing.add(process.pid)
        self.waits(process, Wait.SYSCALL)
        self._served(process).set_runnable(process, runnable=False)
        self.gate.begin(process)

    async def may_call(self, process: Process) -> None:
        """Return once the process's call may do something: no checkpoint reads its files."""
        while process.pid in self._frozen:
            await self._thaw.wait()

    def waits(self, process: Process, wait: Wait) -> None:
        """The process's call waits for this now."""
        if process.state is State.SUSPENDED:
            if process.waiting_before is not Wait.EVENT:
                process.waiting_before = wait
                process.changed()
        elif process.wait is not Wait.EVENT:
            process.move(Event.WAIT, self.clock(), wait)

    async def join(self, process: Process, text: str) -> bool:
        """The first of the process's calls has its result; whether another is to be made."""
        try:
            await self._take_result(process, text)
        except KernelError as error:
            if not process.state.ended:
                self._end(process, *_NO_RESULT.get(error.code, (Event.FAIL, "engine_failed")))
            self._changing.discard(process.pid)
            return False
        process.calls, process.calling = process.calls[1:], False
        process.changed()
        if process.calls:
            return True
        self._changing.discard(process.pid)
        if process.budget <= 0:  # the turn's last token completed the call
            self._rest(process, "length")
            return False
        if process.wrap_up == "on":  # the result may have been on its way when its turn became shorter
            limit = process.turn_tokens + process.budget
            self._served(process).engine.send(port.Limit(process.pid, limit))
        before = process.waiting_before if process.state is State.SUSPENDED else process.wait
        self._have(process, before if before in _CALLS else Wait.SYSCALL)
        return False

    async def _take_result(self, process: Process, text: str) -> None:
        """Put it into the context; one that is too long for that is cut, and says so."""
        most = len(text.encode())
        while True:
            try:
                return await self._append(process, Message("tool", cut(text, most)))
            except KernelError as error:
                if error.code != "MEMORY_ADMISSION" or most < _SHORTEST_RESULT:
                    raise
            most //= 2

    def stop(self, process: Process, reason: str) -> None:
        """End a process that may not go on calling."""
        if not process.state.ended:
            self._end(process, _STOPS[reason], reason)

    def emit_of(self, process: Process, kind: str, **fields: Any) -> None:
        """Tell those who may see the process."""
        self.events.emit(kind, process, **fields)

    def reaches(self, process: Process, pid: int) -> bool:
        """Whether that PID is a live process of the same owner."""
        return any(other.pid == pid and other.owner == process.owner for other in self.table)

    async def spawn(self, parent: Process, asked: Spawn) -> Heard:
        """A child with at most what its parent may do, and a part of what that has left. Raises ToolError."""
        try:
            pid = self.table.new_pid()
        except KernelError as error:
            raise ToolError("QUOTA_EXCEEDED", error.message) from None
        process = child_of(parent, pid, asked, self.seed, self.clock())
        if process.quota_tokens < 1:
            self.table.abandon(pid)
            raise ToolError("QUOTA_EXCEEDED", "no tokens are left for another process")
        parent.lend(process)
        heard = Heard(process, self._kill)
        admitted = asyncio.get_running_loop().create_task(self._begin(process, parent, heard))
        try:
            await asyncio.shield(admitted)
        except KernelError as error:
            parent.settle(process)
            raise ToolError("TOOL_FAILED", error.message) from None
        except asyncio.CancelledError:  # the parent has ended; the engine may have the child already
            admitted.add_done_callback(lambda done: None if done.exception() else self._kill(process))
            raise
        return heard

    async def _begin(self, process: Process, parent: Process, heard: Heard) -> None:
        try:
            await self._admit(process, self._served(parent), heard)
        finally:
            self.table.abandon(process.pid)

    def _kill(self, process: Process) -> None:
        if not process.state.ended and not self._goes_on_later:
            self._end(process, Event.KILL, "killed")
