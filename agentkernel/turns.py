"""How a process's turns begin, go on and end: messages that join its context, and a context that is full.

Rules
1. What gives way is told in an event; nothing is cut silently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from agentkernel import log
from agentkernel.charging import Charging
from agentkernel.context import oldest
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.plan import Message
from agentkernel.process import Event, Process, State, Wait
from agentkernel.processes import Unseen
from agentkernel.request import summarizer

_FINISH = "You have almost used up your quota. Finish your answer now, in a few words."
_FREED_PART = 8  # of its context, that a summary has to free

_log = log.get("kernel")


class Turns(Charging):
    """Conversations, and the room that their contexts have."""

    def _oldest(self, process: Process, needed: int = 0) -> tuple[int, int] | None:
        """The tokens of the turns that may give way, where the strategy lets any and it makes room enough."""
        if process.plan.context_strategy == "stop":
            return None
        length, context = len(process.tokens), self._served(process).context
        cut = oldest(process.turns, length, min(context // 2, context - 1 - needed))
        enough = cut is not None and length - (cut[1] - cut[0]) + needed < context
        return cut if enough else None

    def _go_on(self, process: Process) -> bool:
        """Have a turn that has filled its context go on without the oldest turns; False if it can't."""
        cut = self._oldest(process)
        if cut is None:
            return False
        process.cut_text()
        if process.plan.context_strategy == "slide" or process.pid in self._changing:
            self._give_way(process, cut, ())
            self._resume_turn(process)
            return True
        self._changing.add(process.pid)
        if process.state in (State.READY, State.RUNNING):
            process.move(Event.WAIT, self.clock(), Wait.CHILD)
            self._served(process).set_runnable(process, runnable=False)
        self._start(self._summarize_and_go_on(process, cut))
        return True

    async def _summarize_and_go_on(self, process: Process, cut: tuple[int, int]) -> None:
        summary = await self._summary(process, cut[1])
        self._changing.discard(process.pid)
        if process.state.ended:
            return
        self._give_way(process, cut, summary)
        self._resume_turn(process)
        self._have(process, Wait.CHILD)

    @property
    def _goes_on_later(self) -> bool:
        """Whether this kernel ends, and the next goes on with what lives."""
        return self.draining and self.config.journal.durability != "off"

    def _rest(self, process: Process, reason: str) -> None:
        """The turn is over: an interactive process waits for the next one."""
        process.turn_over, process.turn_end, process.reason = True, None, reason
        process.waiting_before = None  # RESUME has it wait for input
        process.wrap_up = ""
        process.changed()
        if process.state is not State.SUSPENDED:
            process.move(Event.WAIT, self.clock(), Wait.INPUT, reason)
            self._served(process).set_runnable(process, runnable=False)
        generated = process.turn_before + process.turn_tokens
        self.events.emit("turn_finished", process, reason=reason, tokens_generated=generated)
        self._settled.set()
        if self.draining and not self._goes_on_later:
            self._end(process, Event.TERMINATE, "shutdown")

    def _wake(self, process: Process) -> None:
        """See `Processes._wake`; who may generate no more ends, and who is to finish is told to."""
        if process.state is State.READY and process.pid not in self._changing and not process.calls:
            if process.exhausted:
                self._end(process, Event.FINISH, "quota")
                return
            if process.wrap_up == "due" and not process.queued_writes:
                self._changing.add(process.pid)
                self._start(self._have_finish(process))
                return
        super()._wake(process)

    async def _have_finish(self, process: Process) -> None:
        """A turn of bounded length for the process to finish in; it is told so where that can be said."""
        told = False
        if not (process.plan.raw or process.plan.grammar or process.plan.json_schema):
            try:
                await self._append(process, Message("user", _FINISH))
                told = True
            except KernelError as error:
                if error.code == "SHUTTING_DOWN":  # the next kernel does
                    return
                _log.info("not told to finish", pid=process.pid, error=str(error))
        if not process.state.ended:
            self._finish_in(process, told=told)

    def _finish_in(self, process: Process, *, told: bool) -> None:
        """Nothing of the turn before comes any more."""
        if told:
            self._break_line(process)
            process.begin_turn(self.clock())
        process.wrap_up = "" if process.turn_over else "on"
        most = process.turn_tokens + self.config.limits.wrap_up_tokens
        process.turn_limit = min(process.turn_limit, most)
        process.changed()
        self._served(process).engine.send(port.Limit(process.pid, process.turn_tokens + process.budget))
        if process.calls:  # a call came to it meanwhile; the result goes before
            return
        self._changing.discard(process.pid)
        if told and process.wait is Wait.INPUT:  # its turn was over meanwhile
            process.move(Event.WAKE, self.clock())
        self._wake(process)

    def _break_line(self, process: Process) -> None:
        """What it says next is something new."""
        if process.turn_tokens:
            start = process.offset
            self.recorder.took(process, [], b"\n", process.draws)
            self._unseen.append(Unseen(process, start, partial(self._give, process, start, b"\n")))
            self._show()

    def _resume_turn(self, process: Process) -> None:
        process.turn_end = None
        process.changed()
        limit = process.turn_tokens + process.budget
        self._served(process).engine.send(port.Resume(process.pid, limit))

    async def _append(self, process: Process, message: Message) -> None:
        """Begin the next turn, without the oldest ones should the context be too full for it."""
        summarize = process.plan.context_strategy == "summarize"
        while True:
            try:
                async with self.accounts.asking(process):
                    return await self._served(process).append(process, message)
            except KernelError as error:
                full = error.code == "MEMORY_ADMISSION"
                cut = self._oldest(process, error.details.get("tokens", 0)) if full else None
                if cut is None:
                    raise
            summary = await self._summary(process, cut[1]) if summarize else ()
            summarize = False  # once; what is too full still loses its turns without
            if process.state.ended:
                raise KernelError("PID_NOT_FOUND", f"PID {process.pid} has ended")
            self._give_way(process, cut, summary)

    def _give_way(self, process: Process, cut: tuple[int, int], summary: Sequence[int]) -> None:
        freed = cut[1] - cut[0] - len(summary)
        if freed < self._served(process).context // _FREED_PART:  # soon there would have to be another
            summary = ()
        self._served(process).splice(process, *cut, summary)
        self.events.emit(
            "context_summarized" if summary else "context_slid",
            process,
            dropped_tokens=cut[1] - cut[0],
            summary_tokens=len(summary),
            context_tokens=len(process.tokens),
        )

    async def _summary(self, parent: Process, end: int) -> list[int]:
        """A turn that says what the context up to `end` says, written by a child; nothing if that fails."""
        served = self._served(parent)
        try:
            child = summarizer(parent, end, self.table.new_pid(), served.context, self.clock())
        except KernelError:
            return []
        ended: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

        def on_end(child: Process) -> None:
            self._summaries.pop(parent.pid, None)
            ended.set_result(list(child.tokens))

        child.on_end = on_end
        try:
            await self._admit(child, served, None)
        except KernelError as error:  # it doesn't fit, most likely
            _log.warning("no summary", pid=parent.pid, error=str(error))
            return []
        finally:
            self.table.abandon(child.pid)
        if parent.state.ended:
            self._end(child, Event.KILL, "killed")
            return []
        self._summaries[parent.pid] = child.pid
        asked = len(child.tokens)
        tokens = await ended
        if child.state is not State.DONE or len(tokens) == asked:
            return []
        return tokens[end + parent.closing :] + tokens[end : end + parent.closing]
