"""The journal: what became of every process, in the order it came about, on the disk before it is seen.

Rules
1. What is given is buffered until `commit`, which writes all of it or none. What is committed survives
   `kill -9`, what is synced a power cut.
2. A commit that could not be written loses nothing: the next one tries it again. One that could not be synced
   ends the journal for good.
3. Of records, calls, output and contents, readers find what was committed; of everything else, what was
   given.
4. What can't follow what was given before is a mistake of the caller's: ValueError, and nothing was given.
5. Bodies are the caller's; of the store's own is only where the records of a process begin.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from agentkernel.journal import ledger as ledgers
from agentkernel.journal import reading
from agentkernel.journal.database import Database, Sync
from agentkernel.journal.errors import JournalError, JournalFullError
from agentkernel.journal.reading import Call, Standing
from agentkernel.journal.reviving import Replaced, Revival, bring_back
from agentkernel.journal.syncing import Syncs
from agentkernel.journal.upkeep import Retention, Upkeep

Durability = Literal["mixed", "power", "off"]

STANDS = "stands"  # the kind of a process's first record: all that is kept of it
KEY_SECONDS = 86_400.0
WAL_PAGES = 1000  # in the log until a checkpoint begins: 4 MiB, as SQLite's own default

_RECORD = "INSERT INTO records VALUES (?, ?, ?, ?)"
_TEXT = "INSERT INTO recent (pid, start, text) VALUES (?, ?, ?)"
_BEGIN = "INSERT INTO processes VALUES (?, ?, ?, NULL)"
_COMPACT = "UPDATE processes SET first = ? WHERE pid = ?"
_END = "UPDATE processes SET ended = ? WHERE pid = ?"
_INTENT = "INSERT INTO calls VALUES (?, ?, ?, ?, ?, NULL)"
_RESULT = "UPDATE calls SET result = ? WHERE pid = ? AND call = ?"
_PAGE = "INSERT OR REPLACE INTO pages VALUES (?, ?, ?)"
_CONTENT = "INSERT INTO contents VALUES (?, ?)"
_NO_CONTENT = "DELETE FROM contents WHERE id = ?"
_CLAIM = "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)"
_ACCOUNT = "INSERT OR REPLACE INTO accounts VALUES (?, ?)"
_RELEASE = "DELETE FROM keys WHERE owner = ? AND key = ?"


class Journal:
    """The journal of one kernel, open. Only `synced` needs an event loop, and `commit` in `power`.

    `mixed` and `power` differ in when the caller awaits `synced`: before what must not be unsaid, or before
    anything is seen; in `power` a commit begins the sync by itself. `off` syncs nothing.
    """

    def __init__(
        self,
        path: Path,
        durability: Durability = "mixed",
        *,
        retention: Retention | None = None,
        sync: Sync = os.fdatasync,
    ) -> None:
        """Raises JournalError; then nothing was changed."""
        self.durability = durability
        self._database = Database(path, durable=durability != "off", sync=sync)
        with self._database.reading() as db:
            self._ledger = ledgers.load(db)
        self._upkeep = Upkeep(self._ledger, self._database.transaction, retention or Retention())
        self._thread = ThreadPoolExecutor(1, "journal")
        self._syncs = Syncs(self._database, self._thread)
        self._checkpoint: Future[bool] | None = None
        self._records: list[tuple[int, int, str, bytes]] = []
        self._texts: list[tuple[int, int, bytes]] = []
        self._others: list[tuple[str, tuple[Any, ...]]] = []
        self._pages: list[tuple[int, int, int]] = []
        self._claims: dict[tuple[str, str], tuple[int, float]] = {}

    def __repr__(self) -> str:
        size = len(self._records) + len(self._texts) + len(self._others) + len(self._pages)
        return f"<Journal {self._database.path} {self.durability} processes={self.processes} buffered={size}>"

    # What is given

    @property
    def processes(self) -> int:
        """How many there are, live and ended."""
        return len(self._ledger.entries)

    @property
    def next_pid(self) -> int:
        """Above every PID that was ever given, also to processes that are gone."""
        return self._ledger.next_pid

    def begin(self, pid: int, owner: str, body: bytes) -> None:
        """A process is there, and stands so, with what `fork` gave it. Raises ValueError for a used PID."""
        entry = self._ledger.begin(pid, owner)
        self._others.append((_BEGIN, (pid, owner, entry.first)))
        self._add(pid, entry, STANDS, body)
        self._pages.extend(
            (pid, page, content) for page, content in self._ledger.pages.held.get(pid, {}).items()
        )

    def revive(self, revivals: Sequence[Revival]) -> None:
        """Processes live, again or for the first time here, all of them or none.

        Nothing stays of what they came to; their memory is what `pages` gave them since. Commits, and raises
        as `commit` does, and ValueError for one that lives or is gone: then nothing has changed.
        """
        for each in revivals:
            self._ledger.check_may_live(each.pid)
        self._write()
        first = self._ledger.next_seq
        with self._database.transaction() as db:
            replaced = [
                bring_back(db, each, number, STANDS, self._ledger.pages.held.get(each.pid, {}))
                for number, each in enumerate(revivals, first)
            ]
        for each, before in zip(revivals, replaced, strict=True):
            self._revived(each, before)

    def _revived(self, revival: Revival, replaced: Replaced) -> None:
        ledger, pid = self._ledger, revival.pid
        ledger.recent += len(revival.output) - replaced.recent
        entry = ledger.revive(pid, revival.owner, sum(map(len, revival.output)), revival.calls)
        entry.results = replaced.results
        ledger.record(entry, len(revival.body))
        if (call := revival.call) is not None:
            ledger.call(pid, call.call)
            if call.result is not None:
                ledger.result(pid, call.call, len(call.result))

    def append(self, pid: int, kind: str, body: bytes) -> None:
        """Something became of a live process."""
        self._add(pid, self._ledger.live(pid), kind, body)

    def output(self, pid: int, start: int, text: bytes) -> None:
        """A live process gave out text, which goes on where the last ended."""
        entry = self._ledger.live(pid)
        if start != entry.size:
            raise ValueError(f"output of process {pid} goes on at {entry.size}, not at {start}")
        if text:
            entry.size += len(text)
            self._texts.append((pid, start, text))

    def ended(self, pid: int, now: float) -> None:
        """A live process has ended, at this Unix time; it is kept as long as the retention says."""
        self._ledger.end(pid, now)
        self._others.append((_END, (now, pid)))

    def compact(self, pid: int, body: bytes) -> None:
        """A process, live or ended, stands so: its earlier records needn't be replayed any more."""
        entry = self._ledger.known(pid)
        self._ledger.restart(entry)
        self._others.append((_COMPACT, (entry.first, pid)))
        self._add(pid, entry, STANDS, body)

    def intent(self, pid: int, call: Call) -> None:
        """A live process is about to make a call; its number is above those of its earlier ones."""
        self._ledger.call(pid, call.call)
        self._others.append((_INTENT, (pid, call.call, call.tool, call.digest, call.idempotent)))

    def result(self, pid: int, call: int, body: bytes) -> None:
        """What came of a call that has none yet."""
        self._ledger.result(pid, call, len(body))
        self._others.append((_RESULT, (body, pid, call)))

    def claim(self, owner: str, key: str, pid: int, now: float) -> int:
        """The process that has the owner's key: an earlier one for a day, else this.

        To be called in the turn in which the process begins: the two are committed together.
        """
        earlier = self.claimed(owner, key, now)
        if earlier is not None:
            return earlier
        expires = now + KEY_SECONDS
        self._claims[owner, key] = pid, expires
        self._ledger.next_expiry = min(self._ledger.next_expiry, expires)
        self._others.append((_CLAIM, (owner, key, pid, expires)))
        return pid

    def release(self, owner: str, key: str) -> None:
        """No process has the owner's key any more."""
        self._claims[owner, key] = 0, -math.inf
        self._others.append((_RELEASE, (owner, key)))

    def account(self, owner: str, body: bytes) -> None:
        """How the owner's account stands: committed together with what made it so."""
        self._others.append((_ACCOUNT, (owner, body)))

    def withdraw(self, pid: int) -> bool:
        """A process has not begun after all; False, and it has, when that was committed before."""
        begun = next((row for row in self._others if row[0] == _BEGIN and row[1][0] == pid), None)
        if begun is None:
            return False
        self._ledger.withdraw(pid)
        self._others.remove(begun)
        self._records = [record for record in self._records if record[1] != pid]
        self._pages = [page for page in self._pages if page[0] != pid]
        return True

    async def contents(self, contents: Sequence[bytes]) -> list[int]:
        """Commit, and write contents of pages, on a thread; the numbers by which `pages` then names them.

        What nobody has any more makes room for them. Raises as `commit` does.
        """
        self.commit()
        pages = self._ledger.pages
        numbers = pages.numbers(len(contents))
        gone = [pages.unused.popleft() for _ in range(min(len(pages.unused), 2 * len(contents)))]
        rows = list(zip(numbers, contents, strict=True))
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._exchange, gone, rows)
        except JournalError:
            pages.discard(gone)
            raise
        return numbers

    def pages(self, pid: int, pages: Mapping[int, int]) -> None:
        """A process, live or about to begin, has these contents at these pages of its memory."""
        self._ledger.pages.place(pid, pages)
        if self._ledger.lives(pid):  # else they are written as it begins
            self._pages.extend((pid, page, content) for page, content in pages.items())

    def discard(self, contents: Sequence[int]) -> None:
        """No process will have these contents."""
        self._ledger.pages.discard(contents)

    def fork(self, parent: int, child: int) -> None:
        """A process that is to begin will have the pages that another has now; or `abandon` it."""
        self._ledger.pages.fork(parent, child)

    def abandon(self, child: int) -> None:
        """A process doesn't begin after all; nothing is done to one that lives."""
        if not self._ledger.lives(child):
            self._ledger.pages.release(child, written=False)

    # What makes it last

    def commit(self) -> None:
        """Write what was given since the last commit. Raises JournalFullError or JournalFailedError."""
        if self._write() and self.durability == "power":
            self._syncs.begin()

    async def synced(self) -> None:
        """Commit, and wait until all that was committed is on the disk. Raises as `commit` does."""
        self.commit()
        if self.durability != "off":
            await self._syncs.reach(self._database.commits)

    def maintain(self, now: float) -> bool:
        """Commit, and do a bounded piece of what keeps the journal small; whether there was something to do.

        The log is brought into the tables on a thread; also a short one, when it can't become longer. Raises
        as `commit` does.
        """
        try:
            self._write()
        except JournalFullError:
            self._bring_in(1)
            raise
        return self._bring_in(WAL_PAGES) or self._upkeep.step(now)  # it would wait for the checkpoint to end

    def close(self) -> None:
        """Commit and let another have it; once. Raises as `commit` does, but is closed then too.

        A journal that has failed stays open: the process must end by `os._exit`.
        """
        if self._database.closed:
            return
        try:
            self._write()
        finally:
            self._thread.shutdown()
            self._database.close()

    # What is read

    def replay(self) -> Iterator[tuple[int, str, bytes]]:
        """The records that count of all live processes, in order: pid, kind, body. Raises JournalError."""
        after = 0
        while True:
            with self._database.reading() as db:
                found = reading.live_records(db, after)
            if not found:
                return
            after = found[-1][0]
            for _, pid, kind, body in found:
                yield pid, kind, body

    def records(self, pid: int) -> list[tuple[str, bytes]]:
        """The records that count of one process, live or ended; reads the whole log. Raises JournalError."""
        with self._database.reading() as db:
            return reading.records(db, pid)

    def first_record(self, pid: int) -> bytes | None:
        """How a process, live or ended, stood when its records began. Raises JournalError."""
        with self._database.reading() as db:
            return reading.first_record(db, pid)

    def calls(self, pid: int) -> list[Call]:
        """The calls of a process in their order. Raises JournalError."""
        with self._database.reading() as db:
            return reading.calls(db, pid)

    def read_output(self, pid: int, start: int, limit: int) -> bytes:
        """What a process gave out from a byte on, so many bytes at most. Raises as `output_size`, `calls`."""
        shown = self.output_size(pid)
        with self._database.reading() as db:
            return reading.output(db, pid, start, min(limit, shown - start)) if start < shown else b""

    def output_size(self, pid: int) -> int:
        """How many bytes a process gave out. Raises ValueError for one that isn't there."""
        return self._ledger.known(pid).shown

    def kept(self, pid: int) -> Standing | None:
        """A process, live or ended; None for one that isn't there."""
        entry = self._ledger.entries.get(pid)
        return None if entry is None else Standing(pid, entry.owner, entry.ended, entry.shown)

    def ended_processes(self) -> list[Standing]:
        """Those that have ended and are kept, in the order of their ends."""
        found = ((pid, self._ledger.entries[pid]) for pid in self._ledger.ended)
        return [Standing(pid, entry.owner, entry.ended, entry.shown) for pid, entry in found]

    def held_pages(self) -> list[tuple[int, int, list[int]]]:
        """The pages of all live processes: content, page, and who has it, the oldest process first."""
        return self._ledger.pages.by_content()

    def read_contents(self, contents: Sequence[int]) -> list[bytes]:
        """The contents of pages. Raises JournalError."""
        with self._database.reading() as db:
            return reading.contents(db, contents)

    def accounts(self) -> list[tuple[str, bytes]]:
        """The owners' accounts, as far as they are committed. Raises JournalError."""
        with self._database.reading() as db:
            return reading.accounts(db)

    def claimed(self, owner: str, key: str, now: float) -> int | None:
        """The process that has the owner's key, if one has. Raises JournalError."""
        given = self._claims.get((owner, key))
        if given is not None:
            return given[0] if given[1] > now else None
        with self._database.reading() as db:
            return reading.claim(db, owner, key, now)

    def _add(self, pid: int, entry: ledgers.Entry, kind: str, body: bytes) -> None:
        self._records.append((self._ledger.record(entry, len(body)), pid, kind, body))

    def _bring_in(self, pages: int) -> bool:
        """Begin a checkpoint of a log that has so many pages; whether one is under way."""
        running = self._checkpoint is not None and not self._checkpoint.done()
        if not running and self._database.wal_has(pages):
            self._checkpoint = self._thread.submit(self._database.checkpoint)
            running = True
        return running

    def _write(self) -> bool:
        """Commit; whether there was something to."""
        self._database.check()
        if not (self._records or self._texts or self._others or self._pages):
            return False
        with self._database.transaction() as db:
            db.executemany(_RECORD, self._records)
            db.executemany(_TEXT, self._texts)
            for statement, values in self._others:
                db.execute(statement, values)
            db.executemany(_PAGE, self._pages)
        self._ledger.recent += len(self._texts)
        for pid, start, text in self._texts:
            self._ledger.entries[pid].shown = start + len(text)
        for buffer in (self._records, self._texts, self._others, self._pages, self._claims):
            buffer.clear()
        return True

    def _exchange(self, gone: list[int], rows: list[tuple[int, bytes]]) -> None:
        with self._database.transaction() as db:
            db.executemany(_NO_CONTENT, [(number,) for number in gone])
            db.executemany(_CONTENT, rows)
