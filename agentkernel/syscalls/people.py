"""What processes ask of people: to answer a question, to approve a call; each waits for so long.

Rules
1. A question is known by its process and the number of the call that asks it; it is answered once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from agentkernel.errors import KernelError

Kind = Literal["answer", "approval"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; `said` is what STATUS and WHY show of it."""

    kind: Kind
    pid: int
    call: int
    said: str
    reply: asyncio.Future[Any]


class People:
    """The open questions of all processes."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], Question] = {}

    def __repr__(self) -> str:
        return f"<People questions={len(self._open)}>"

    async def ask(self, kind: Kind, pid: int, call: int, said: str, seconds: float) -> Any:
        """The reply. Raises TimeoutError."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[pid, call] = Question(kind, pid, call, said, future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            if future.cancelled():
                raise
            return future.result()  # it came just then, and who gave it was told that it counts
        finally:
            del self._open[pid, call]

    def of(self, pid: int) -> Question | None:
        """What the process asks now."""
        return next((question for (asker, _), question in self._open.items() if asker == pid), None)

    def reply(self, kind: Kind, pid: int, call: int | None, reply: Any) -> Question:
        """Answer the process's question, of that call if one is named. Raises WRONG_STATE, CALL_NOT_FOUND."""
        question = self.of(pid)
        if question is None or question.kind != kind or question.reply.done():
            what = "asks nothing" if kind == "answer" else "wants no approval"
            raise KernelError("WRONG_STATE", f"PID {pid} {what}")
        if call is not None and call != question.call:
            details = {"call": question.call}
            raise KernelError("CALL_NOT_FOUND", f"PID {pid} asks about call {question.call}", details)
        question.reply.set_result(reply)
        return question
