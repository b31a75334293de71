"""Syncs that many wait for: one at a time, and each for all who came before it began.

Rules
1. Who comes while none runs has one begin when the loop's turn ends, with all others of that turn; who comes
   while one runs shares the next. So nobody waits for company, and for less than two syncs.
2. What a running sync covers is what was committed before it began; who needs no more waits for that one.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from agentkernel.journal.database import Database


class Syncs:
    """Syncs of a database, made on a thread."""

    def __init__(self, database: Database, thread: Executor) -> None:
        self._database, self._thread = database, thread
        self._covered = 0  # how many commits are on the disk
        self._round: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Syncs covered={self._covered} running={self._round is not None}>"

    def begin(self) -> asyncio.Task[None]:
        """The sync that runs, or one that begins when the loop's turn ends."""
        if self._round is None:
            self._round = asyncio.get_running_loop().create_task(self._sync())
        return self._round

    async def reach(self, commits: int) -> None:
        """Wait until so many commits are on the disk. Raises JournalFailedError."""
        while self._covered < commits:
            self._database.check()
            await asyncio.shield(self.begin())

    async def _sync(self) -> None:
        commits = self._database.commits
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.sync)
        finally:
            self._round = None
        if self._database.fault is None:
            self._covered = max(self._covered, commits)
