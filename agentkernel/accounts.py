"""The accounts of all owners.

Rules
1. An account is written down with the end of each of its owner's processes, and whenever its limits change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from agentkernel.errors import KernelError
from agentkernel.process import Process
from agentkernel.quotas import Account, Bounds
from agentkernel.recording import Recorder


class Accounts:
    """What owners may use and have used, by their names."""

    def __init__(self, recorder: Recorder, clock: Callable[[], float]) -> None:
        """Raises JournalError."""
        self._recorder, self._clock = recorder, clock
        now = clock()
        self._accounts = {
            name: Account(name, books, since=now) for name, books in recorder.accounts().items()
        }
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def __repr__(self) -> str:
        return f"<Accounts owners={len(self._accounts)}>"

    def of(self, name: str) -> Account:
        """The owner's, up to now; an empty one for who was never seen."""
        now = self._clock()
        account = self._accounts.get(name) or Account(name, since=now)
        account.advance(now)
        return account

    def check(self, name: str) -> None:
        """Raise QUOTA_EXCEEDED when the owner has used up what it may use of any kind."""
        account = self.of(name)
        for kind in account.bounds.hard.reached(account.used):
            used, limit = getattr(account.used, kind), getattr(account.bounds.hard, kind)
            details = {"owner": name, "quota": kind, "used": used, "limit": limit}
            raise KernelError("QUOTA_EXCEEDED", f"{name} has used {used:g} of {limit:g} {kind}", details)

    def bind(self, name: str, bounds: Bounds) -> Account:
        """The owner's limits are others."""
        account = self._accounts.setdefault(name, self.of(name))
        account.bind(bounds)
        self._recorder.account(name, account.books)
        return account

    def open(self, process: Process) -> None:
        """A process lives, or is about to: what it uses is its owner's use."""
        name, now = process.owner.name, self._clock()
        process.account = account = self._accounts.setdefault(name, Account(name, since=now))
        account.open(process.used(now) - process.brought, now)

    def withdraw(self, process: Process) -> None:
        """It has not begun after all."""
        if process.account is not None:
            now = self._clock()
            process.account.close(process.used(now) - process.brought, now, ended=False)
            process.account = None

    def close(self, process: Process) -> None:
        """It has ended; to be written down together with its end."""
        if (account := process.account) is not None:
            now = self._clock()
            account.close(process.used(now) - process.brought, now)
            self._recorder.account(account.name, account.books)
            process.account = None

    @contextlib.asynccontextmanager
    async def asking(self, process: Process) -> AsyncIterator[None]:
        """One at a time adds to a context, while what the owner's processes may be given is limited."""
        account = process.account
        if account is None or account.bounds.hard.prompt_tokens is None:
            yield
            return
        async with self._turns[account.name]:
            yield
