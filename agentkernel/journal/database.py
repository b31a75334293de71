"""An open journal's file: transactions, syncs and checkpoints, and what their failures leave.

Rules
1. A transaction that is over is in the log, and so survives `kill -9`; when a sync that began later is over,
   it survives a power cut.
2. One thread at a time uses the connection. The loop's thread waits for a checkpoint only if it comes in one,
   and a checkpoint has its log synced before it takes its turn.
3. After a failed sync nothing is written, synced or closed any more: SQLite would checkpoint when it closes,
   from pages of the log that may not be what was written.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from agentkernel.journal.errors import (
    JournalClosedError,
    JournalError,
    JournalFailedError,
    JournalFullError,
    cause,
    cause_of_writing,
)
from agentkernel.journal.opening import open_journal, wal_of

Sync = Callable[[int], None]

# The log's layout, from sqlite.org/fileformat2.html#the_write_ahead_log.
_WAL_HEADER, _FRAME_HEADER, _PAGE = 32, 24, 4096
_SALTS, _SALTS_AT, _FRAME_SALTS_AT = 8, 16, 8


class Database:
    """The file of a journal, ours alone. `sync` brings a file's content to the disk, or raises OSError."""

    def __init__(self, path: Path, *, durable: bool, sync: Sync) -> None:
        """Raises JournalError."""
        self.path, self._durable, self._sync = path, durable, sync
        self.commits = 0
        self.fault: JournalError | None = None
        self._turn = threading.Lock()
        self._db = open_journal(path, durable=durable)
        self._wal = os.open(wal_of(path), os.O_RDONLY | os.O_CLOEXEC)
        self._checkpointed = b""  # the salts of a log that has been, and is overwritten next
        self.sync()  # what a crash left is now as good as committed
        self.check()

    def __repr__(self) -> str:
        return f"<Database {self.path} commits={self.commits} fault={self.fault}>"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done inside happens, or nothing. Raises JournalFullError or JournalFailedError."""
        with self._turn:
            self.check()
            try:
                try:
                    self._db.execute("BEGIN IMMEDIATE")
                    yield self._db
                    self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._failed(error) from error
            self.commits += 1

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """What was committed. Raises JournalError."""
        with self._turn:
            if self.closed:
                self.check()
            try:
                yield self._db
            except sqlite3.Error as error:
                raise cause(self.path, error) from error

    @property
    def closed(self) -> bool:
        """Whether `close` has been called; a journal that has failed is never closed."""
        return isinstance(self.fault, JournalClosedError)

    def check(self) -> None:
        """Raise what the journal has failed by, if it has."""
        if self.fault is not None:
            raise self.fault

    def sync(self) -> None:
        """Bring all that is committed to the disk; `fault` tells of a failure. Any thread may."""
        if self.fault is None and self._durable:
            try:
                self._sync(self._wal)
            except OSError as error:
                self.fault = JournalFailedError(f"{self.path}: not synced: {error.strerror}")

    def wal_has(self, frames: int) -> bool:
        """Whether so many pages, or more, stand in the log and have not been through a checkpoint."""
        salts = os.pread(self._wal, _SALTS, _SALTS_AT)
        last = _WAL_HEADER + (frames - 1) * (_FRAME_HEADER + _PAGE) + _FRAME_SALTS_AT
        return (
            len(salts) == _SALTS
            and salts != self._checkpointed
            and os.pread(self._wal, _SALTS, last) == salts
        )

    def checkpoint(self) -> bool:
        """Bring the log into the tables, so that it is written from its beginning again. Any thread may.

        False when there was no room or the journal has failed, which `fault` tells.
        """
        self.sync()
        with self._turn:
            if self.fault is not None:
                return False
            salts = os.pread(self._wal, _SALTS, _SALTS_AT)
            try:
                _, pages, done = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:
                self._failed(error)
                return False
            if pages == done:
                self._checkpointed = salts
        return True

    def close(self) -> None:
        """Let another have it; a journal that has failed stays as it is."""
        with self._turn:
            if self.fault is None:
                self.fault = JournalClosedError(f"{self.path}: closed")
                os.close(self._wal)
                self._db.close()

    def _failed(self, error: sqlite3.Error) -> JournalFullError | JournalFailedError:
        failure = cause_of_writing(self.path, error)
        if isinstance(failure, JournalFailedError):
            self.fault = failure
        return failure
