"""A jail that runs nothing: what jobs come to is said by a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import get_args

from agentkernel.errors import KernelError
from agentkernel.jail.port import Job, Killed, Outcome, Trust, Verdict

Answer = Callable[[Job], Outcome | None]  # None for a job that goes on until it is killed
ENDLESS = "while True: pass"  # a program of Python's that does
WHOLE = Verdict("fake", ("fake",), get_args(Trust), 0, 0.0)
BROKEN = Verdict("fake", (), (), 0, 0.0, ("network: a canary got out; install bubblewrap",))


def ended(output: bytes, status: int = 0, killed: Killed = "") -> Outcome:
    """An outcome that took no time."""
    return Outcome(status, killed, output, 0.0, 0.0, 0, "fake")


def printing(job: Job) -> Outcome | None:
    """Python prints its own text, another program its arguments and its input; `false` fails."""
    if job.code == ENDLESS:
        return None
    said = " ".join(job.argv[1:]) if job.code is None else job.code
    return ended(said.encode() + job.stdin, status=int(job.argv[:1] == ("false",)))


class FakeJail:
    """`port.Jail` that keeps the jobs it got; its self-test finds this verdict, at once unless `untested`."""

    def __init__(self, answer: Answer = printing, found: Verdict = WHOLE, *, untested: bool = False) -> None:
        self.jobs: list[Job] = []
        self.verdict = None if untested else found
        self._answer, self._found = answer, found
        self._running: dict[str, asyncio.Future[Outcome]] = {}

    async def start(self) -> Verdict:
        """See `port.Jail`."""
        self.verdict = self._found
        return self._found

    async def run(self, job: Job) -> Outcome:
        """See `port.Jail`."""
        if self.verdict is None or job.trust not in self.verdict.levels:
            raise KernelError("ESANDBOX", f"no jail for trust {job.trust}")
        self.jobs.append(job)
        outcome = self._answer(job)
        if outcome is not None:
            return outcome
        future = self._running[job.key] = asyncio.get_running_loop().create_future()
        return await future

    def kill(self, key: str) -> None:
        """See `port.Jail`."""
        future = self._running.pop(key, None)
        if future is not None and not future.done():
            future.set_result(ended(b"", -9, "cancelled"))

    def warm(self, owner: int, job: Job) -> None:
        """See `port.Jail`."""

    def forget(self, owner: int) -> None:
        """See `port.Jail`."""
        for job in self.jobs:
            if job.owner == owner:
                self.kill(job.key)

    async def stop(self) -> None:
        """See `port.Jail`."""
        for key in list(self._running):
            self.kill(key)
